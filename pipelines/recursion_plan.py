"""From the settings of a recursion study to what will be run, and what it will cost.

Whatever cannot work together (model, tokenizer, blocks, beams, disk) is refused here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from components import cluster, corpus
from components.config.errors import BadInput
from components.config.settings import ConditionSettings, RecursionSettings
from components.corpus import hub
from components.families.device import precision
from components.families.language import architecture
from components.families.language import model as opt
from components.families.language.base import BASE, BaseWork
from components.families.language.cost import GenerationCost, generation_cost, measure_rates
from components.families.language.decoding import Decoding
from components.families.language.embedding import look_at
from components.families.language.family import LanguageFamily
from components.families.language.sampling import Sampling
from components.families.language.selection import GRAM, Selection
from components.families.language.training import Recipe
from components.recursion.loop import make_chain, stored_generations
from components.recursion.phase import phase
from components.recursion.records import Generation
from components.recursion.worker import ChainWork
from components.regimes import Regime
from components.store import Phase, Store
from components.terminal import duration, print_table, say


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


def check_settings(settings: RecursionSettings) -> architecture.ModelSize | None:
    """What can be refused before any text is read; gives the size of the model that `model.name` names.

    Raises:
        BadInput: a model or data by name that is out of reach, or settings that cannot work together.
    """
    model, block = settings.model, settings.corpus.block_size
    size = _size_by_name(settings) if model.name else None
    if model.name and settings.tokenizer == corpus.TRAIN:
        raise BadInput("tokenizer", corpus.TRAIN, f"{model.name} knows the tokens of its own only; give tokenizer=None")
    positions = size.positions if size else model.positions
    if 2 * block > positions:
        raise BadInput(
            "corpus.block_size",
            block,
            f"a prompt and its continuation need {2 * block} positions, the model has {positions}",
        )
    if not size and model.hidden_size % model.heads:
        raise BadInput("model.heads", model.heads, f"must divide model.hidden_size ({model.hidden_size})")
    return size


def _size_by_name(settings: RecursionSettings) -> architecture.ModelSize:
    """The named model's size. Where both it and the data are out of reach, one line says so of both."""
    try:
        return opt.check(str(settings.model.name))
    except BadInput as fault:
        if settings.corpus.path or not settings.corpus.dataset or hub.reachable():
            raise
        try:
            corpus.source_digest(settings.corpus)
        except BadInput as second:
            both = f"{fault.remedy}; {second.field} = {second.value} is missing too (corpus.path takes a local folder)"
            raise BadInput(fault.field, fault.value, both) from None
        raise


def prepare_corpus(settings: RecursionSettings, store: Store) -> Phase:
    tokenizer = settings.tokenizer or settings.model.name
    if tokenizer is None:
        raise BadInput(
            "tokenizer", "null", "a model from scratch has none of its own; give `train`, a folder or a name"
        )
    inputs = corpus.identity_inputs(settings.corpus, tokenizer)
    prepared = phase(store, "corpus", inputs, lambda out, _: corpus.prepare(settings.corpus, tokenizer, out))
    store.bring(prepared.place)
    return prepared


def make_plan(settings: RecursionSettings, store: Store, prepared: Phase, size: architecture.ModelSize | None) -> Plan:
    """Base model, chains and costs.

    Raises:
        BadInput: model, tokenizer and blocks do not fit each other, or two conditions are one.
    """
    base, chains = make_chains(settings, store, prepared, size)
    side_by_side = min(len(chains), cluster.local_groups(settings.train.workers, settings.cluster.concurrent_chains))
    stored = {
        work.chain.identity: list(stored_generations(work.chain, work.family, store, work.generations))
        for work in chains
    }
    lacking = any(len(stored[work.chain.identity]) <= work.generations for work in chains)
    making = base if base and lacking and not base.find() else None
    data = chains[0].family.corpus
    return Plan(data, base, chains, stored, costs(settings, making, chains), side_by_side)


