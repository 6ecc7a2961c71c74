"""From the settings of a recursion study to what will be run, and what it will cost.

Whatever cannot work together (model, tokenizer, blocks, beams, disk) is refused here.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from components import cluster, corpus
from components.config.errors import BadInput
from components.config.settings import ConditionSettings, RecursionSettings
from components.families.language import model as opt
from components.families.language.base import BASE, BaseWork
from components.families.language.cost import GenerationCost, generation_cost, measure_rates
from components.families.language.family import Decoding, LanguageFamily
from components.families.language.training import Recipe
from components.recursion.loop import make_chain
from components.recursion.phase import phase
from components.recursion.worker import ChainWork
from components.regimes import Regime
from components.store import Phase, Store
from components.terminal import console, print_table


@dataclass(frozen=True)
class Plan:
    """A study as it will be run: the corpus, the base model, the chains, and what each piece of work costs."""

    corpus: corpus.Corpus
    base: BaseWork | None
    chains: Sequence[ChainWork[LanguageFamily]]
    costs: dict[str, GenerationCost]
    side_by_side: int

    def expected(self, name: str) -> dict[tuple[int, str], float]:
        """What every phase of a piece of work by (generation, phase) is expected to add to the study's wall time."""
        seconds = self.costs[name].seconds
        if name == BASE:
            return {(-1, "pretrain"): seconds["fit"]}
        seconds = {kind: value / self.side_by_side for kind, value in seconds.items()}
        generations = next(work.generations for work in self.chains if work.chain.identity == name)
        return {(index, kind): value for index in range(generations + 1) for kind, value in seconds.items()}

    @property
    def bytes(self) -> int:
        """What the chains will at most add to the store."""
        return sum(self.costs[work.chain.identity].bytes * (work.generations + 1) for work in self.chains)


def size_by_name(settings: RecursionSettings) -> opt.ModelSize | None:
    """The size of the model that `model.name` names, which is looked at before anything else is read."""
    return opt.check(settings.model.name) if settings.model.name else None


def prepare_corpus(settings: RecursionSettings, store: Store) -> Phase:
    tokenizer = settings.tokenizer or settings.model.name
    if tokenizer is None:
        raise BadInput(
            "tokenizer", "null", "a model from scratch has none of its own; give `train`, a folder or a name"
        )
    inputs = corpus.identity_inputs(settings.corpus, tokenizer)
    return phase(store, "corpus", inputs, lambda out, _: corpus.prepare(settings.corpus, tokenizer, out))


