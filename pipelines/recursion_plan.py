"""What a recursion study will run, what of it the store has, and what the rest will cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from components import cluster, corpus
from components.config.settings import RecursionSettings
from components.environment import Precision, cpu
from components.families.language import architecture
from components.families.language.base import BASE, BaseWork
from components.families.language.cost import GenerationCost, generation_cost, measure_rates
from components.families.language.family import LanguageFamily
from components.families.precision import Computing
from components.recursion.loop import stored_generations
from components.recursion.records import Generation
from components.recursion.worker import ChainWork
from components.store import Phase, Store
from components.terminal import duration, print_table, say
from pipelines.recursion_chains import make_chains


@dataclass(frozen=True)
class Plan:
    """A study as it will be run: the corpus, the base model, the chains, and what each piece of work costs."""

    corpus: corpus.Corpus
    base: BaseWork | None
    chains: Sequence[ChainWork[LanguageFamily]]
    stored: dict[str, list[Generation]]
    costs: dict[str, list[GenerationCost]]
    side_by_side: int

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
    size: architecture.ModelSize | None,
    computing: Computing,
) -> Plan:
    """Base model, chains and costs.

    Raises:
        BadInput: model, tokenizer and blocks do not fit each other, or two conditions are one.
    """
    base, chains = make_chains(settings, store, prepared, size, computing)
    side_by_side = min(len(chains), cluster.local_groups(settings.train.workers, settings.cluster.concurrent_chains))
    stored = {
        work.chain.identity: list(stored_generations(work.chain, work.family, store, work.generations))
        for work in chains
    }
    lacking = any(len(stored[work.chain.identity]) <= work.generations for work in chains)
    making = base if base and lacking and not base.find() else None
    data = chains[0].family.corpus
    return Plan(data, base, chains, stored, costs(settings, making, chains), side_by_side)


def costs(
    settings: RecursionSettings, base: BaseWork | None, chains: Sequence[ChainWork[LanguageFamily]]
) -> dict[str, list[GenerationCost]]:
    """By piece of work, what its generations cost, one after the other; for a base model to be made, what that costs."""
    block, workers = settings.corpus.block_size, settings.train.workers
    first = chains[0].family
    size, data = first.size, first.corpus
    rates = measure_rates(
        size,
        block,
        settings.generate.num_beams,
        -(-settings.train.batch_size // workers),
        _measured_in(first.recipe.precision, first.arithmetic),
        _measured_in(first.decoding.precision, first.arithmetic),
    )
    found = {}
    if base:
        everyone = min(cluster.local_workers(), base.most_workers)
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


def _measured_in(precision: str, arithmetic: str) -> Precision:
    """bf16 where this CPU multiplies it as the workers do; else fp32, since it may be slow here, or not work."""
    return "bf16" if precision == "bf16" and cpu().bf16 == arithmetic else "fp32"


def print_plan(settings: RecursionSettings, plan: Plan) -> None:
    """Chains, blocks, tokens, FLOPs, disk and time, before anything is started."""
    data, block = plan.corpus, settings.corpus.block_size
    size = plan.chains[0].family.size
    chains = [plan.costs[work.chain.identity] for work in plan.chains]
    total = [cost for costs in plan.costs.values() for cost in costs]
    parameters = architecture.parameter_count(size)
    say(
        f"{len(plan.chains)} chains ({len(settings.conditions)} conditions x {len(settings.seeds)} seeds), "
        f"generations 0-{settings.generations}; OPT with {parameters / 1e6:,.2f} million parameters, {_computed(plan)}"
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
    rows = [
        (work.chain.condition, work.chain.seed, work.family.recipe.epochs, work.chain.settings["regime"]["name"],
         _real(work.chain.settings["regime"]), work.family.how,
         duration(sum(sum(cost.seconds.values()) for cost in costs)))
        for work, costs in zip(plan.chains, chains, strict=True)
    ]  # fmt: skip
    print_table("Plan", pd.DataFrame(rows, columns=["condition", "seed", "epochs", "regime", "real", "data", "time"]))


def _computed(plan: Plan) -> str:
    """In which precision, and where that is bf16, by which arithmetic."""
    family = plan.chains[0].family
    precisions = (family.recipe.precision, family.decoding.precision)
    arithmetic = f" (bf16 by {family.arithmetic})" if "bf16" in precisions else ""
    return "fine-tuned in {}, written with in {}".format(*precisions) + arithmetic


def _real(regime: Mapping[str, Any]) -> str:
    fresh = regime.get("fresh_real", 0)
    return f"{regime['real_fraction']:g}" + (f" + {fresh:g} new" if fresh else "")
