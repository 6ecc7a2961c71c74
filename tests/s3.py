"""An S3 server for tests: moto's, over HTTP."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from tests.hosts import wait_for_port
from tests.ports import free_port

BUCKET = "studies"


@dataclass(frozen=True)
class S3:
    """A running server with an empty bucket. `environment`: what a process needs to use it, and nothing else of AWS's."""

    url: str
    environment: dict[str, str]

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment["AWS_DEFAULT_REGION"],
        )

    def names(self, start: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=start)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def read(self, name: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=name)["Body"].read())


@contextmanager
def s3(address: str = "127.0.0.1") -> Iterator[S3]:
    """A server at this address of this machine."""
    folder = Path(tempfile.mkdtemp(prefix="s3-"))
    port = free_port()
    environment = {
        "AWS_ENDPOINT_URL_S3": f"http://{address}:{port}",
        "AWS_ACCESS_KEY_ID": "a-key",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(folder / "config"),  # none of the developer's own
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
    }
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", address, "-p", str(port)],
            env=os.environ | environment,
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            wait_for_port(address, port, server)
            running = S3(f"http://{address}:{port}", environment)
            running.client.create_bucket(Bucket=BUCKET)
            yield running
        finally:
            server.kill()
            server.wait()
            shutil.rmtree(folder)