def make_plan(settings: RecursionSettings, store: Store, prepared: Phase, size: opt.ModelSize | None) -> Plan:
    """Base model, chains and costs.

    Raises:
        BadInput: model, tokenizer and blocks do not fit each other.
    """
    data = corpus.load(prepared.place)
    size = size or _size_from_scratch(settings, data)
    _check_fit(settings, size, data)
    train = settings.train
    recipe = Recipe(
        epochs=train.epochs,
        learning_rate=train.learning_rate,
        final_learning_rate=train.final_learning_rate,
        weight_decay=train.weight_decay,
        batch_size=train.batch_size,
        keep=train.keep,
        precision=train.precision,
        micro_batch_size=train.micro_batch_size,
    )
    decoding = Decoding(
        num_beams=settings.generate.num_beams,
        repetition_penalty=settings.generate.repetition_penalty,
        precision=settings.generate.precision,
        batch_size=settings.generate.batch_size,
    )
    plain = LanguageFamily(prepared.place, size, None, recipe, decoding, train.engine, train.zero_stage)
    base = None
    if settings.model.name or settings.base.epochs:
        pretraining = replace(
            recipe,
            epochs=max(settings.base.epochs, 1),
            learning_rate=settings.base.learning_rate,
            batch_size=settings.base.batch_size,
            keep="best",
        )
        base = BaseWork(plain, pretraining, settings.base.blocks, settings.model.name, store.root)
        plain = replace(plain, pretrained=(base.identity, store.root / "base" / base.identity))
    chains = []
    for name, condition in settings.conditions.items():
        family = _family(plain, condition)
        regime, start = Regime(condition.regime, condition.real_fraction), condition.start or train.start
        if start == "pretrained" and base is None:
            start = "scratch"  # without a base model, "pretrained" is random weights
        for seed in settings.seeds:
            chain = make_chain(family, name, regime, start, seed)
            chains.append(ChainWork(chain, family, store.root, settings.generations))
    side_by_side = min(len(chains), max(1, cluster.local_workers() // train.workers))
    return Plan(data, base, chains, _costs(settings, size, data, base, chains), side_by_side)


def _family(plain: LanguageFamily, condition: ConditionSettings) -> LanguageFamily:
    """The family of one condition: what it names differs, the rest is shared."""
    given = {key: value for key, value in condition.model_dump().items() if value is not None}
    recipe = replace(plain.recipe, **{key: given[key] for key in ("epochs", "learning_rate") if key in given})
    decoding = replace(
        plain.decoding, **{key: given[key] for key in ("num_beams", "repetition_penalty") if key in given}
    )
    return replace(plain, recipe=recipe, decoding=decoding)


def _size_from_scratch(settings: RecursionSettings, data: corpus.Corpus) -> opt.ModelSize:
    model = settings.model
    rows = model.vocabulary_size or -(-data.vocabulary_size // 64) * 64
    return opt.ModelSize(
        rows, model.hidden_size, model.layers, model.heads, model.ffn_size, model.positions, model.dropout
    )


def _check_fit(settings: RecursionSettings, size: opt.ModelSize, data: corpus.Corpus) -> None:
    block = settings.corpus.block_size
    if 2 * block > size.positions:
        raise BadInput(
            "corpus.block_size",
            block,
            f"a prompt and its continuation need {2 * block} positions, the model has {size.positions}",
        )
    if data.vocabulary_size > size.vocabulary_size:
        raise BadInput(
            "tokenizer",
            settings.tokenizer,
            f"it has {data.vocabulary_size} entries, the model only {size.vocabulary_size}; raise model.vocabulary_size",
        )
    if size.hidden_size % size.heads:
        raise BadInput("model.heads", size.heads, f"must divide model.hidden_size ({size.hidden_size})")
    beams = [settings.generate.num_beams, *(one.num_beams for one in settings.conditions.values() if one.num_beams)]
    if 2 * max(beams) > size.vocabulary_size:
        raise BadInput(
            "generate.num_beams", max(beams), f"needs twice as many entries, the vocabulary has {size.vocabulary_size}"
        )
    if settings.base.epochs and not settings.model.name and not len(data.pretrain):
        raise BadInput(
            "corpus.train_blocks",
            settings.corpus.train_blocks,
            f"leaves no text for the base model; give fewer than {len(data.train)}, or base.epochs=0",
        )


def _costs(
    settings: RecursionSettings,
    size: opt.ModelSize,
    data: corpus.Corpus,
    base: BaseWork | None,
    chains: Sequence[ChainWork[LanguageFamily]],
) -> dict[str, GenerationCost]:
    """By piece of work, what one generation of it costs; for the base model, its pretraining."""
    block, workers = settings.corpus.block_size, settings.train.workers
    rates = measure_rates(size, block, settings.generate.num_beams, -(-settings.train.batch_size // workers))
    costs = {}
    if base and base.name:
        costs[BASE] = GenerationCost({"fit": 0.0}, 0.0, 4 * opt.parameter_count(size))  # it is only brought in
    elif base:
        blocks = min(len(data.pretrain), base.blocks or len(data.pretrain))
        everyone = cluster.local_workers()
        costs[BASE] = generation_cost(size, rates, base.recipe, 0, blocks, len(data.validation), 0, block, everyone)
    for work in chains:
        costs[work.chain.identity] = generation_cost(
            size,
            rates,
            work.family.recipe,
            work.family.decoding.num_beams,
            len(data.train),
            len(data.validation),
            len(data.test),
            block,
            workers,
        )
    return costs


def print_plan(settings: RecursionSettings, plan: Plan) -> None:
    """Chains, blocks, FLOPs, disk and time, before anything is started."""
    data, steps = plan.corpus, settings.generations + 1
    size = plan.chains[0].family.size
    chains = [plan.costs[work.chain.identity] for work in plan.chains]
    base = plan.costs.get(BASE)
    work = sum(sum(cost.seconds.values()) for cost in chains) * steps / plan.side_by_side
    seconds = work + (base.seconds["fit"] if base else 0.0)
    flops = sum(cost.flops for cost in chains) * steps + (base.flops if base else 0)
    parameters = opt.parameter_count(size)
    console.print(
        f"{len(plan.chains)} chains ({len(settings.conditions)} conditions x {len(settings.seeds)} seeds), "
        f"generations 0-{settings.generations}; OPT with {parameters / 1e6:,.2f} million parameters"
    )
    console.print(
        f"blocks of {settings.corpus.block_size} tokens: {len(data.train):,} to train on, {len(data.validation):,} to validate, "
        f"{len(data.test):,} to test" + (f", {len(data.pretrain):,} for the base model" if base and base.flops else "")
    )
    console.print(
        f"about {flops / 1e12:,.1f} TFLOP, {plan.bytes / 1e6:,.0f} MB in the store, "
        f"{_minutes(seconds)} on this machine if nothing is in the store yet (measured just now, workers' start apart)"
    )
    rows = [
        (work.chain.condition, work.chain.seed, work.family.recipe.epochs, work.chain.settings["regime"]["name"],
         work.chain.settings["regime"]["real_fraction"], work.family.decoding.repetition_penalty, _minutes(sum(cost.seconds.values()) * steps))
        for work, cost in zip(plan.chains, chains, strict=True)
    ]  # fmt: skip
    print_table(
        "Plan", pd.DataFrame(rows, columns=["condition", "seed", "epochs", "regime", "real", "penalty", "time"])
    )


def check_disk(plan: Plan, store: Store) -> None:
    free = shutil.disk_usage(store.root).free
    if free < plan.bytes:
        raise BadInput(
            "store.path", store.root, f"the study may need {plan.bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        )


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
