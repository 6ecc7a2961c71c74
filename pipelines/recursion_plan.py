"""What a recursion study will run, what of it the store has, and what the rest will cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from components import cluster, corpus
from components.config.settings import RecursionSettings
from components.families.device import precision
from components.families.language import architecture
from components.families.language.base import BASE, BaseWork
from components.families.language.cost import GenerationCost, generation_cost, measure_rates
from components.families.language.family import LanguageFamily
from components.families.language.memory import largest
from components.families.memory import Need
from components.recursion.loop import stored_generations
from components.recursion.records import Generation
from components.recursion.worker import ChainWork
from components.store import Phase, Store
from components.terminal import duration, print_table, say
from pipelines.recursion_chains import Models, make_chains


@dataclass(frozen=True)
class Plan:
    """A study as it will be run: the corpus, the base model, the chains, and what each piece of work costs.

    `bound`: why no more chains run side by side. `parameters`: of the model.
    """

    corpus: corpus.Corpus
    base: BaseWork | None
    chains: Sequence[ChainWork[LanguageFamily]]
    stored: dict[str, list[Generation]]
    costs: dict[str, list[GenerationCost]]
    side_by_side: int
    bound: str
    parameters: int

    def expected(self, name: str) -> dict[tuple[int, str], float]:
        """What every phase of a piece of work by (generation, phase) is expected to add to the study's wall time."""
        if name == BASE:
            return {(-1, "pretrain"): self.costs[name][0].seconds["fit"]}
        return {
            (index, kind): seconds / self.side_by_side
            for index, cost in enumerate(self.costs[name])
            for kind, seconds in cost.seconds.items()
        }

    def missing(self, name: str) -> list[GenerationCost]:
        """What the store lacks of a piece of work."""
        return self.costs[name][len(self.stored.get(name, ())) :]

    @property
    def bytes(self) -> int:
        """What will be added to the store."""
        return sum(cost.bytes for name in self.costs for cost in self.missing(name))

    @property
    def seconds(self) -> float:
        """Wall time of what is missing, on this machine."""
        work = {name: sum(sum(cost.seconds.values()) for cost in self.missing(name)) for name in self.costs}
        return work.pop(BASE, 0.0) + sum(work.values()) / self.side_by_side


def make_plan(
    settings: RecursionSettings,
    store: Store,
    prepared: Phase,
    models: Models,
    capacity: cluster.Capacity | None = None,
) -> Plan:
    """Base model, chains and costs.

    Args:
        capacity: of the cluster; of this machine if None.

    Raises:
        BadInput: model, tokenizer and blocks do not fit each other, two conditions are one, or not even one chain fits into
            the memory there is.
    """
    base, chains = make_chains(settings, store, prepared, models)
    capacity = capacity or cluster.this_machine()
    workers, need = settings.train.workers, needed(chains, settings.train.workers, capacity)
    side_by_side = min(len(chains), capacity.groups(workers, settings.cluster.concurrent_chains, need))
    stored = {
        work.chain.identity: list(stored_generations(work.chain, work.family, store, work.generations))
        for work in chains
    }
    lacking = any(len(stored[work.chain.identity]) <= work.generations for work in chains)
    making = base if base and lacking and not base.find() else None
    family = chains[0].family
    return Plan(
        family.corpus,
        base,
        chains,
        stored,
        costs(settings, making, chains, capacity),
        side_by_side,
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
    base: BaseWork | None,
    chains: Sequence[ChainWork[LanguageFamily]],
    capacity: cluster.Capacity,
) -> dict[str, list[GenerationCost]]:
    """By piece of work, what its generations cost, one after the other; for a base model to be made, what that costs."""
    block, workers = settings.corpus.block_size, settings.train.workers
    size, data = chains[0].family.size, chains[0].family.corpus
    rates = measure_rates(
        size,
        block,
        settings.generate.num_beams,
        -(-settings.train.batch_size // workers),
        precision(settings.train.precision),
        precision(settings.generate.precision),
    )
    found = {}
    if base:
        everyone, _ = base_workers(base, capacity)
        blocks = 0 if base.name else min(len(data.pretrain), base.blocks or len(data.pretrain))
        validation = 0 if base.name else len(data.validation)
        cost = generation_cost(size, rates, base.recipe, 0, blocks, 0, validation, len(data.test), block, everyone)
        found[BASE] = [replace(cost, seconds={"fit": sum(cost.seconds.values())})]
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
                family.embedding_flops(rows[index + 1]),
            )
            for index in range(work.generations + 1)
        ]
    return found


def print_plan(settings: RecursionSettings, plan: Plan) -> None:
    """Chains, blocks, tokens, FLOPs, disk and time, before anything is started."""
    data, block = plan.corpus, settings.corpus.block_size
    chains = [plan.costs[work.chain.identity] for work in plan.chains]
    total = [cost for costs in plan.costs.values() for cost in costs]
    say(
        f"{len(plan.chains)} chains ({len(settings.conditions)} conditions x {len(settings.seeds)} seeds), "
        f"generations 0-{settings.generations}; OPT with {plan.parameters / 1e6:,.2f} million parameters"
    )
    say(
        f"blocks of {block} tokens: {len(data.train):,} to train on, {len(data.validation):,} to validate, "
        f"{len(data.test):,} to test" + (f", {len(data.pretrain):,} for the base model" if BASE in plan.costs else "")
    )
    trained, generated = sum(cost.trained for cost in total), sum(cost.generated for cost in total)
    say(
        f"{trained:,} tokens to train on, {generated:,} to generate, "
        f"about {sum(cost.flops for cost in total) / 1e12:,.1f} TFLOP"
    )
    there = sum(len(generations) for generations in plan.stored.values())
    say(
        (f"{there} generations are in the store; the rest: " if there else "")
        + f"{plan.bytes / 1e6:,.0f} MB in the store, {duration(plan.seconds)} on this machine "
        "(measured just now, workers' start apart)"
    )
    say(f"{plan.side_by_side} chains side by side: {plan.bound}")
    rows = [
        (work.chain.condition, work.chain.seed, work.family.recipe.epochs, work.chain.settings["regime"]["name"],
         _real(work.chain.settings["regime"]), work.family.how,
         duration(sum(sum(cost.seconds.values()) for cost in costs)))
        for work, costs in zip(plan.chains, chains, strict=True)
    ]  # fmt: skip
    print_table("Plan", pd.DataFrame(rows, columns=["condition", "seed", "epochs", "regime", "real", "data", "time"]))


def _real(regime: Mapping[str, Any]) -> str:
    fresh = regime.get("fresh_real", 0)
    return f"{regime['real_fraction']:g}" + (f" + {fresh:g} new" if fresh else "")
