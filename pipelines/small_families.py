"""A study whose chains take a process each: side by side as Ray tasks, then its figures and its table.

What the entry points of the four small families share; each of them makes the chains and names its figures and table.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from components import cluster, config, tracking
from components.config.errors import BadInput
from components.config.settings import RegimeCondition, StudySettings
from components.families.memory import Need
from components.recursion.loop import make_chain, stored_generations
from components.recursion.machines import processors_of
from components.recursion.records import Generation
from components.recursion.worker import ChainWork
from components.regimes import Regime
from components.scorecard import HeldOut, Judgement, Numbers, conditional_on, numbers
from components.store import Store
from components.terminal import StudyProgress, chain_fields, chain_name, say
from pipelines.again import command_digest, told_again
from pipelines.drawn import overlapping
from pipelines.facts import facts_of
from pipelines.recorder import Recorder
from pipelines.study import PROJECT, closing, remembered, study_identity, study_name, told

Table = Callable[[pd.DataFrame], pd.DataFrame]
Draw = Callable[[pd.DataFrame, Path], list[Path]]
Judge = Callable[[Numbers], Judgement]
Artifacts = Callable[[Generation], Mapping[str, Path | str]]
OfSeed = Callable[[Any, int], Any]
Expected = Mapping[str, Mapping[tuple[int, str], float]]
"""By a chain's identity, then by generation and phase."""

TITLES = {"vae": "VAE"}
A_PROCESS = Need(500 * 2**20)
"""What a chain's process holds."""


def make_chains(
    settings: StudySettings,
    store: Store,
    conditions: Mapping[str, RegimeCondition],
    families: Mapping[str, Any],
    of_seed: OfSeed = lambda family, seed: family,
) -> list[ChainWork[Any]]:
    """A chain for each condition and seed; `families` by the condition's name, `of_seed` makes one a seed's own.

    Raises:
        BadInput: two conditions that are one.
    """
    chains: list[ChainWork[Any]] = []
    for name, condition in conditions.items():
        for seed in settings.seeds:
            regime = Regime(condition.regime, condition.real_fraction)
            family = of_seed(families[name], seed)
            chain = make_chain(family, name, regime, "scratch", seed)
            if same := next((work.chain for work in chains if work.chain.identity == chain.identity), None):
                remedy = f"its settings are those of {same.condition}; change one, or take one out with null"
                raise BadInput(f"conditions.{name}", dict(condition), remedy)
            chains.append(ChainWork(chain, family, store, settings.generations))
    return chains


