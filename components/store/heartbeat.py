"""What a running study says of itself every few seconds, for whoever looks at the store from elsewhere.

    <root>/progress/<study>.json    who runs it since when, how far it is, and in the end how it ended

One process writes it, under the study's lock; nobody who reads it holds anything. A study that says it is running, and
does not, was killed: `is_running` tells the two apart.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self

from components.store.bucket import StoreUnavailable
from components.store.lease import SECONDS_BETWEEN_BEATS, SECONDS_TO_LIVE
from components.store.owner import is_here, lives, own_name
from components.store.store import Store

logger = logging.getLogger(__name__)

FOLDER = "progress"
SECONDS_TO_LOOK = 3 * SECONDS_BETWEEN_BEATS
SECONDS_BETWEEN_CLOCKS = 600
"""Machines that share a folder differ by less: what was written longer ago need not be waited for."""
State = Literal["running", "finished", "failed", "stopped"]


@dataclass(frozen=True)
class Told:
    """What a study said last. `progress` is whatever it chose to tell; `age`: seconds since then.

    By a bucket's clock alone; in a folder by this machine's, which may not be the writer's.
    """

    study: str
    about: dict[str, Any] = field(hash=False)
    owner: str
    started: str
    beat: int
    state: State
    error: str
    progress: dict[str, Any] = field(hash=False)
    age: float


class Heartbeat:
    """`with Heartbeat(...) as heartbeat:` says that a study runs, again and again, and how it ended.

    A store that does not answer for now, or has no room, costs the study nothing but that nobody hears of it.
    """

    def __init__(self, store: Store, study: str, about: Mapping[str, Any]) -> None:
        """`study`: its name among the store's. `about`: what does not change while it runs, as JSON."""
        self._store = replace(store, bucket=store.bucket.impatient) if store.bucket else store
        self._name = _name(study)
        self._begin = {"about": dict(about), "owner": own_name("study"), "started": datetime.now(UTC).isoformat()}
        self._progress: dict[str, Any] = {}
        self._beats = 0
        self._away = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def tell(self, progress: Mapping[str, Any]) -> None:
        """How far it is, as JSON; told with the next beat."""
        self._progress = dict(progress)

    def __enter__(self) -> Self:
        self._write("running")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._ended.set()
        self._thread.join()
        if error is None:
            self._write("finished")
        elif isinstance(error, KeyboardInterrupt):
            self._write("stopped")
        else:
            self._write("failed", (str(error).strip().splitlines() or [type(error).__name__])[-1])

    def _beat(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_BEATS):
            self._write("running")

    def _write(self, state: State, error: str = "") -> None:
        self._beats += 1
        now = {"beat": self._beats, "state": state, "error": error, "progress": self._progress}
        try:
            self._store.write_json(self._name, self._begin | now)
            self._away = False
        except (StoreUnavailable, OSError) as fault:
            if not self._away:  # once, each time it goes away
                logger.warning("how far the study is cannot be written into the store for now: %s", fault)
            self._away = True


def read_heartbeats(store: Store) -> list[Told]:
    """What every study on this store said last; the newest start last."""
    names = [name.removeprefix(f"{FOLDER}/").removesuffix(".json") for name in store.json_names(FOLDER)]
    return sorted(filter(None, (_read(store, name) for name in names)), key=lambda one: one.started)


def is_running(store: Store, one: Told) -> bool:
    """Whether a study that said it was running still is.

    Where its process is one of this machine, that says it. Else its beats do: in a bucket by their age, by the server's
    clock; in a shared folder they are waited for, some seconds at most, since the machines' clocks may differ.
    """
    if one.state != "running":
        return False
    if is_here(one.owner):
        return lives(one.owner)
    if store.bucket:
        return one.age < SECONDS_TO_LIVE
    if one.age > SECONDS_BETWEEN_CLOCKS:
        return False
    deadline = time.monotonic() + SECONDS_TO_LOOK
    while time.monotonic() < deadline:
        now = _read(store, one.study)
        if now is None or now.beat != one.beat or now.owner != one.owner:
            return now is not None and now.state == "running"
        time.sleep(0.5)
    return False


def _read(store: Store, study: str) -> Told | None:
    content = store.read_json(_name(study))
    if content is None:
        return None
    head = store.bucket.head(_name(study)) if store.bucket else None
    age = head[1] if head else time.time() - (store.root / _name(study)).stat().st_mtime
    return Told(study=study, age=age, **content)


def _name(study: str) -> str:
    return f"{FOLDER}/{study}.json"
