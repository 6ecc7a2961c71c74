"""A study on a Ray cluster that is already there: `ray start --head`, with a token and without."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.cluster.session import SESSION, SESSIONS
from tests.studies import PROJECT, SECONDS, Place, kill_tree

pytestmark = pytest.mark.faults

JOIN = """
from components.cluster import connect
from components.config.settings import ClusterSettings
import sys

with connect(ClusterSettings(address=sys.argv[1])) as capacity:
    print(capacity.cpus, "CPUs")
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


@contextmanager
def head(**environment: str) -> Iterator[str]:
    """A head node with two CPUs; its address."""
    address = f"127.0.0.1:{free_port()}"
    folder = tempfile.mkdtemp(prefix=f"{SESSION}{os.getpid()}-", dir=SESSIONS)
    options = {
        "port": address.rpartition(":")[2],
        "node-ip-address": "127.0.0.1",
        "num-cpus": "2",
        "include-dashboard": "false",
        "ray-client-server-port": str(free_port()),
        "dashboard-agent-listen-port": str(free_port()),
        "temp-dir": folder,
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    process = subprocess.Popen(
        [*command, *(f"--{name}={value}" for name, value in options.items())],
        env=without_token() | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not any(Path(folder).glob("session_latest/sockets/raylet*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield address
    finally:
        kill_tree(process.pid)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def without_token() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}


def join(address: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", JOIN, address],
        cwd=PROJECT,
        env=without_token() | {"HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_open_cluster_is_joined_without_a_token(tmp_path: Path):
    with head(RAY_AUTH_MODE="disabled", HOME=str(tmp_path)) as address:
        joined = join(address, tmp_path)
    assert joined.returncode == 0, joined.stderr[-2000:]
    assert "2 CPUs" in joined.stdout


def test_a_cluster_with_a_token_serves_a_study_that_has_it_and_refuses_one_that_has_not(tmp_path: Path):
    place, token = Place(tmp_path), {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with head(HOME=str(tmp_path), **token) as address:
        refused = join(address, tmp_path)
        study = subprocess.run(
            place.command("--cluster.address", address),
            cwd=PROJECT,
            env=without_token() | place.environment | token,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert refused.returncode != 0
    assert "cluster.address" in refused.stderr
    assert "RAY_AUTH_TOKEN" in refused.stderr
    assert study.returncode == 0, study.stderr[-2000:]
    assert len(place.numbers()) > 0