def run_study(
    settings: StudySettings,
    store: Store,
    chains: Sequence[ChainWork[Any]],
    capacity: cluster.Capacity,
    expected: Expected,
    table: Table,
    draw: Draw,
    captions: Mapping[str, str],
    judge: Judge,
    artifacts: Artifacts = lambda generation: {},
    gpu: bool = False,
    derived: Callable[[Sequence[Generation]], pd.DataFrame] = lambda generations: pd.DataFrame(),
    held_out: Callable[[Sequence[Generation]], HeldOut] = lambda generations: {},
    deterministic: bool = False,
) -> None:
    """Record what the store has, compute what it lacks, draw it.

    Args:
        capacity: of the cluster.
        expected: how much work every phase of each chain is, in any unit: the progress goes by it.
        table: the closing table out of the study's tidy numbers (condition, seed, generation, metric, value).
        draw: the figures out of them, into a folder; `captions` their words, by name.
        judge: the scorecard and the collapse profile out of all numbers.
        artifacts: a generation's own files for MLflow, by name.
        gpu: whether a chain takes a GPU where the cluster has some.
        derived: tidy numbers that take several phases of the finished generations together.
        held_out: the loss of the finished generations' models on each row of a test split (`Numbers.held_out`).
        deterministic: whether chains keep to deterministic kernels.

    Raises:
        BadInput: MLflow cannot be reached.
        cluster.Failed: a chain did not come to its end; the others are shown.
    """
    family, generations = chains[0].chain.family, settings.generations
    of_chains = capacity if gpu else capacity.without_gpus()
    side_by_side = min(len(chains), of_chains.groups(1, settings.cluster.concurrent_chains, A_PROCESS))
    say(f"{side_by_side} chains side by side: {of_chains.bound(1, side_by_side, A_PROCESS)}")
    tracker = tracking.connect(settings.tracking, settings.entry_point, PROJECT)
    identity = study_identity(settings.entry_point, [work.chain.identity for work in chains], generations)
    names = {work.chain.identity: chain_name(work.chain) for work in chains}
    name, shown = study_name(settings, identity), settings.model_dump(mode="json")
    command = command_digest(shown)
    stored = [list(stored_generations(work.chain, work.family, store, generations)) for work in chains]
    if all(len(found) > generations for found in stored) and told_again(tracker, identity, command):
        return
    with store.only_one(identity), remembered(store, settings), told(store, settings, name) as tell:
        study = tracking.open_study(
            tracker,
            name=f"{len(chains)} chains to generation {generations}",
            family=family,
            identity=identity,
            config=config.to_yaml(settings),
            settings=shown,
            command=command,
        )
        with closing(study):
            with StudyProgress(names, expected, chain_fields(work.chain for work in chains)) as progress:
                recorder = Recorder(study, store, progress, generations, artifacts, tell, settings.seeds[0])
                failed = _compute(settings, chains, stored, recorder, gpu, deterministic)
            if recorder.generations:
                title = f"{TITLES.get(family, family.capitalize())}: {len(chains)} chains to generation {generations}"
                status: tracking.Status = "FAILED" if failed else "FINISHED"
                finished = recorder.in_order()
                recorder.close(
                    title,
                    settings.model_dump(mode="json"),
                    status,
                    table,
                    draw,
                    captions,
                    derived=lambda: derived(finished),
                    judge=lambda metrics: judge(
                        _numbers(settings, chains, metrics, held_out(finished), processors_of(finished, store))
                    ),
                )
            if failed:
                raise cluster.Failed({names[name]: error for name, error in failed.errors.items()})


def _numbers(
    settings: StudySettings,
    chains: Sequence[ChainWork[Any]],
    metrics: pd.DataFrame,
    held_out: HeldOut,
    processors: Sequence[str],
) -> Numbers:
    of_condition = {work.chain.condition: work.chain.settings for work in chains}  # its chains differ in the seed alone
    drawn = chains[0].family.in_memory  # these families draw from a known distribution
    facts = facts_of(
        [work.chain for work in chains],
        processors,
        drawn=drawn,
        overlapping=overlapping(chains),
        test_error=bool(held_out),
    )
    return numbers(metrics, of_condition, settings.seeds, settings.generations, held_out, conditional_on(facts))


def _compute(
    settings: StudySettings,
    chains: Sequence[ChainWork[Any]],
    stored: Sequence[list[Generation]],
    recorder: Recorder,
    gpu: bool,
    deterministic: bool,
) -> cluster.Failed | None:
    missing: dict[str, cluster.Work] = {}
    for work, found in zip(chains, stored, strict=True):
        if found:
            recorder.watch([{"found": found}])
        if len(found) <= work.generations:
            missing[work.chain.identity] = work
    if not missing:
        return None
    try:
        with cluster.connect(settings.cluster) as capacity:
            fitting = capacity if gpu else capacity.without_gpus()
            cluster.run_tasks(
                missing,
                fitting.groups(1, settings.cluster.concurrent_chains, A_PROCESS),
                settings.cluster.max_failures,
                recorder.watch,
                fitting.gpus > 0,
                A_PROCESS.memory,
                deterministic,
            )
    except cluster.Failed as failure:
        return failure
    return None


def evenly(chains: Sequence[ChainWork[Any]], work: Mapping[str, float]) -> Expected:
    """Chains whose generations all are as much work, told when they are measured."""
    return {
        one.chain.identity: {(index, "measure"): work[one.chain.identity] for index in range(one.generations + 1)}
        for one in chains
    }


def print_plan(chains: Sequence[ChainWork[Any]], lines: Sequence[str]) -> None:
    """What will be run, before it is."""
    conditions = len({work.chain.condition for work in chains})
    seeds = len({work.chain.seed for work in chains})
    say(f"{len(chains)} chains ({conditions} conditions x {seeds} seeds), generations 0-{chains[0].generations}")
    for line in lines:
        say(line)