def make_chains(
    settings: RecursionSettings, store: Store, prepared: Phase, size: architecture.ModelSize | None
) -> tuple[BaseWork | None, list[ChainWork[LanguageFamily]]]:
    """The base model that chains start from, if there is one, and a chain for each condition and seed.

    Raises:
        BadInput: model, tokenizer and blocks do not fit each other, or two conditions are one.
    """
    data = corpus.load(prepared.place)
    size = size or _size_from_scratch(settings, data)
    _check_fit(settings, size, data)
    train, name = settings.train, settings.model.name
    if name and Path(name).expanduser().is_dir():
        name = str(Path(name).expanduser().resolve())  # a worker has another working directory
    recipe = Recipe(
        epochs=train.epochs,
        learning_rate=train.learning_rate,
        final_learning_rate=train.final_learning_rate,
        weight_decay=train.weight_decay,
        batch_size=train.batch_size,
        keep=train.keep,
        precision=precision(train.precision),
        micro_batch_size=train.micro_batch_size,
    )
    decoding = Decoding(1, 1.0, precision(settings.generate.precision), settings.generate.batch_size)
    embedder = look_at(settings.measure.mauve) if settings.measure.mauve else None
    plain = LanguageFamily(
        prepared.place, size, None, recipe, decoding, train.engine, train.zero_stage, embedder=embedder
    )
    base = None
    if name or settings.base.epochs:
        pretraining = replace(
            recipe,
            epochs=max(settings.base.epochs, 1),
            learning_rate=settings.base.learning_rate,
            batch_size=settings.base.batch_size,
            keep="best",
        )
        base = BaseWork(plain, pretraining, settings.base.blocks, name, store)
        plain = replace(plain, pretrained=(base.identity, store.root / "base" / base.identity))
    chains: list[ChainWork[LanguageFamily]] = []
    for condition_name, condition in settings.conditions.items():
        family = _family(plain, condition_name, condition, settings)
        regime = Regime(condition.regime, condition.real_fraction, condition.fresh_real)
        _check_rows(family, condition_name, regime, settings.generations)
        start = condition.start or train.start
        if start == "pretrained" and base is None:
            start = "scratch"  # without a base model, "pretrained" is random weights
        for seed in settings.seeds:
            chain = make_chain(family, condition_name, regime, start, seed)
            if same := next((work.chain for work in chains if work.chain.identity == chain.identity), None):
                remedy = f"its settings are those of {same.condition}; change one, or take one out with null"
                raise BadInput(f"conditions.{condition_name}", dict(condition), remedy)
            chains.append(ChainWork(chain, family, store, settings.generations))
    return base, chains


def _family(
    plain: LanguageFamily, name: str, condition: ConditionSettings, settings: RecursionSettings
) -> LanguageFamily:
    """The family of one condition: what it names differs, the rest is shared.

    Raises:
        BadInput: what belongs to another way of decoding.
    """
    given = {key: value for key, value in condition.model_dump().items() if value is not None}
    recipe = replace(plain.recipe, **{key: given[key] for key in ("epochs", "learning_rate") if key in given})
    how: dict[str, Any] = settings.generate.model_dump() | given
    if how["decoding"] != "sampling":
        of_sampling = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "best_of": 1}
        for key, nothing in of_sampling.items():
            if how.get(key, nothing) != nothing:
                field = f"conditions.{name}.{key}" if key in given else f"generate.{key}"
                raise BadInput(field, how[key], f"belongs to decoding=sampling, not to {how['decoding']}")
    if how["decoding"] != "beam" and "num_beams" in given:
        raise BadInput(
            f"conditions.{name}.num_beams", given["num_beams"], f"{how['decoding']} has no beams; leave it out"
        )
    decoding = replace(
        plain.decoding,
        num_beams=how["num_beams"] if how["decoding"] == "beam" else 1,
        repetition_penalty=how["repetition_penalty"],
        sampling=Sampling(*(how[key] for key in ("temperature", "top_k", "top_p")))
        if how["decoding"] == "sampling" and condition.edit is None
        else None,
        edit=condition.edit,
    )
    selection = Selection(**{one.name: getattr(condition, one.name) for one in fields(Selection)})
    return replace(
        plain,
        recipe=recipe,
        decoding=decoding,
        selection=selection,
        sample_size=condition.sample_size,
        growth=condition.growth,
    )


