"""A line to a server on this machine, that can be cut: whoever is connected loses the connection, whoever comes is refused."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

from tests.ports import free_port


class Line:
    """`port`: where the line begins; `to`: the port at its end."""

    def __init__(self, to: int) -> None:
        self.port, self._to = free_port(), to
        self._open: list[socket.socket] = []
        self.mend()

    def mend(self) -> None:
        """Take connections, again or for the first time."""
        entrance = socket.create_server(("127.0.0.1", self.port))
        self._open.append(entrance)
        Thread(target=self._take, args=(entrance,), daemon=True).start()

    def cut(self) -> None:
        """As if a cable were pulled, but told at once."""
        while self._open:
            end = self._open.pop()
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _take(self, entrance: socket.socket) -> None:
        with suppress(OSError):  # it was cut
            while True:
                near, _ = entrance.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += near, far
                for one, other in ((near, far), (far, near)):
                    Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # it was cut
        while piece := source.recv(1 << 16):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def line(to: int) -> Iterator[Line]:
    made = Line(to)
    try:
        yield made
    finally:
        made.cut()
