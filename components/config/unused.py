"""Settings that nothing goes by: refused in one line each where a user gave them.

`model.hidden_size` beside `model.name` is one, `train.epochs` where every condition has its own is another. A preset may
hold such a setting, since what a user gives beside it decides whether it is used. `None` is no value, so it is never refused.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from components.config.errors import BadInput
from components.config.settings import BaseModelSettings, ConditionSettings, RecursionSettings, StudySettings

if TYPE_CHECKING:
    from components.config.small_families import DiscreteSettings, GaussianSettings, MixtureSettings, VaeSettings
    from components.config.sweep import SweepSettings

Unused = Iterator[tuple[str, str]]
"""(dotted name of a setting, what it belongs to and what to give instead)."""

OWN_SIZES = ("hidden_size", "layers", "heads", "ffn_size", "positions", "vocabulary_size")
OF_SAMPLING = ("temperature", "top_k", "top_p")
OF_WRITING = ("decoding", "num_beams", *OF_SAMPLING, "repetition_penalty", "batch_size")


def faults(settings: StudySettings, given: Mapping[str, Any]) -> list[BadInput]:
    """A fault for each setting that was given, by dotted name, and that nothing goes by."""
    return _given(dict(unused(settings)), given)


def faults_of_sweep(
    sweep: "SweepSettings", study: StudySettings, conditions: Mapping[str, Any], given: Mapping[str, Any]
) -> list[BadInput]:
    """As `faults`, of a sweep: what no trial goes by.

    Args:
        study: the sweep's study.
        conditions: those that trials may have, by any name; `study` has them too.
    """
    found = dict(unused(study))
    shared = {name: why for name, why in found.items() if not name.startswith("conditions.")}
    of_conditions = [
        {
            name.removeprefix(f"conditions.{one}."): why
            for name, why in found.items()
            if name.startswith(f"conditions.{one}.")
        }
        for one in conditions
    ]
    nowhere = set.intersection(*(set(one) for one in of_conditions))
    shared |= {f"condition.{field}": of_conditions[0][field] for field in nowhere}
    return _given(shared | dict(_of_sweep(sweep, study)), given)


def unused(settings: StudySettings) -> Unused:
    """Settings that this study does not use, from the user or from a preset."""
    if settings.store.cache is not None and not settings.store.path.startswith("s3://"):
        yield "store.cache", "belongs to a store.path of s3://...; give that, or leave it out"
    if rules := RULES.get(settings.entry_point):
        yield from rules(settings)


def _given(found: Mapping[str, str], given: Mapping[str, Any]) -> list[BadInput]:
    return [BadInput(name, value, found[name]) for name, value in given.items() if name in found and value is not None]


def _of_recursion(settings: RecursionSettings) -> Unused:
    yield from _of_corpus(settings)
    yield from _of_models(settings)
    yield from _of_training(settings)
    yield from _of_generating(settings)
    for name, condition in settings.conditions.items():
        if not (condition.drop_least_surprising or condition.drop_most_surprising):
            yield (
                f"conditions.{name}.judge",
                "belongs to drop_least_surprising or drop_most_surprising; give one of them",
            )


def _of_corpus(settings: RecursionSettings) -> Unused:
    corpus = settings.corpus
    if corpus.path is not None:
        for field in ("dataset", "dataset_config"):
            yield f"corpus.{field}", "the text is that of corpus.path; leave one of them out"
    elif corpus.dataset is None:
        yield "corpus.dataset_config", "belongs to corpus.dataset; give that too"
    if corpus.train_blocks is None:
        yield "corpus.shared_blocks", "belongs to corpus.train_blocks; without it all seeds train on all blocks"
    if settings.tokenizer != "train":
        yield "corpus.vocabulary_size", "belongs to tokenizer=train; a given tokenizer has its own entries"


def _of_models(settings: RecursionSettings) -> Unused:
    name, base = settings.model.name, settings.base
    if name is not None:
        for field in OWN_SIZES:
            yield f"model.{field}", f"{name} has its own; leave it out, or give model.name=None"
    if name is not None or settings.starts == {"scratch"}:
        why = (
            f"{name} is the base model and is not pretrained here; leave it out"
            if name is not None
            else "every generation starts from random weights (start=scratch); leave it out"
        )
        for field in BaseModelSettings.model_fields:
            if field != "epochs" or base.epochs:  # 0 says that nothing is pretrained, which is so
                yield f"base.{field}", why
    elif not base.epochs:
        for field in BaseModelSettings.model_fields:
            if field != "epochs":
                yield f"base.{field}", "belongs to base.epochs above 0"
        if settings.train.start == "pretrained":
            yield "train.start", NO_BASE
        for condition, given in settings.conditions.items():
            if given.start == "pretrained":
                yield f"conditions.{condition}.start", NO_BASE


NO_BASE = "there is no base model to start from; give model.name or base.epochs above 0, or start=scratch"


def _of_training(settings: RecursionSettings) -> Unused:
    train, conditions = settings.train, settings.conditions
    for field in ("epochs", "learning_rate", "start"):
        if all(getattr(condition, field) is not None for condition in conditions.values()):
            yield f"train.{field}", f"every condition has its own; give conditions.<name>.{field}"
    pretrains = settings.model.name is None and settings.base.epochs > 0 and settings.starts != {"scratch"}
    epochs = [condition.epochs or train.epochs for condition in conditions.values()]
    if max(epochs + [settings.base.epochs] * pretrains) == 1:
        yield "train.final_learning_rate", "belongs to more than one epoch; the first has train.learning_rate"
    if train.zero_stage and train.engine != "deepspeed":
        yield "train.zero_stage", f"belongs to train.engine=deepspeed; {train.engine} partitions nothing"
    elif train.zero_stage and train.workers == 1 and not pretrains:
        yield "train.zero_stage", "belongs to more than one worker; give train.workers too"


def _of_generating(settings: RecursionSettings) -> Unused:
    writing = [condition for condition in settings.conditions.values() if condition.edit is None]
    if not writing:
        for field in OF_WRITING:
            yield f"generate.{field}", "belongs to conditions that write new blocks; all of these edit"
        return

    def inherits(field: str, conditions: list[ConditionSettings]) -> bool:
        return any(getattr(condition, field) is None for condition in conditions)

    by = {
        name: [one for one in writing if (one.decoding or settings.generate.decoding) == name]
        for name in ("beam", "sampling")
    }
    for field in ("decoding", "repetition_penalty"):
        if not inherits(field, writing):
            yield f"generate.{field}", f"every condition has its own; give conditions.<name>.{field}"
    for decoding, fields in (("beam", ("num_beams",)), ("sampling", OF_SAMPLING)):
        for field in fields:
            if not inherits(field, by[decoding]):
                belongs = f"belongs to decoding={decoding}, which no condition has"
                own = f"every condition has its own; give conditions.<name>.{field}"
                yield f"generate.{field}", own if by[decoding] else belongs


def _of_chains(settings: "GaussianSettings | DiscreteSettings | MixtureSettings") -> Unused:
    if all(condition.chains is not None for condition in settings.conditions.values()):
        yield "chains", "every condition has its own; give conditions.<name>.chains"


def _of_discrete(settings: "DiscreteSettings") -> Unused:
    yield from _of_chains(settings)
    for name, condition in settings.conditions.items():
        if condition.probabilities is not None:
            for field in ("distribution", "outcomes", "exponent"):
                yield f"conditions.{name}.{field}", "the distribution is that of probabilities; leave one of them out"
        elif condition.distribution != "zipf":
            yield f"conditions.{name}.exponent", "belongs to distribution=zipf"


def _of_mixture(settings: "MixtureSettings") -> Unused:
    yield from _of_chains(settings)
    for name, condition in settings.conditions.items():
        if condition.blobs == 1:
            yield f"conditions.{name}.separation", "belongs to blobs=2"
    if all(condition.components == 1 for condition in settings.conditions.values()):
        yield "em.init_params", "belongs to more than one component"


def _of_vae(settings: "VaeSettings") -> Unused:
    if settings.data.path is not None:
        yield "data.name", "the images are those of data.path; leave one of them out"
    if settings.data.train_images is None:
        yield "data.shared_images", "belongs to data.train_images; without it all seeds train on all images"


def _of_sweep(sweep: "SweepSettings", study: StudySettings) -> Unused:
    for field in sweep.search:
        yield f"condition.{field}", f"every trial has its own by search.{field}; leave one of them out"
    if sweep.sampler == "grid":
        yield "sampler_seed", "a grid tries every point and draws none; leave it out"
    if sweep.pruning and sweep.pruning.grace >= study.generations:
        yield (
            "pruning.factor",
            f"no trial is stopped before generation {sweep.pruning.grace}, and the last is {study.generations}",
        )
    chooses = "collapse" in sweep.objectives and len(sweep.objectives) > 1
    if "real_fraction" not in sweep.search and not chooses:
        yield "threshold", "belongs to search.real_fraction, or to collapse among several objectives"


RULES: Mapping[str, Callable[[Any], Unused]] = {
    "recursion": _of_recursion,
    "gaussian": _of_chains,
    "discrete": _of_discrete,
    "mixture": _of_mixture,
    "vae": _of_vae,
}
"""By entry point; one whose every setting is always used has none."""
