"""The recursion of the paper (section 3): each generation is fitted on data sampled from the one before.

    real data --fit--> model 0 --sample--> data 0 --compose--> training set 1 --fit--> model 1 --sample--> ...

Every phase ends in the store under the hash of what determined it: its own settings, its seed and the identities of what
it was made from. So a chain that is started again, or made longer, or shared by two studies, finds what is there and
computes only the rest; nothing is kept in memory that the store does not have.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.recursion.family import Family
from components.recursion.peers import Peers
from components.recursion.phase import Compute, phase
from components.recursion.records import Chain, Generation
from components.regimes import REAL, Composition, Regime, compose, gather
from components.store import Phase, Store, identity, read_manifest

Report = Callable[[int, str, int, int], None]
"""Called with (generation, phase, done, total)."""

Phases = dict[str, Phase]
"""A generation's four phases by kind."""


def make_chain(family: Family, condition: str, regime: Regime, start: str, seed: int) -> Chain:
    """A chain and its identity: the family's settings, the real data, the base model, the regime and the seed."""
    base = family.base()
    settings = {
        "family": family.name,
        "regime": {"name": regime.name, "real_fraction": regime.real_fraction},
        "start": start,
        "seed": seed,
        "data": dict(family.digests()),
        "base": base[0] if base else None,
        **family.settings,
    }
    return Chain(family.name, condition, seed, identity("chain", settings), settings)


def run_chain(
    chain: Chain, family: Family, store: Store, generations: int, peers: Peers = Peers(), report: Report | None = None
) -> Iterator[Generation]:
    """Advance a chain through generations 0 to `generations`, yielding each as it is finished.

    All workers of the group run this together. What the store has is not computed again.

    Raises:
        GuardFailure: a phase's result must not stand; nothing of that phase is kept.
    """
    done: list[Phases] = []
    for index in range(generations + 1):

        def compute(kind: str, inputs: dict[str, Any], work: Compute, generation: int = index) -> Phase:
            def progress(finished: int, total: int) -> None:
                if report and peers.leads:
                    report(generation, kind, finished, total)

            return phase(store, kind, inputs, work, peers, progress)

        done.append(_advance(chain, family, done, compute, peers))
        generation = _record(chain, family, index, done[-1])
        if peers.leads:
            store.write_json(
                f"chains/{chain.identity}/generation-{index:03d}.json",
                {"phases": {kind: found.identity for kind, found in done[-1].items()}, "metrics": generation.metrics},
            )
        yield generation


def stored_generations(chain: Chain, family: Family, store: Store, generations: int) -> Iterator[Generation]:
    """The first generations of a chain, as far as the store has them whole; computes nothing."""

    def find(kind: str, inputs: dict[str, Any], work: Compute) -> Phase:
        if found := store.find(kind, inputs):
            return found
        raise _NotStored

    done: list[Phases] = []
    for index in range(generations + 1):
        try:
            done.append(_advance(chain, family, done, find, Peers()))
        except _NotStored:
            return
        yield _record(chain, family, index, done[-1])


class _NotStored(Exception):
    """The store has no such phase."""


