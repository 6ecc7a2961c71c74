"""A study on a Ray cluster that is already there: `ray start --head`, with a token and without."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.cluster.session import SESSION, SESSIONS
from tests.ports import free_port
from tests.studies import PROJECT, SECONDS, Place, kill_tree

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3 * SECONDS)]

CACHE = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
"""Holds the collectives that DeepSpeed compiled; with another home the workers would compile them anew."""

JOIN = """
from components.cluster import connect
from components.config.settings import ClusterSettings
import sys

with connect(ClusterSettings(address=sys.argv[1])) as capacity:
    print(capacity.workers(), "CPUs")
"""


@contextmanager
def head(home: Path, **environment: str) -> Iterator[str]:
    """A head node with two CPUs, whose home holds no token of the developer's; its address."""
    for _ in range(3):
        folder = Path(tempfile.mkdtemp(prefix=f"{SESSION}{os.getpid()}-", dir=SESSIONS))
        port, process = _start_head(
            folder, without_token() | {"HOME": str(home), "XDG_CACHE_HOME": CACHE} | environment
        )
        try:
            if _is_up(process, folder):
                yield f"127.0.0.1:{port}"
                return
        finally:
            kill_tree(process.pid)
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError("three head nodes ended before they were up")


def _start_head(folder: Path, environment: dict[str, str]) -> tuple[int, subprocess.Popen[bytes]]:
    port = free_port()
    options = {
        "port": port,
        "node-ip-address": "127.0.0.1",
        "num-cpus": 2,
        "include-dashboard": "false",
        "ray-client-server-port": free_port(),
        "dashboard-agent-listen-port": free_port(),
        "temp-dir": folder,
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    process = subprocess.Popen(
        [*command, *(f"--{name}={value}" for name, value in options.items())],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return port, process


def _is_up(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """Whether it has come up; it ends where one of its ports was taken meanwhile."""
    deadline = time.monotonic() + 60
    while not any(folder.glob("session_latest/sockets/raylet*")):
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return True


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
    with head(tmp_path, RAY_AUTH_MODE="disabled") as address:
        joined = join(address, tmp_path)
    assert joined.returncode == 0, joined.stderr[-2000:]
    assert "2 CPUs" in joined.stdout


def test_a_cluster_with_a_token_serves_a_study_that_has_it_and_refuses_one_that_has_not(
    prepared: Place, tmp_path: Path
):
    place, token = prepared.copy_to(tmp_path), {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with head(tmp_path, **token) as address:
        refused = join(address, tmp_path)
        arguments = ("--cluster.address", address, "--base.epochs", "0")
        with place.start(*arguments, environment=without_token() | place.environment | token) as study:
            _, errors = study.communicate(timeout=SECONDS)
    assert refused.returncode != 0
    assert "cluster.address" in refused.stderr
    assert "RAY_AUTH_TOKEN" in refused.stderr
    assert study.returncode == 0, errors[-2000:]
    assert len(place.numbers()) > 0
