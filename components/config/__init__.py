"""Settings: a preset, then whatever `-P dotted.name=value` says on top of it, validated whole."""

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from yaml import YAMLError

from components.config import unused
from components.config.errors import BadInput
from components.config.settings import StudySettings

Settings = TypeVar("Settings", bound=StudySettings)
Plain = TypeVar("Plain", bound=BaseModel)

MLFLOW_EMPTY = "None"
"""How `mlflow run` hands on a parameter that was given no value."""
BELONGS_TO = {"corpus.dataset_config": "corpus.dataset"}
"""A setting whose value in a preset means something only beside the preset's value of another."""


def presets(entry_point: str = "recursion") -> list[str]:
    """Names of the presets of an entry point that ship with the project."""
    folder = resources.files("components.config") / "presets" / entry_point
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load(model: type[Settings], arguments: Sequence[str]) -> Settings:
    """Settings out of command-line arguments `--dotted.name value` (what `mlflow run -P dotted.name=value` becomes).

    Raises:
        BadInput: an unknown preset or field, a wrong type, an impossible value, or a setting that has no effect;
            one line for every fault.
    """
    given = pairs(arguments)
    (validated_settings,) = validated([(model, merged(model.entry_point, given, model))])
    settings = cast(Settings, validated_settings)
    refuse(unused.faults(settings, fields_of(given)))
    return settings


def load_plain(model: type[Plain], arguments: Sequence[str]) -> Plain:
    """As `load`, of settings that have no presets.

    Raises:
        BadInput: one line for every fault.
    """
    (settings,) = validated([(model, overlaid(OmegaConf.create(), pairs(arguments)))])
    return cast(Plain, settings)


def merged(folder: str, given: Mapping[str, str], model: type[BaseModel]) -> dict[str, Any]:
    """The values of a preset in `folder`, with what was given on top.

    Raises:
        BadInput: an unknown preset, a value that is no YAML.
    """
    preset = given.get("preset", model.model_fields["preset"].default)
    known = presets(folder)
    if preset not in known:
        raise BadInput("preset", preset, f"no such preset; there are {', '.join(known)}")
    text = (resources.files("components.config") / "presets" / folder / f"{preset}.yaml").read_text()
    dropped = {field: "null" for field, of in BELONGS_TO.items() if of in given}
    values = overlaid(OmegaConf.create(text), {**dropped, **given})
    if isinstance(values.get("conditions"), dict):  # a condition set to null is taken out of the study
        values["conditions"] = {name: fields for name, fields in values["conditions"].items() if fields is not None}
    return values


def overlaid(values: Any, given: Mapping[str, str]) -> dict[str, Any]:
    """Values with what was given by dotted names on top.

    Raises:
        BadInput: a value that is no YAML.
    """
    for name, value in given.items():
        try:
            values = OmegaConf.merge(values, OmegaConf.from_dotlist([f"{name}={value}"]))
        except (OmegaConfBaseException, YAMLError, ValueError) as error:
            raise BadInput(name, value, f"not a value that YAML can read: {str(error).splitlines()[0]}") from None
    return cast(dict[str, Any], OmegaConf.to_container(values, resolve=False))


def validated(
    parts: Sequence[tuple[type[BaseModel], Mapping[str, Any]]], shown: Mapping[str, str] | None = None
) -> list[BaseModel]:
    """Models out of values. `shown`: how the beginning of a field's name is shown where a user knows it otherwise.

    Raises:
        BadInput: one line for every fault in any of them.
    """
    models, faults = [], []
    for model, values in parts:
        try:
            models.append(model.model_validate(values))
        except ValidationError as error:
            faults += [_fault(model, entry, shown or {}) for entry in error.errors()]
    if faults:
        raise BadSettings(faults)
    return models


def to_yaml(settings: BaseModel) -> str:
    """The resolved settings as YAML; with the code's commit they determine the study."""
    return OmegaConf.to_yaml(OmegaConf.create(settings.model_dump(mode="json")), sort_keys=False)


def from_yaml(text: str) -> dict[str, Any]:
    """Resolved settings as `to_yaml` wrote them.

    Raises:
        BadInput: no settings.
    """
    try:
        values = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (OmegaConfBaseException, YAMLError) as error:
        raise BadInput("config.yaml", text[:80], f"cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise BadInput("config.yaml", text[:80], "holds no settings by name")
    return cast(dict[str, Any], values)


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of nested settings; an empty mapping is a value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class BadSettings(BadInput):
    """Several faults at once, one line each."""

    def __init__(self, faults: list[BadInput]) -> None:
        self.faults = faults
        ValueError.__init__(self, "\n".join(str(fault) for fault in faults))


def pairs(arguments: Sequence[str]) -> dict[str, str]:
    """`--name value` and `--name=value` pairs; the last one of a name counts."""
    pairs: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not name:
            raise BadInput("settings", argument, "settings come as --dotted.name value")
        if not equals:
            if not rest:
                raise BadInput(name, "", "a value is missing")
            value = rest.pop(0)
        pairs[name] = "null" if value == MLFLOW_EMPTY else value
    return pairs


def fields_of(given: Mapping[str, str]) -> dict[str, Any]:
    """What was given as (dotted name, value), a section that was given as a whole field by field."""
    return dict(dotted(overlaid(OmegaConf.create(), given)))


def refuse(faults: Sequence[BadInput]) -> None:
    """Raise the faults, if there are any.

    Raises:
        BadInput: one line for every fault.
    """
    if faults:
        raise faults[0] if len(faults) == 1 else BadSettings(list(faults))


def _fault(model: type[BaseModel], entry: Any, shown: Mapping[str, str]) -> BadInput:
    """One of pydantic's errors as field, value, remedy."""
    location = (
        entry["loc"][:-2] if entry["loc"][-1] == "[key]" else entry["loc"]
    )  # a name that is wrong, not its fields
    field = ".".join(str(part) for part in location)
    for prefix, name in shown.items():
        field = re.sub(rf"^{re.escape(prefix)}(?=\.|$)", name, field)
    if entry["type"] == "extra_forbidden":
        known = _fields_at(model, entry["loc"][:-1])
        return BadInput(field, entry["input"], f"no such setting; there are {', '.join(known)}")
    if entry["type"] == "missing":
        return BadInput(field, "", "a value is needed")
    message = entry["msg"].removeprefix("Value error, ")
    value = "(its fields)" if isinstance(entry["input"], dict) else entry["input"]
    return BadInput(field, value, message[0].lower() + message[1:])


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Names of the fields of the section at `location`."""
    section: Any = model
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = section.model_fields[str(part)].annotation
        else:  # dict[str, Section]: any name, then the section
            section = section.__args__[1]
    return list(section.model_fields)
