"""A chain of a family that works in memory: the same generations, kept in the store as a whole.

    <store>/trajectory/<identity>/   what the next generation needs, the models to be shown, every generation's numbers
    <store>/chains/<identity>/trajectory.json   which of them is the chain's newest

A thousand generations take seconds; a folder for each of their phases would take minutes. So the chain is put into the
store every few seconds and at its end, and a chain that was stopped, or is made longer, goes on from there: with the same
numbers, since a phase's randomness is that of its generation.
"""

import hashlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from components import logs
from components.environment import cpu
from components.recursion.family import Arrays, Family, Pool, Step
from components.recursion.generation import Compute, Finished, Past, Phases, advance
from components.recursion.records import Chain, Generation
from components.store import Store, read_manifest

SECONDS_BETWEEN_CHECKPOINTS = 5
KIND = "trajectory"


@dataclass(frozen=True)
class Held:
    """A finished phase in memory. It has no identity: the chain has one, and the generation's number says the rest."""

    place: Arrays = field(hash=False)
    metrics: dict[str, float] = field(default_factory=dict, hash=False)
    seconds: float = 0.0
    identity: str = ""


@dataclass
class Trajectory:
    """A chain so far. `models`: by generation, those of the generations that the family shows."""

    past: Past[Arrays] = field(default_factory=Past)
    metrics: list[dict[str, float]] = field(default_factory=list)
    models: dict[int, Arrays] = field(default_factory=dict)

    def take(self, phases: Phases[Arrays], shown: bool) -> None:
        if shown:
            self.models[self.past.generations] = phases["fit"].place
        self.metrics.append({name: value for phase in phases.values() for name, value in phase.metrics.items()})
        self.past = self.past.then(phases, in_memory=True)


def run_in_memory(
    chain: Chain, family: Family[Arrays], store: Store, generations: int, kept: Collection[int] = ()
) -> Iterator[Generation]:
    """Advance a chain from where the store has it to `generations`, yielding every generation from the first.

    `kept`: generations at which it is put into the store before they are yielded: it may go no further.
    """
    with store.lock(KIND, {"chain": chain.identity}):
        trajectory, saved = load(chain, store) or Trajectory(), time.monotonic()
        for index, metrics in enumerate(trajectory.metrics[: generations + 1]):
            yield Generation(chain, index, {}, metrics, {})
        for index in range(trajectory.past.generations, generations + 1):
            with logs.at(chain=chain.identity, condition=chain.condition, seed=chain.seed, generation=index):
                phases = advance(chain, family, trajectory.past, _compute)
            shown = index == 0 or index in family.shown
            trajectory.take(phases, shown)
            if index == generations or index in kept or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                _save(chain, store, trajectory)
                saved = time.monotonic()
            yield Generation(chain, index, {}, trajectory.metrics[-1], _digests(phases, family) if shown else {})


def stored_in_memory(chain: Chain, store: Store, generations: int) -> Iterator[Generation]:
    """The first generations of a chain, as far as the store has them; computes nothing."""
    if trajectory := load(chain, store):
        for index, metrics in enumerate(trajectory.metrics[: generations + 1]):
            yield Generation(chain, index, {}, metrics, {})


def load(chain: Chain, store: Store) -> Trajectory | None:
    """The chain as the store has it, its files checked against their digests; or nothing."""
    pointer = store.read_json(_pointer(chain))
    found = store.find(KIND, pointer) if pointer else None
    if found is None:
        return None
    store.bring(found.place)
    arrays = load_file(found.place / "arrays.safetensors")
    table = pd.read_parquet(found.place / "metrics.parquet")

    def part(name: str) -> Arrays:
        return {key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")}

    shown = sorted({int(key.split(".")[1]) for key in arrays if key.startswith("model.")})
    metrics = [
        {str(name): float(value) for name, value in row.items() if value == value} for row in table.to_dict("records")
    ]
    rows = int(metrics[-1]["synthetic/rows"])
    past = Past(
        generations=len(metrics),
        pool=Pool((part("sampled"),), (rows,), part("trained")),
        generation0=Held(part("model.0")),
        newest=Held(part("newest")),
    )
    return Trajectory(past, metrics, {index: part(f"model.{index}") for index in shown})


def manifest_of(chain: Chain, store: Store) -> Mapping[str, Any] | None:
    """What the store says of a chain in memory, or None where it has nothing of it."""
    pointer = store.read_json(_pointer(chain))
    found = store.find(KIND, pointer) if pointer else None
    return read_manifest(found.place) if found else None


def _save(chain: Chain, store: Store, trajectory: Trajectory) -> None:
    """Put the chain into the store as it stands, then drop what stood there before."""
    past, name = trajectory.past, _pointer(chain)
    assert past.newest is not None
    assert past.pool.trained is not None
    parts = {"sampled": past.pool.sampled[-1], "trained": past.pool.trained, "newest": past.newest.place}
    parts |= {f"model.{index}": model for index, model in trajectory.models.items()}
    arrays = {f"{part}.{key}": np.array(a, order="C") for part, place in parts.items() for key, a in place.items()}
    before = store.read_json(name)
    inputs = {"chain": chain.identity, "generations": past.generations}
    started, out = time.perf_counter(), store.begin(KIND)
    save_file(arrays, out / "arrays.safetensors")
    pd.DataFrame(trajectory.metrics).to_parquet(out / "metrics.parquet", index=False)
    store.finish(KIND, inputs, out, trajectory.metrics[-1], time.perf_counter() - started, [cpu()])  # in NumPy
    store.write_json(name, inputs)
    if before and before != inputs:
        store.drop(KIND, before)


def _pointer(chain: Chain) -> str:
    return f"chains/{chain.identity}/trajectory.json"


def _compute(
    kind: str, inputs: Mapping[str, Any], work: Compute[Arrays], reads: Sequence[Arrays], step: Step
) -> Finished[Arrays]:
    out: Arrays = {}
    started = time.perf_counter()
    metrics = work(out, step)
    return Held(out, dict(metrics), time.perf_counter() - started)


def _digests(phases: Phases[Arrays], family: Family[Arrays]) -> dict[str, str]:
    """What the generation was trained on and is held against, by content."""
    digest = hashlib.sha256()
    for name, array in sorted(phases["compose"].place.items()):
        digest.update(name.encode())
        digest.update(array.tobytes())
    return {"training": digest.hexdigest(), "evaluation": family.digests()["evaluation"]}
