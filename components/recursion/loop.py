"""The recursion of the paper (section 3): each generation is fitted on data sampled from the one before.

    real data --fit--> model 0 --sample--> data 0 --compose--> training set 1 --fit--> model 1 --sample--> ...

Every phase of a family that works in folders ends in the store under the hash of what determined it: its own settings,
its seed and the identities of what it was made from. So a chain that is started again, or made longer, or shared by two
studies, finds what is there and computes only the rest; nothing is kept in memory that the store does not have.
A family that works in memory goes through the same generations; `trajectory` keeps its chains.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from components import logs
from components.recursion.family import CHOSEN, Family, Progress, Step
from components.recursion.generation import Compute, Past, Phases, advance
from components.recursion.peers import Peers
from components.recursion.phase import phase
from components.recursion.records import Chain, Generation
from components.recursion.trajectory import run_in_memory, stored_in_memory
from components.regimes import Regime
from components.store import Phase, Store, identity, read_manifest

Report = Callable[[int, str, int, int], None]
"""Called with (generation, phase, done, total)."""


def make_chain(family: Family, condition: str, regime: Regime, start: str, seed: int) -> Chain:
    """A chain and its identity: the family's settings, the real data, the base model, the regime and the seed."""
    base = family.base()
    settings = {
        "family": family.name,
        "regime": regime.settings,
        "start": start,
        "seed": seed,
        "data": dict(family.digests()),
        "base": base[0] if base else None,
        **family.settings,
    }
    return Chain(family.name, condition, seed, identity("chain", settings), settings)


def run_chain(
    chain: Chain,
    family: Family,
    store: Store,
    generations: int,
    peers: Peers = Peers(),
    report: Report | None = None,
    kept: Collection[int] = (),
) -> Iterator[Generation]:
    """Advance a chain through generations 0 to `generations`, yielding each as it is finished.

    All workers of the group run this together. What the store has is not computed again. `kept`: generations after which
    whoever asks may stop; a family in folders keeps all of them.

    Raises:
        GuardFailure: a phase's result must not stand; nothing of that phase is kept.
    """
    if family.in_memory:
        yield from run_in_memory(chain, family, store, generations, kept)
        return

    if family.data_folder:
        store.bring(family.data_folder)

    def compute(kind: str, inputs: Mapping[str, Any], work: Compute[Path], reads: Sequence[Path], step: Step) -> Phase:
        def progress(finished: int, total: int) -> None:
            if report and peers.leads:
                report(step.generation, kind, finished, total)

        def told(out: Path, tell: Progress) -> Mapping[str, float]:
            return work(out, replace(step, progress=tell))

        where = {"chain": chain.identity, "condition": chain.condition, "seed": chain.seed}
        with logs.at(**where, generation=step.generation, phase=kind):
            return phase(store, kind, inputs, told, peers, progress, reads)

    past: Past[Path] = Past()
    for index in range(generations + 1):
        phases = advance(chain, family, past, compute, peers)
        past = past.then(phases, in_memory=False)
        generation = peers.agree(_record(chain, family, store, index, phases) if peers.leads else None)
        assert generation is not None
        if peers.leads:
            store.write_json(
                f"chains/{chain.identity}/generation-{index:03d}.json",
                {"phases": {kind: found.identity for kind, found in phases.items()}, "metrics": generation.metrics},
            )
        yield generation


def stored_generations(chain: Chain, family: Family, store: Store, generations: int) -> Iterator[Generation]:
    """The first generations of a chain, as far as the store has them whole; computes nothing."""
    if family.in_memory:
        yield from stored_in_memory(chain, store, generations)
        return

    def find(kind: str, inputs: Mapping[str, Any], work: Compute[Path], reads: Sequence[Path], step: Step) -> Phase:
        if found := store.find(kind, inputs):
            return found
        raise _NotStored

    past: Past[Path] = Past()
    for index in range(generations + 1):
        try:
            phases = advance(chain, family, past, find)
        except _NotStored:
            return
        past = past.then(phases, in_memory=False)
        yield _record(chain, family, store, index, phases)


class _NotStored(Exception):
    """The store has no such phase."""


def _record(chain: Chain, family: Family[Path], store: Store, index: int, phases: Phases[Path]) -> Generation:
    metrics = {
        name: value
        for phase in phases.values()
        for name, value in phase.metrics.items()
        if not name.startswith(CHOSEN)  # of the machine, not of the model
    }
    metrics |= {f"seconds/{kind}": phases[kind].seconds for kind in ("fit", "sample", "measure")}
    for kind in ("fit", "sample"):
        if tokens := metrics.pop(f"tokens/{kind}", None):
            metrics[f"tokens_per_second/{kind}"] = tokens / phases[kind].seconds
    places = {kind: phase.place for kind, phase in phases.items()}
    if family.data_folder:
        places["data"] = family.data_folder
    composed = read_manifest(places["compose"])["files"]["composition.parquet"]["sha256"]
    digests = {"training": identity("training", {"composition": phases["compose"].identity, "rows": composed})}
    digests |= {"evaluation": family.digests()["evaluation"]}
    return Generation(
        chain, index, places, metrics, digests, {kind: store.location(place) for kind, place in places.items()}
    )
