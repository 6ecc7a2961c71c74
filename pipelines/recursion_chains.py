"""From the settings of a recursion study to its chains: base models, and a family for each condition and seed.

Whatever cannot work together (model, tokenizer, blocks, beams, rows) is refused here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from components import corpus
from components.config.errors import BadInput
from components.config.settings import ConditionSettings, RecursionSettings
from components.corpus import hub
from components.families.language import architecture
from components.families.language import model as opt
from components.families.language.base import BaseWork
from components.families.language.decoding import Decoding
from components.families.language.embedding import Embedder, look_at
from components.families.language.family import LanguageFamily
from components.families.language.sampling import Sampling
from components.families.language.selection import GRAM, Selection
from components.families.language.training import Recipe
from components.families.precision import Computing
from components.recursion.loop import make_chain
from components.recursion.phase import phase
from components.recursion.worker import ChainWork
from components.regimes import Regime
from components.store import Phase, Store

FROM_SCRATCH_DROPOUT = 0.1
"""OPT's own."""


@dataclass(frozen=True)
class Models:
    """The models that the settings name, looked at once in the study's own process.

    Of `model.name`: its size, the digest of its weights, its config.json; None without a name. Of `measure.mauve`: `embedder`.
    """

    size: architecture.ModelSize | None = None
    weights: str | None = None
    configuration: Mapping[str, Any] | None = None
    embedder: Embedder | None = None


def check_settings(settings: RecursionSettings) -> Models:
    """What can be refused before any text is read; gives the models that the settings name.

    Raises:
        BadInput: a model or data by name that is out of reach, or settings that cannot work together.
    """
    model, block = settings.model, settings.corpus.block_size
    named = _named_model(settings) if model.name else Models()
    if model.name and settings.tokenizer == corpus.TRAIN:
        raise BadInput("tokenizer", corpus.TRAIN, f"{model.name} knows the tokens of its own only; give tokenizer=None")
    positions = named.size.positions if named.size else model.positions
    if 2 * block > positions:
        raise BadInput(
            "corpus.block_size",
            block,
            f"a prompt and its continuation need {2 * block} positions, the model has {positions}",
        )
    if not named.size and model.hidden_size % model.heads:
        raise BadInput("model.heads", model.heads, f"must divide model.hidden_size ({model.hidden_size})")
    return replace(named, embedder=look_at(settings.measure.mauve) if settings.measure.mauve else None)


def _named_model(settings: RecursionSettings) -> Models:
    """What `model.name` names. Where both it and the data are out of reach, one line says so of both."""
    name = str(settings.model.name)
    try:
        size = opt.check(name)
    except BadInput as fault:
        if settings.corpus.path or not settings.corpus.dataset or hub.reachable():
            raise
        try:
            corpus.source_digest(settings.corpus)
        except BadInput as second:
            both = f"{fault.remedy}; {second.field} = {second.value} is missing too (corpus.path takes a local folder)"
            raise BadInput(fault.field, fault.value, both) from None
        raise
    if settings.model.dropout is not None:
        size = replace(size, dropout=settings.model.dropout)
    return Models(size, opt.weights_digest(name), opt.architecture_of(name))


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


def make_chains(
    settings: RecursionSettings, store: Store, prepared: Phase, models: Models, computing: Computing
) -> tuple[list[BaseWork], list[ChainWork[LanguageFamily]]]:
    """The base models that chains start from (none, one, or one per seed), and a chain for each condition and seed.

    Args:
        computing: what the workers compute in.

    Raises:
        BadInput: model, tokenizer and blocks do not fit each other, or two conditions are one.
    """
    data = corpus.load(prepared.place)
    size = models.size or _size_from_scratch(settings, data)
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
        precision=computing.precision(train.precision),
        micro_batch_size=train.micro_batch_size,
    )
    decoding = Decoding(1, 1.0, computing.precision(settings.generate.precision), settings.generate.batch_size)
    plain = LanguageFamily(
        prepared.place,
        size,
        None,
        recipe,
        decoding,
        train.engine,
        train.zero_stage,
        embedder=models.embedder,
        measure_blocks=settings.measure.blocks,
        configuration=models.configuration,
        arithmetic=computing.arithmetic,
    )
    bases: list[BaseWork] = []
    if (name or settings.base.epochs) and settings.starts != {"scratch"}:
        pretraining = replace(
            recipe,
            epochs=max(settings.base.epochs, 1),
            learning_rate=settings.base.learning_rate,
            batch_size=settings.base.batch_size,
            keep="best",
        )
        of_seeds = settings.seeds if settings.base.per_seed and not name else [None]
        bases = [
            BaseWork(plain, pretraining, settings.base.blocks, name, store, models.weights, seed) for seed in of_seeds
        ]
    pretrained = {base.of_seed: (base.identity, store.root / "base" / base.identity) for base in bases}
    chains: list[ChainWork[LanguageFamily]] = []
    for condition_name, condition in settings.conditions.items():
        family = _family(plain, condition_name, condition, settings)
        regime = Regime(condition.regime, condition.real_fraction, condition.fresh_real)
        _check_rows(family, condition_name, regime, settings.generations)
        start = condition.start or train.start
        if start == "pretrained" and not bases:
            start = "scratch"  # without a base model, "pretrained" is random weights
        for seed in settings.seeds:
            base = None if start == "scratch" else pretrained.get(seed, pretrained.get(None))
            family = replace(family, seed=seed, pretrained=base)
            chain = make_chain(family, condition_name, regime, start, seed)
            if same := next((work.chain for work in chains if work.chain.identity == chain.identity), None):
                remedy = f"its settings are those of {same.condition}; change one, or take one out with null"
                raise BadInput(f"conditions.{condition_name}", dict(condition), remedy)
            brought = bases[0] if base and name else None
            chains.append(ChainWork(chain, family, store, settings.generations, brought))
    return bases, chains


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
    dropout = FROM_SCRATCH_DROPOUT if model.dropout is None else model.dropout
    return architecture.ModelSize(
        rows, model.hidden_size, model.layers, model.heads, model.ffn_size, model.positions, dropout
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