def _advance(
    chain: Chain,
    family: Family,
    done: list[Phases],
    obtain: Callable[[str, dict[str, Any], Compute], Phase],
    peers: Peers,
) -> Phases:
    """One generation: its four phases, each obtained by what determines it."""
    index = len(done)
    settings, seed = chain.settings, {"seed": chain.seed, "generation": index}
    seen = {name: digest for name, digest in settings["data"].items() if name != "evaluation"}  # by fit and sample

    pool = [settings["data"]["training"], *(earlier["sample"].identity for earlier in done)]
    composing = {"pool": pool, **({"regime": settings["regime"], **seed} if done else {})}
    composed = obtain("compose", composing, lambda out, _: _compose(chain, family, done, out, peers))

    start = _start(settings["start"], family, done)
    fitting = {
        "family": chain.family,
        "settings": settings["fit"],
        "data": seen,
        "training": composed.identity,
        "start": start[0] if start else None,
        **seed,
    }
    fitted = obtain(
        "fit",
        fitting,
        lambda out, progress: family.fit(
            _training(family, done, composed),
            start[1] if start else None,
            _random(chain, index, "fit"),
            out,
            peers,
            progress,
        ),
    )
    sampling = {
        "family": chain.family,
        "settings": settings["sample"],
        "data": seen,
        "model": fitted.identity,
        **seed,
    }
    sampled = obtain(
        "sample",
        sampling,
        lambda out, progress: family.sample(fitted.directory, _random(chain, index, "sample"), out, peers, progress),
    )
    generation0 = done[0]["fit"] if done else fitted
    measuring = {
        "family": chain.family,
        "settings": settings["measure"],
        "data": settings["data"],
        "model": fitted.identity,
        "samples": sampled.identity,
        "generation0": generation0.identity,
    }
    measured = obtain(
        "measure",
        measuring,
        lambda out, progress: family.measure(
            fitted.directory, sampled.directory, generation0.directory, out, peers, progress
        ),
    )
    return {"compose": composed, "fit": fitted, "sample": sampled, "measure": measured}


def _compose(chain: Chain, family: Family, done: list[Phases], out: Path, peers: Peers) -> dict[str, float]:
    sizes = [len(family.real()), *(int(earlier["sample"].metrics["synthetic/rows"]) for earlier in done)]
    random = np.random.default_rng(_random(chain, len(done), "compose"))
    composition = compose(Regime(**chain.settings["regime"]), sizes, random)
    if peers.leads:
        frame = pd.DataFrame({"source": composition.source, "row": composition.row})
        frame.to_parquet(out / "composition.parquet", index=False)
    alpha, beta, gamma = composition.weights(len(done))
    return {"data/rows": len(composition.row), "data/alpha": alpha, "data/beta": beta, "data/gamma": gamma}


def _training(family: Family, done: list[Phases], composed: Phase) -> np.ndarray:
    """The rows that the composition names, out of the real data and the samples it draws on."""
    frame = pd.read_parquet(composed.directory / "composition.parquet")
    composition = Composition(frame["source"].to_numpy(), frame["row"].to_numpy())
    pool = {
        source: family.real() if source == REAL else family.samples(done[source]["sample"].directory)
        for source in np.unique(composition.source).tolist()
    }
    return gather(composition, pool)


def _start(start: str, family: Family, done: list[Phases]) -> tuple[str, Path] | None:
    """Identity and folder of the weights a fit starts from; nothing means random weights."""
    if start == "scratch":
        return None
    if start == "pretrained" or not done:
        return family.base()
    earlier = done[0] if start == "generation0" else done[-1]
    return earlier["fit"].identity, earlier["fit"].directory


def _random(chain: Chain, generation: int, purpose: str) -> np.random.SeedSequence:
    """Randomness of a phase: the seed's, so that conditions with the same seed are paired draws."""
    name = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
    return np.random.SeedSequence([chain.seed, generation, name])


def _record(chain: Chain, family: Family, index: int, phases: dict[str, Phase]) -> Generation:
    metrics = {name: value for phase in phases.values() for name, value in phase.metrics.items()}
    metrics |= {f"seconds/{kind}": phases[kind].seconds for kind in ("fit", "sample", "measure")}
    for kind in ("fit", "sample"):
        if tokens := metrics.pop(f"tokens/{kind}", None):
            metrics[f"tokens_per_second/{kind}"] = tokens / phases[kind].seconds
    directories = {kind: phase.directory for kind, phase in phases.items()}
    if family.data_folder:
        directories["data"] = family.data_folder
    composed = read_manifest(phases["compose"].directory)["files"]["composition.parquet"]["sha256"]
    digests = {"training": identity("training", {"composition": phases["compose"].identity, "rows": composed})}
    return Generation(chain, index, directories, metrics, digests | {"evaluation": family.digests()["evaluation"]})
