"""A lock in a bucket: an object that its holder writes anew every few seconds, and that whoever wants it may take when it is old.

Ages go by the server's clock alone, so that no machine's own clock matters. A holder that was suspended for too long loses
its lease; what it then finishes comes second, and does not stand (`Bucket.publish`).
"""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

from filelock import Timeout

from components.store.bucket import Bucket, StoreUnavailable

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_BEATS = 5
SECONDS_TO_LIVE = 30


class Lease:
    """`acquire` and `release`, or `with`, as of `filelock.FileLock`."""

    def __init__(self, bucket: Bucket, key: str, owner: str, alive: Callable[[str], bool]) -> None:
        """`owner`: a name that no other holder has. `alive`: whether an owner on this machine still lives."""
        self._bucket, self._key, self._owner, self._alive = bucket, key, owner, alive
        self._tag: str | None = None
        self._beats = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, timeout: float | None = None) -> None:
        """Wait until it is ours.

        Raises:
            Timeout: after `timeout` seconds somebody else still holds it.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (tag := self._taken()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise Timeout(self._key)
            time.sleep(0.5)
        self._tag = tag
        self._ended.clear()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Give it back; nothing if it is not held."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        if self._tag is None:
            return
        try:
            self._bucket.impatient.take_out(self._key, self._tag)
        except StoreUnavailable as error:
            logger.warning("the lease %s ends by itself in %d seconds: %s", self._key, SECONDS_TO_LIVE, error)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _taken(self) -> str | None:
        if tag := self._bucket.put_new(self._key, self._content()):
            return tag
        found = self._bucket.head(self._key)
        if found is None:
            return None  # given back this moment
        tag, age = found
        if age > SECONDS_TO_LIVE or self._holder_is_dead():
            return self._bucket.put_over(self._key, self._content(), tag)
        return None

    def _holder_is_dead(self) -> bool:
        """A process of this machine that is no more: nobody need wait until its lease is old."""
        held = self._bucket.get(self._key)
        owner = json.loads(held)["owner"] if held else ""
        return bool(owner.split("~")[0] == socket.gethostname() and not self._alive(owner))

    def _content(self) -> bytes:
        self._beats += 1
        return json.dumps({"owner": self._owner, "beat": self._beats}).encode()

    def _beat(self) -> None:
        while self._tag is not None and not self._ended.wait(SECONDS_BETWEEN_BEATS):
            try:
                self._tag = self._bucket.impatient.put_over(self._key, self._content(), self._tag)
            except StoreUnavailable as error:
                logger.warning("the lease %s could not be kept for now: %s", self._key, error)
                continue
            if self._tag is None:
                logger.warning("the lease %s was taken by another: this process was away for too long", self._key)
