"""One trial as it travels to the workers that run it: a condition's chains, a seed each."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.recursion.family import Diverged, Family
from components.recursion.loop import run_chain
from components.recursion.peers import Peers
from components.recursion.records import Generation
from components.recursion.worker import SECONDS_BETWEEN_GENERATIONS, ChainWork, Send, throttled
from components.sweep import objectives


@dataclass(frozen=True)
class TrialWork:
    """Chains that advance together, generation after generation.

    `reports`: the generations after which it reports, and pauses. `block`: pieces of real data a row.
    """

    name: str
    chains: Sequence[ChainWork[Family]]
    reports: Collection[int]
    block: int

    def __call__(self, peers: Peers, send: Send) -> Iterator[Mapping[str, Any]]:
        """Run every chain exactly as a study does; messages as a study's chains send them, under the trial's name.

        A chain that diverges ends the trial: what it reports then has no bound (`objectives.diverged`).
        """
        for one in self.chains:
            if one.before:
                one.before(peers, send)
        runs = [
            run_chain(
                one.chain,
                one.family,
                one.store,
                one.generations,
                peers,
                throttled(send, self.name),
                self.reports,
            )
            for one in self.chains
        ]
        waiting: list[Generation] = []
        sent = time.monotonic()
        try:
            for generations, numbers in reports(zip(*runs, strict=True), self.reports, self.block):
                waiting += generations
                if peers.leads and (numbers or time.monotonic() - sent > SECONDS_BETWEEN_GENERATIONS):
                    send({"work": self.name, "finished": waiting})
                    waiting, sent = [], time.monotonic()
                if numbers:
                    yield numbers
        except Diverged as error:
            if peers.leads and waiting:
                send({"work": self.name, "finished": waiting})
            seeds = [one.chain.seed for one in self.chains]
            yield objectives.diverged(seeds, self.chains[0].generations, str(error))


def reports(
    finished: Iterable[Sequence[Generation]], wanted: Collection[int], block: int
) -> Iterator[tuple[Sequence[Generation], Mapping[str, Any]]]:
    """Each generation of all of a trial's chains, and what it reports after it: nothing after those that are not `wanted`."""
    past: list[list[Generation]] = []
    for generations in finished:
        past = past or [[] for _ in generations]
        for chain, generation in zip(past, generations, strict=True):
            chain.append(generation)
        index = generations[0].index
        told = index in wanted
        yield generations, {"generation": index, **objectives.numbers(past, block)} if told else {}