def _check_rows(family: LanguageFamily, name: str, regime: Regime, generations: int) -> None:
    """Whether there are the rows that a condition's training sets want.

    Raises:
        BadInput: more real rows than there are, or more samples than prompts by a decoder that writes one after each.
    """
    sizes = [family.rows(generation) for generation in range(1, generations + 1)]
    real, reserve = len(family.real()), len(family.corpus.reserve)
    largest = max(sizes, default=0)
    for field, value in (("growth", family.growth), ("sample_size", family.sample_size)):
        if value and largest > real and not family.decoding.random:
            raise BadInput(
                f"conditions.{name}.{field}",
                value,
                f"{largest:,} blocks are wanted of {real:,} prompts, after each of which {family.decoding.how} would "
                "write the same again; give decoding=sampling, or less",
            )
    if round(regime.real_fraction * largest) > real:
        remedy = f"of {largest:,} blocks, more than the {real:,} real ones there are"
        raise BadInput(f"conditions.{name}.real_fraction", regime.real_fraction, remedy)
    if (wanted := sum(round(regime.fresh_real * size) for size in sizes)) > reserve:
        remedy = f"{wanted:,} new blocks are wanted to generation {generations}, {reserve:,} are set aside; give corpus.reserve_blocks={wanted}"
        raise BadInput(f"conditions.{name}.fresh_real", regime.fresh_real, remedy)
    if family.selection.drop_duplicates is not None and family.real().shape[1] < GRAM:
        remedy = f"blocks of {family.real().shape[1]} tokens have no {GRAM}-grams"
        raise BadInput(f"conditions.{name}.drop_duplicates", family.selection.drop_duplicates, remedy)


def _size_from_scratch(settings: RecursionSettings, data: corpus.Corpus) -> architecture.ModelSize:
    model = settings.model
    rows = model.vocabulary_size or -(-data.vocabulary_size // 64) * 64
    return architecture.ModelSize(
        rows, model.hidden_size, model.layers, model.heads, model.ffn_size, model.positions, model.dropout
    )


def _check_fit(settings: RecursionSettings, size: architecture.ModelSize, data: corpus.Corpus) -> None:
    if data.vocabulary_size > size.vocabulary_size:
        raise BadInput(
            "tokenizer",
            settings.tokenizer,
            f"it has {data.vocabulary_size} entries, the model only {size.vocabulary_size}; raise model.vocabulary_size",
        )
    if data.separator != size.separator:
        raise BadInput(
            "tokenizer",
            settings.tokenizer,
            f"it puts id {data.separator} before a line, the model takes id {size.separator} for that; "
            "give the model's own tokenizer, or `train`",
        )
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


def costs(
    settings: RecursionSettings, base: BaseWork | None, chains: Sequence[ChainWork[LanguageFamily]]
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


def print_plan(settings: RecursionSettings, plan: Plan) -> None:
    """Chains, blocks, tokens, FLOPs, disk and time, before anything is started."""
    data, block = plan.corpus, settings.corpus.block_size
    size = plan.chains[0].family.size
    chains = [plan.costs[work.chain.identity] for work in plan.chains]
    total = [cost for costs in plan.costs.values() for cost in costs]
    parameters = architecture.parameter_count(size)
    say(
        f"{len(plan.chains)} chains ({len(settings.conditions)} conditions x {len(settings.seeds)} seeds), "
        f"generations 0-{settings.generations}; OPT with {parameters / 1e6:,.2f} million parameters"
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


def _real(regime: Mapping[str, Any]) -> str:
    fresh = regime.get("fresh_real", 0)
    return f"{regime['real_fraction']:g}" + (f" + {fresh:g} new" if fresh else "")
