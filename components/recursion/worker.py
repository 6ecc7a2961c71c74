"""What every worker of a chain's group does, from the chain's first generation to its last."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from components.recursion.family import Family, Progress
from components.recursion.loop import run_chain
from components.recursion.peers import Peers
from components.recursion.records import Chain, Generation
from components.store import Store

Send = Callable[[Mapping[str, Any]], None]
"""Hands a small message to whoever watches the study; only rank 0 sends."""

SECONDS_BETWEEN_REPORTS = 0.5
SECONDS_BETWEEN_GENERATIONS = 4
"""Between messages of a chain in memory, each with all that was finished since: one chain often takes no longer."""


AnyFamily = TypeVar("AnyFamily", bound=Family)


@dataclass(frozen=True)
class ChainWork(Generic[AnyFamily]):
    """One chain to be run, as it travels to the workers of its group.

    `before`: brings what the chain starts from into the store, unless it is there: short work, for which no group of its
    own is started.
    """

    chain: Chain
    family: AnyFamily
    store: Store
    generations: int
    before: Callable[[Peers, Send], None] | None = None

    def __call__(self, peers: Peers, send: Send) -> None:
        """Run the chain; messages: progress within a phase, and the generations that are finished, in order."""
        if self.before:
            self.before(peers, send)
        name = self.chain.identity
        finished: list[Generation] = []
        sent = time.monotonic()
        for generation in run_chain(
            self.chain, self.family, self.store, self.generations, peers, throttled(send, name)
        ):
            finished.append(generation)
            fast = self.family.in_memory and generation.index < self.generations
            if peers.leads and not (fast and time.monotonic() - sent < SECONDS_BETWEEN_GENERATIONS):
                send({"work": name, "finished": finished})
                finished, sent = [], time.monotonic()


def throttled(send: Send, work: str) -> Callable[[int, str, int, int], None]:
    """Reports of (generation, phase, done, total), at most two a second within a phase."""
    last: dict[str, Any] = {"phase": None, "at": 0.0}

    def report(generation: int, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if (generation, phase) != last["phase"] or done == total or now - last["at"] > SECONDS_BETWEEN_REPORTS:
            last.update(phase=(generation, phase), at=now)
            send({"work": work, "generation": generation, "phase": phase, "done": done, "total": total})

    return report


def phase_progress(send: Send, work: str, phase: str) -> Progress:
    """Progress of a phase outside the generations, such as the base model's pretraining."""
    report = throttled(send, work)
    return lambda done, total: report(-1, phase, done, total)
