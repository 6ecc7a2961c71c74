"""Ports of this machine: one where nothing answers, and ones that a server may take."""

import socket
from functools import cache


def closed_port() -> int:
    """A port where nothing listens, nor can anybody begin to: it stays bound as long as this process lives."""
    port: int = _bound().getsockname()[1]
    return port


def free_port() -> int:
    """A port that was free just now; whoever starts a server there tries another one if it has been taken since."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@cache
def _bound() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound
