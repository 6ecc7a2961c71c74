"""What a recursion study will run, what of it the store has, and what the rest will cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from joblib import cpu_count

from components import cluster, corpus
from components.config.settings import RecursionSettings
from components.environment import Precision, cpu
from components.families.language import architecture
from components.families.language.base import BaseWork
from components.families.language.cost import GenerationCost, Rates, generation_cost, measure_rates
from components.families.language.family import LanguageFamily
from components.families.language.memory import largest
from components.families.memory import Need
from components.families.precision import Computing
from components.recursion.loop import stored_generations
from components.recursion.records import Generation
from components.recursion.worker import ChainWork
from components.store import Phase, Store, identity
from components.terminal import duration, print_table, say
from pipelines.drawn import drawn_blocks
from pipelines.recursion_chains import Models, make_chains

OVERLAP = "overlap/"
MOST_OVERLAP = 0.01
"""Share of a held-out split that the training text may have too without a warning."""

OF_GENERATION_0 = ("data", "fit", "start", "sample", "measure")
"""Settings of a chain that decide its generation 0, beside its seed."""

AT_ONCE = Rates(math.inf, math.inf, math.inf)
"""Of a study with nothing left to do."""


@dataclass(frozen=True)
class Plan:
    """A study as it will be run: the corpus, the base models, the chains, and what each piece of work costs.

    `costs` has a base model only where it is to be made. `overlap`: warnings of held-out splits that stand in
    the training text too. `bound`: why no more chains run side by side. `parameters`: of the model.
    """

    corpus: corpus.Corpus
    bases: Sequence[BaseWork]
    chains: Sequence[ChainWork[LanguageFamily]]
    stored: dict[str, list[Generation]]
    costs: dict[str, list[GenerationCost]]
    side_by_side: int
    overlap: Sequence[str]
    bound: str
    parameters: int

    @property
    def bases_to_make(self) -> list[BaseWork]:
        """The base models that the store lacks and a chain waits for."""
        return [base for base in self.bases if base.title in self.costs]

    def expected(self, name: str) -> dict[tuple[int, str], float]:
        """What every phase of a piece of work by (generation, phase) is expected to add to the study's wall time."""
        for base in self.bases:
            if name == base.title:
                return {(-1, base.doing): self.costs[name][0].seconds["fit"]}
        return {
            (index, kind): seconds / self.side_by_side
            for index, cost in enumerate(self.costs[name])
            for kind, seconds in cost.seconds.items()
        }

    def missing(self, name: str) -> list[GenerationCost]:
        """What the store lacks of a piece of work."""
        return self.costs[name][len(self.stored.get(name, ())) :]

    @property
    def complete(self) -> bool:
        """Whether the store has all of it."""
        return not any(self.missing(name) for name in self.costs)

    @property
    def bytes(self) -> int:
        """What will be added to the store."""
        return sum(cost.bytes for name in self.costs for cost in self.missing(name))

    @property
    def seconds(self) -> float:
        """Wall time of what is missing, on this machine, with the workers' start."""
        work = {name: sum(sum(cost.seconds.values()) for cost in self.missing(name)) for name in self.costs}
        pretraining = sum(work.pop(base.title) for base in self.bases_to_make)  # one after the other
        return cluster.seconds_to_start() + pretraining + sum(work.values()) / self.side_by_side


def make_plan(
    settings: RecursionSettings,
    store: Store,
    prepared: Phase,
    models: Models,
    computing: Computing,
    capacity: cluster.Capacity | None = None,
) -> Plan:
    """Base models, chains and costs.

    Args:
        capacity: of the cluster; of this machine if None.

    Raises:
        BadInput: model, tokenizer and blocks do not fit each other, two conditions are one, or not even one chain fits into
            the memory there is.
    """
    bases, chains = make_chains(settings, store, prepared, models, computing)
    capacity = capacity or cluster.this_machine()
    workers, need = settings.train.workers, needed(chains, settings.train.workers, capacity)
    side_by_side = min(len(chains), capacity.groups(workers, settings.cluster.concurrent_chains, need))
    stored = {
        work.chain.identity: list(stored_generations(work.chain, work.family, store, work.generations))
        for work in chains
    }
    unfinished = [work for work in chains if len(stored[work.chain.identity]) <= work.generations]
    awaited = {work.chain.settings["base"] for work in unfinished}
    making = [base for base in bases if awaited and base.identity in awaited and not base.find()]
    family = chains[0].family
    return Plan(
        family.corpus,
        bases,
        chains,
        stored,
        _once(chains, costs(settings, making, chains, capacity, bool(unfinished))),
        side_by_side,
        overlap_lines(prepared.metrics),
        capacity.bound(workers, side_by_side, need),
        architecture.parameter_count(family.size, family.configuration),
    )


def needed(chains: Sequence[ChainWork[LanguageFamily]], workers: int, capacity: cluster.Capacity) -> Need:
    """What each worker of any of these chains holds at its fullest moment."""
    return largest(*(work.family.needed(workers, "cuda" if capacity.gpus else "cpu") for work in chains))


def base_crew(crew: cluster.Crew, base: BaseWork, capacity: cluster.Capacity) -> cluster.Crew:
    """One group for the base model: of as many workers as are of use and fit."""
    workers, need = base_workers(base, capacity)
    return replace(crew, workers=workers, side_by_side=1, memory=need.memory)


def base_workers(base: BaseWork, capacity: cluster.Capacity) -> tuple[int, Need]:
    """How many workers make the base model, one at least, and what each of them holds."""
    device = "cuda" if capacity.gpus else "cpu"
    needs = {workers: base.needed(workers, device) for workers in range(1, base.most_workers + 1)}
    fitting = [workers for workers, need in needs.items() if workers <= capacity.workers(need)]
    workers = max(fitting, default=1)
    return workers, needs[workers]


def costs(
    settings: RecursionSettings,
    bases: Sequence[BaseWork],
    chains: Sequence[ChainWork[LanguageFamily]],
    capacity: cluster.Capacity,
    unfinished: bool = True,
) -> dict[str, list[GenerationCost]]:
    """By piece of work, what its generations cost, one after the other; for a base model to be made, what that costs.

    Args:
        unfinished: whether anything is left to do; nothing is measured for a study that takes no time.
    """
    block, workers = settings.corpus.block_size, settings.train.workers
    first = chains[0].family
    size, data = first.size, first.corpus
    rates = AT_ONCE
    if bases or unfinished:
        rates = measure_rates(
            size,
            block,
            settings.generate.num_beams,
            -(-settings.train.batch_size // workers),
            _measured_in(first.recipe.precision, first.arithmetic),
            _measured_in(first.decoding.precision, first.arithmetic),
            min(len(chains) * workers, cpu_count()) - 1,
        )
    found = {}
    for base in bases:
        everyone, _ = base_workers(base, capacity)
        blocks = 0 if base.name else min(len(data.pretrain), base.blocks or len(data.pretrain))
        validation = 0 if base.name else len(data.validation)
        cost = generation_cost(size, rates, base.recipe, 0, blocks, 0, validation, len(data.test), block, everyone)
        found[base.title] = [replace(cost, seconds={"fit": sum(cost.seconds.values())})]
    for work in chains:
        family, accumulates = work.family, work.chain.settings["regime"]["name"] == "accumulate"
        rows = [family.rows(index) for index in range(work.generations + 2)]
        found[work.chain.identity] = [
            generation_cost(
                size,
                rates,
                family.recipe,
                settings.generate.num_beams,
                len(data.train) + sum(rows[1 : index + 1]) if accumulates else rows[index],
                rows[index + 1],
                len(data.validation),
                len(data.test),
                block,
                workers,
                family.decoding.sequences(family.selection.best_of),
                family.judged,
                family.embedding_flops(index),
            )
            for index in range(work.generations + 1)
        ]
    return found


def _once(
    chains: Sequence[ChainWork[LanguageFamily]], found: Mapping[str, list[GenerationCost]]
) -> dict[str, list[GenerationCost]]:
    """These costs with a generation 0 that several chains share counted for the first of them only.

    Conditions share it where they differ in the regime alone: it is fitted on the seed's real data.
    """
    shared, seen = dict(found), set()
    for work in chains:
        settings = work.chain.settings
        key = identity("generation 0", {"seed": work.chain.seed} | {kind: settings[kind] for kind in OF_GENERATION_0})
        if key in seen:
            first, *later = shared[work.chain.identity]
            shared[work.chain.identity] = [GenerationCost(dict.fromkeys(first.seconds, 0.0), 0, 0, 0.0, 0), *later]
        seen.add(key)
    return shared


def _measured_in(precision: str, arithmetic: str) -> Precision:
    """bf16 where this CPU multiplies it as the workers do; else fp32, since it may be slow here, or not work."""
    return "bf16" if precision == "bf16" and cpu().bf16 == arithmetic else "fp32"


def print_plan(settings: RecursionSettings, plan: Plan) -> None:
    """Chains, blocks, tokens, FLOPs, disk and time, before anything is started."""
    data, block = plan.corpus, settings.corpus.block_size
    chains = [plan.costs[work.chain.identity] for work in plan.chains]
    total = [cost for costs in plan.costs.values() for cost in costs]
    say(
        f"{len(plan.chains)} chains ({len(settings.conditions)} conditions x {len(settings.seeds)} seeds), "
        f"generations 0-{settings.generations}; OPT with {plan.parameters / 1e6:,.2f} million parameters, {_computed(plan)}"
    )
    pretrained = [base for base in plan.bases_to_make if not base.name]
    of_base = f", {len(data.pretrain):,} for {_bases(pretrained)}" if pretrained else ""
    say(
        f"blocks of {block} tokens: {drawn_blocks(plan.bases, plan.chains).training}, "
        f"{len(data.validation):,} to validate, {len(data.test):,} to test{of_base}"
    )
    for line in [*measured_over(plan.chains), *plan.overlap]:
        say(line)
    if plan.complete:
        say("All of it is in the store: nothing is to be computed")
        return
    trained, generated = sum(cost.trained for cost in total), sum(cost.generated for cost in total)
    say(
        f"{trained:,} tokens to train on, {generated:,} to generate, "
        f"about {sum(cost.flops for cost in total) / 1e12:,.1f} TFLOP"
    )
    there = sum(len(generations) for generations in plan.stored.values())
    say(
        (f"{there} generations are in the store; the rest: " if there else "")
        + f"{plan.bytes / 1e6:,.0f} MB in the store, {duration(plan.seconds)} on this machine "
        "(measured just now)"
    )
    say(f"{plan.side_by_side} chains side by side: {plan.bound}")
    rows = [
        (work.chain.condition, work.chain.seed, work.family.recipe.epochs, work.chain.settings["regime"]["name"],
         _real(work.chain.settings["regime"]), work.family.how,
         duration(sum(sum(cost.seconds.values()) for cost in costs)))
        for work, costs in zip(plan.chains, chains, strict=True)
    ]  # fmt: skip
    print_table("Plan", pd.DataFrame(rows, columns=["condition", "seed", "epochs", "regime", "real", "data", "time"]))


def measured_over(chains: Sequence[ChainWork[LanguageFamily]]) -> list[str]:
    """How many blocks text is measured over, and which conditions will not have as many."""
    count = chains[0].family.measured
    few = {work.chain.condition: work.family.fewest_samples(work.generations) for work in chains}
    few = {name: samples for name, samples in few.items() if samples < count}
    lines = [f"text is measured over {count:,} blocks, of samples and of held-out text alike (measure.blocks)"]
    if few:
        names = ", ".join(f"{name} ({samples:,})" for name, samples in few.items())
        lines.append(
            f"these conditions write fewer blocks and will have no measures of text: {names}; to have them, give "
            f"measure.blocks={min(few.values())}"
        )
    return lines


def overlap_lines(metrics: Mapping[str, float]) -> list[str]:
    """Warn of each held-out split that shares more than 1 % with the training text; `metrics`: what a corpus was found to be."""
    shares = {name.removeprefix(OVERLAP): share for name, share in metrics.items() if name.startswith(OVERLAP)}
    return [
        f"Warning: {share:.1%} of the {split} split also stands in the training text, as whole lines or documents: "
        "perplexity on it is too low. Take them out of one of the two."
        for split, share in shares.items()
        if share > MOST_OVERLAP
    ]


def _bases(bases: Sequence[BaseWork]) -> str:
    return "the base model" if bases[0].of_seed is None else "a base model per seed"


def _computed(plan: Plan) -> str:
    """In which precision, and where that is bf16, by which arithmetic."""
    family = plan.chains[0].family
    precisions = (family.recipe.precision, family.decoding.precision)
    arithmetic = f" (bf16 by {family.arithmetic})" if "bf16" in precisions else ""
    return "fine-tuned in {}, written with in {}".format(*precisions) + arithmetic


def _real(regime: Mapping[str, Any]) -> str:
    fresh = regime.get("fresh_real", 0)
    return f"{regime['real_fraction']:g}" + (f" + {fresh:g} new" if fresh else "")
