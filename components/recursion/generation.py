"""One generation: compose -> fit -> sample -> measure, each obtained by what determines it.

`obtain` decides what obtaining means: find the phase in the store or compute it and put it there; find it or give up;
compute it in memory. What is asked for is the same.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from components.recursion.family import CHOSEN, Family, Origin, Place, Pool, Step
from components.recursion.peers import Peers
from components.recursion.records import Chain
from components.regimes import Regime

Left = TypeVar("Left", covariant=True)


class Finished(Protocol[Left]):
    """A finished phase: its identity, the place where it left what it made, its numbers, and how long it took."""

    @property
    def identity(self) -> str: ...
    @property
    def place(self) -> Left: ...
    @property
    def metrics(self) -> dict[str, float]: ...
    @property
    def seconds(self) -> float: ...


Phases = Mapping[str, Finished[Place]]
"""A generation's four phases by kind."""

Compute = Callable[[Place, Step], Mapping[str, float]]
"""Leaves what a phase makes in the place given and returns its numbers."""

Obtain = Callable[[str, Mapping[str, Any], Compute[Place], Sequence[Place], Step], Finished[Place]]
"""Called with a phase's kind, what determines it, what would compute it out of which earlier phases, and its step."""


@dataclass(frozen=True)
class Past(Generic[Place]):
    """What a generation may look back on: how many there were, the data so far, the first and the newest model.

    `chosen`: what generation 0's phases chose by their machine, by name.
    """

    generations: int = 0
    pool: Pool[Place] = field(default_factory=Pool)
    samples: Sequence[str] = ()
    generation0: Finished[Place] | None = None
    newest: Finished[Place] | None = None
    chosen: Mapping[str, int] = field(default_factory=dict)

    def then(self, phases: Phases[Place], *, in_memory: bool) -> "Past[Place]":
        """With one generation more. In memory only the newest samples are held: older ones live on in `trained`."""
        sampled = phases["sample"]
        rows = int(sampled.metrics["synthetic/rows"])
        trained = phases["compose"].place
        places: list[Place] = [] if in_memory else list(self.pool.sampled)
        counts: list[int] = [] if in_memory else list(self.pool.rows)
        places.append(sampled.place)
        counts.append(rows)
        pool = replace(self.pool, sampled=places, rows=counts, trained=trained)
        samples = () if in_memory else (*self.samples, sampled.identity)
        chosen = self.chosen if self.generations else _chosen(phases)
        return Past(self.generations + 1, pool, samples, self.generation0 or phases["fit"], phases["fit"], chosen)


def advance(
    chain: Chain, family: Family[Place], past: Past[Place], obtain: Obtain[Place], peers: Peers = Peers()
) -> Phases[Place]:
    """The generation after `past`."""
    index, settings = past.generations, chain.settings
    seed = {"seed": chain.seed, "generation": index}
    common = {"family": chain.family, "data": settings["data"]}
    seen = {name: digest for name, digest in settings["data"].items() if name != "evaluation"}  # by fit and sample

    def obtained(
        kind: str, inputs: Mapping[str, Any], reads: Sequence[Place], compute: Compute[Place]
    ) -> Finished[Place]:
        step = Step(index, _random(chain, index, kind), peers, chosen=past.chosen)
        return obtain(kind, inputs, compute, reads, step)

    regime = Regime(**settings["regime"])
    composing = {
        "pool": [settings["data"]["training"], *past.samples],
        **({"regime": settings["regime"], **seed} if index else {}),
        **({"settings": settings["compose"]} if index and "compose" in settings else {}),
    }
    composed = obtained("compose", composing, (), lambda out, at: family.compose(regime, past.pool, out, at))

    start, weights = _start(settings["start"], family, past)
    fitting = {
        **common,
        "data": seen,
        "settings": settings["fit"],
        "training": composed.identity,
        "start": start,
        **seed,
    }
    before = [composed.place]
    before.extend(past.pool.sampled)
    if weights is not None:
        before.append(weights)
    fitted = obtained(
        "fit",
        fitting,
        before,
        lambda out, at: family.fit(composed.place, past.pool, weights, out, at),
    )

    # The model's identity says where it comes from: nothing of `origin` has to be named besides, here or in measuring.
    generation0 = past.generation0 or fitted
    origin = Origin(composed.place, past.pool, generation0.place)
    sampling = {**common, "data": seen, "settings": settings["sample"], "model": fitted.identity, **seed}
    known = [fitted.place, generation0.place]
    known.extend(before)
    sampled = obtained(
        "sample",
        sampling,
        known,
        lambda out, at: family.sample(fitted.place, origin, out, at),
    )

    measuring = {
        **common,
        "settings": settings["measure"],
        "model": fitted.identity,
        "samples": sampled.identity,
        "generation0": generation0.identity,
    }
    known.append(sampled.place)
    measured = obtained(
        "measure",
        measuring,
        known,
        lambda out, at: family.measure(fitted.place, sampled.place, origin, out, at),
    )
    return {"compose": composed, "fit": fitted, "sample": sampled, "measure": measured}


def _start(start: str, family: Family[Place], past: Past[Place]) -> tuple[str | None, Place | None]:
    """Identity and place of the weights a fit starts from; nothing means random weights."""
    if start == "scratch":
        return None, None
    earlier: Finished[Place] | None = past.generation0 if start == "generation0" else past.newest
    if start == "pretrained" or earlier is None:
        return family.base() or (None, None)
    return earlier.identity, earlier.place


def _chosen(phases: Phases[Place]) -> dict[str, int]:
    return {
        name.removeprefix(CHOSEN): int(value)
        for phase in phases.values()
        for name, value in phase.metrics.items()
        if name.startswith(CHOSEN)
    }


def _random(chain: Chain, generation: int, purpose: str) -> np.random.SeedSequence:
    """Randomness of a phase: the seed's, so that conditions with the same seed are paired draws."""
    name = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
    return np.random.SeedSequence([chain.seed, generation, name])
