"""Several machines on this one: hosts with names, addresses and file systems of their own, for tests of what crosses a network.

A host is a network namespace on a bridge, with its own host name and, where asked for, folders that the others do not see.
What runs on it sees the others at their addresses and this machine at the bridge's. Takes root, and Linux.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.studies import PROJECT

PORT = 6379


@dataclass
class Host:
    """`private`: folders that are empty on it at first, and its own."""

    name: str
    address: str
    private: Sequence[Path] = ()
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    _anchor: subprocess.Popen[str] | None = None

    def switch_on(self) -> None:
        """Its name and its folders are there as long as a first process holds them."""
        mounts = [f"mkdir -p {folder} && mount -t tmpfs tmpfs {folder}" for folder in self.private]
        script = " && ".join([*mounts, f"hostname {self.name}", "echo on", "exec sleep infinity"])
        self._anchor = subprocess.Popen(
            ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", script],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._anchor.stdout
        assert self._anchor.stdout.readline().strip() == "on"

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path | int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """Run a command on this host."""
        assert self._anchor
        output = log.open("w") if isinstance(log, Path) else log
        process = subprocess.Popen(
            ["nsenter", f"--target={self._anchor.pid}", "--mount", "--uts", "--net", f"--wd={PROJECT}", *command],
            env={**environment, "HOSTNAME": self.name},
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def running(self) -> list[psutil.Process]:
        """Everything that runs on this host."""
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False).stdout
        found = []
        for pid in map(int, pids.split()):
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found

    def lose_power(self) -> None:
        """SIGKILL to all of it at once."""
        for _ in range(3):  # what was being started meanwhile
            for process in self.running():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.1)
        for process in [*self.processes, *([self._anchor] if self._anchor else [])]:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)


@contextmanager
def hosts(count: int, private: Sequence[Path] = ()) -> Iterator[tuple[str, list[Host]]]:
    """This machine's address as the hosts see it, and so many hosts."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("hosts of one's own take root and Linux's network namespaces")
    mark = secrets.token_hex(3)
    bridge, network = f"rcb{mark}", f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
    made = [Host(f"rc{mark}n{place}", f"{network}.{place + 2}", private) for place in range(count)]
    folders = [Path("/etc/netns") / host.name for host in made]
    try:
        try:
            _ip("link", "add", bridge, "type", "bridge")
            _ip("address", "add", f"{network}.1/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
            for host, folder in zip(made, folders, strict=True):
                _ip("netns", "add", host.name)
                _ip("link", "add", f"{host.name}v", "type", "veth", "peer", "name", "eth0", "netns", host.name)
                _ip("link", "set", f"{host.name}v", "master", bridge, "up")
                _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
                _ip("-n", host.name, "link", "set", "eth0", "up")
                _ip("-n", host.name, "link", "set", "lo", "up")
                folder.mkdir(parents=True)
                names = [f"{other.address} {other.name}" for other in made]
                (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names]) + "\n")
                host.switch_on()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
        yield f"{network}.1", made
    finally:
        for host, folder in zip(made, folders, strict=True):
            host.lose_power()
            subprocess.run(["ip", "netns", "delete", host.name], capture_output=True, check=False)
            (folder / "hosts").unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()
        subprocess.run(["ip", "link", "delete", bridge], capture_output=True, check=False)


def wait_for_port(address: str, port: int, process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"nothing answers at {address}:{port}"
        time.sleep(0.2)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
