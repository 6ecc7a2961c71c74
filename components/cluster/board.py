"""What is to be done, who has it in hand, and whether a work that pauses may go on: one small actor for a whole pool.

Works travel as references, so that the actor's process never imports what they are made of.
"""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

WAIT = "wait"
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_OF_WAITING = 20


class Board:
    """Works by name. A group takes one at a time; what a lost group had in hand is posted again, or has failed."""

    def __init__(self) -> None:
        self._works: dict[str, list[ObjectRef]] = {}
        self._waiting: deque[str] = deque()
        self._in_hand: dict[str, str] = {}
        self._closed = False
        self._reports: dict[str, list[Mapping[str, Any]]] = {}
        self._allowed: dict[str, int] = {}
        self._stopped: set[str] = set()
        self._ended: dict[str, tuple[str, bool] | None] = {}

    def post(self, name: str, work: list[ObjectRef]) -> None:
        """A work that waits for a group. (In a list: an argument by itself would be fetched.)"""
        self._works[name] = work
        self._waiting.append(name)

    def post_again(self, name: str) -> None:
        """First in line: it was begun."""
        self._waiting.appendleft(name)

    def take_by_name(self, name: str) -> list[ObjectRef]:
        """A work for a process that serves this one alone; again where an earlier one died on it."""
        if name in self._waiting:
            self._waiting.remove(name)
        return self._works[name]

    def close(self) -> None:
        """Nothing more will be posted."""
        self._closed = True

    def has_more(self) -> bool:
        return bool(self._waiting) or not self._closed

    def has_come_to_its_end(self) -> bool:
        """Nothing waits, nothing is in hand, and nothing more will be posted."""
        return not (self.has_more() or self._in_hand)

    def take(self, group: str) -> tuple[str, list[ObjectRef]] | str | None:
        """The next work for a group; `WAIT` where there is none yet, nothing where there will be none."""
        while self._waiting:
            name = self._waiting.popleft()
            if name not in self._stopped:
                self._in_hand[group] = name
                return name, self._works[name]
        return None if self._closed else WAIT

    def done(self, group: str) -> None:
        self.end(self._in_hand.pop(group))

    def lost(self, group: str) -> str | None:
        """The work that a group which is no more had in hand."""
        return self._in_hand.pop(group, None)

    def end(self, name: str, error: str | None = None, again: bool = True) -> None:
        """A work came to its end, or failed; whether another try could do `again` what it failed at."""
        self._ended[name] = (error, again) if error else None
        self._works.pop(name, None)

    def report(self, name: str, place: int, numbers: Mapping[str, Any]) -> bool | None:
        """The `place`-th report of a work; whether it may go on (nothing: not decided yet). May be repeated."""
        reports = self._reports.setdefault(name, [])
        if place == len(reports):
            reports.append(numbers)
        if name in self._stopped:
            return False
        return True if place < self._allowed.get(name, 0) else None

    def read(self, name: str, place: int) -> tuple[Mapping[str, Any] | None, bool]:
        """The `place`-th report of a work if it is there, and whether the work has come to its end."""
        reports = self._reports.get(name, [])
        return (reports[place] if place < len(reports) else None), name in self._ended

    def allow(self, name: str, place: int) -> None:
        """After its `place`-th report, a work may go on."""
        self._allowed[name] = max(self._allowed.get(name, 0), place + 1)

    def stop(self, name: str) -> None:
        """A work is not to go on after the report at which it pauses."""
        self._stopped.add(name)

    def error(self, name: str) -> tuple[str, bool] | None:
        """Why a work failed, if it did, and whether another try could succeed."""
        return self._ended.get(name)


def open_board() -> ActorHandle:
    """A board of one's own."""
    return ray.remote(**_here())(Board).remote()


def open_messages() -> Queue:
    """What workers send to the study's process."""
    return Queue(actor_options=_here())


def _here() -> dict[str, Any]:
    """An actor that needs no CPU and lives where the study's own process does: another machine may be lost."""
    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def next_order(board: ActorHandle, group: str) -> Any:
    """What `Board.take` says, asked for a while: a group's other workers cannot wait for ever. The work itself with it."""
    deadline = time.monotonic() + SECONDS_OF_WAITING
    while (order := ray.get(board.take.remote(group))) == WAIT and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if order is None or order == WAIT:
        return order
    name, (work,) = order
    return name, ray.get(work)


def may_go_on(board: ActorHandle, name: str, place: int, numbers: Mapping[str, Any]) -> bool:
    """Report, and wait for the decision."""
    while (allowed := ray.get(board.report.remote(name, place, numbers))) is None:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return bool(allowed)
