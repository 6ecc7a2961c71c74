"""What was run: the conditions side by side, the settings that matter first, and all of them.

No setting is shown with a path or an address of a machine in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.config import dotted
from components.config.command import command, condition_defaults, without_place
from components.config.errors import BadInput
from components.config.sweep import STUDIES
from components.recursion.records import StudyRun

FIRST: Mapping[str, Sequence[str]] = {
    "language": (
        "model.name", "model.hidden_size", "model.layers", "model.heads", "corpus.path", "corpus.dataset", "corpus.train_blocks",
        "corpus.block_size", "base.epochs", "train.start", "train.epochs", "train.learning_rate", "train.batch_size", "train.keep",
        "train.precision", "train.engine", "generate.num_beams", "generate.repetition_penalty",
    ),
    "gaussian": ("chains", "dimensions", "ddof"),
    "discrete": ("chains",),
    "mixture": ("chains", "em.tol", "em.reg_covar", "em.max_iter"),
    "vae": ("data.name", "data.path", "data.train_images", "latents", "train.epochs", "train.batch_size", "train.learning_rate"),
}  # fmt: skip
"""By family, what determines the numbers most, after preset, generations and seeds."""

OF_A_SWEEP = ("search", "condition", "trials", "objectives", "sampler", "pruning", "threshold")
ALWAYS = ("regime", "real_fraction")
_ADDRESSES = ("cluster.address",)
_SHAPE = ("model.hidden_size", "model.layers", "model.heads")


@dataclass(frozen=True)
class Settings:
    """`conditions`: a table of what differs or is set; `first` and `all`: (name, value). `command`: what makes it again."""

    command: str
    columns: Sequence[str]
    conditions: Sequence[Sequence[str]]
    first: Sequence[tuple[str, str]]
    all: Sequence[tuple[str, str]]


def settings_of(settings: Mapping[str, Any], run: StudyRun | None) -> Settings:
    """Of a study's nested settings; without a run nothing is known of its command and of what matters first."""
    shown = dict(_shown(settings))
    columns, conditions = _conditions(settings, condition_defaults(STUDIES[run.family]) if run else {})
    names = ["preset", "generations", "seeds"]
    if run is not None:
        of_sweep = [name for name in shown if name.split(".")[0] in OF_A_SWEEP] if run.kind == "sweep" else []
        of_family = [name for name in FIRST.get(run.family, ()) if not ("model.name" in shown and name in _SHAPE)]
        names = [*of_sweep, *names, *of_family]
    first = [(name, shown[name]) for name in names if name in shown]
    return Settings(_command(settings, run), columns, conditions, first, list(shown.items()))


def _command(settings: Mapping[str, Any], run: StudyRun | None) -> str:
    """Empty where the settings are not of this version: then no command of it makes that study."""
    if run is None:
        return ""
    try:
        return command(run.family, settings, run.kind)
    except (BadInput, KeyError):
        return ""


def _shown(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(dotted name, value as text) of all that is set."""
    for name, value in dotted(settings):
        if value is None or value == {}:
            continue
        yield name, "(an address)" if name in _ADDRESSES else text(value)


def text(value: Any) -> str:
    """A setting's value as a person reads it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    return "" if value is None else str(without_place(value))


def effective(condition: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A condition's fields; what is empty comes from `train`, `generate` or the study."""
    places = [settings.get("train", {}), settings.get("generate", {}), settings]
    inherited = {name: next((place[name] for place in places if name in place), None) for name in condition}
    return {name: inherited[name] if value is None else value for name, value in condition.items()}


def _conditions(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The regime, and the fields that any condition sets otherwise than by default, with what holds in each."""
    conditions = settings.get("conditions") or {}
    unlike = [
        name
        for one in conditions.values()
        for name, value in one.items()
        if value is not None and value != defaults.get(name)
    ]
    always = [name for name in ALWAYS if any(name in one for one in conditions.values())]
    fields = list(dict.fromkeys([*always, *unlike]))
    whole = {name: effective(of_one, settings) for name, of_one in conditions.items()}
    rows = [[name, *(text(of_one.get(field)) for field in fields)] for name, of_one in whole.items()]
    return ["condition", *fields], rows
