"""Whose something is: a name that says which process of which machine made it, so that another can tell whether it lives."""

import os
import socket
import time
import uuid

import psutil


def own_name(what: str) -> str:
    """A name for `what` that nothing else has, and that says whose it is."""
    process = os.getpid()
    return f"{socket.gethostname()}~{process}~{_start_of(process)}~{what}~{uuid.uuid4().hex[:12]}"


def host_of(name: str) -> str:
    """The machine that such a name was made on."""
    return name.split("~")[0]


def is_here(name: str) -> bool:
    """Whether the owner of such a name is a process of this machine."""
    return host_of(name) == socket.gethostname()


def lives(name: str) -> bool:
    """Whether the owner of such a name, a process of this machine, still lives."""
    _, process, started, *_ = name.split("~")
    return psutil.pid_exists(int(process)) and _start_of(int(process)) == started


def _start_of(process: int) -> str:
    """Seconds after the machine's own start: the time of day may jump while a process runs."""
    try:
        return f"{psutil.Process(process).create_time() - psutil.boot_time():.2f}"
    except psutil.NoSuchProcess:
        return f"gone at {time.time()}"
