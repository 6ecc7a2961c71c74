"""The command that makes a study again: its preset, and what differs from it.

Made from the resolved settings and not from what was typed, so that it can be told of any study in the tracking store; where
it ran and where it is kept is no part of it.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml
from pydantic import BaseModel

from components import config
from components.config import sweep
from components.config.sweep import STUDIES

ELSEWHERE = ("store", "cluster", "tracking", "dry_run")
"""Sections that say where a study runs and where its results go, which changes none of them."""


def command(family: str, settings: Mapping[str, Any], kind: str = "study") -> str:
    """`mlflow run . -e ... -P name=value`, out of the resolved settings of a study or a sweep of this family.

    Raises:
        BadInput: the settings are not of this version of the project, which has no such preset or setting.
    """
    entry_point = "sweep" if kind == "sweep" else STUDIES[family].entry_point
    chosen = _preset(family, settings, kind)
    given = {"preset": settings["preset"]} | ({"family": family} if kind == "sweep" and family != "language" else {})
    given |= _differing(settings, chosen, STUDIES[family] if kind == "study" else None)
    named = [shlex.quote(f"{name}={_text(name, value)}") for name, value in given.items()]
    return " ".join([f"mlflow run . -e {entry_point} --env-manager local", *(f"-P {one}" for one in named)])


def without_place(value: Any) -> Any:
    """A setting's value; of a path on a machine the last part alone."""
    if isinstance(value, str) and (PurePath(value).is_absolute() or value.startswith(("~", "file:"))):
        return f"…/{PurePath(value).name}"
    return value


def _preset(family: str, settings: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """What the preset alone would resolve to, by today's presets."""
    if kind == "sweep":
        return sweep.load(["--family", family, "--preset", str(settings["preset"])]).dump()
    return config.load(STUDIES[family], ["--preset", str(settings["preset"])]).model_dump(mode="json")


def _differing(settings: Mapping[str, Any], preset: Mapping[str, Any], model: type[BaseModel] | None) -> dict[str, Any]:
    conditions = dict(settings.get("conditions", {}))
    before = dict(preset.get("conditions", {}))
    gone: dict[str, Any] = {f"conditions.{name}": None for name in before if name not in conditions}
    if model is not None:
        fields = _condition(model)
        before |= {name: fields for name in conditions if name not in before}
    resolved = dict(config.dotted(dict(preset) | ({"conditions": before} if before else {})))
    gone |= {
        name: None for name in resolved if name.startswith("search.") and name not in dict(config.dotted(settings))
    }
    changed = {
        name: value
        for name, value in config.dotted(settings)
        if name.split(".")[0] not in ELSEWHERE and (name not in resolved or value != resolved[name])
    }
    return gone | _new_conditions(changed, conditions, preset) | changed


def _condition(model: type[BaseModel]) -> dict[str, Any]:
    """A condition of which nothing is set."""
    section: Any = model.model_fields["conditions"].annotation
    return dict(section.__args__[1]().model_dump(mode="json"))


def _new_conditions(
    changed: Mapping[str, Any], conditions: Mapping[str, Any], preset: Mapping[str, Any]
) -> dict[str, Any]:
    """A condition that the preset lacks, and of which nothing is set, has no setting to be named by: it is given whole."""
    new = [name for name in conditions if name not in preset.get("conditions", {})]
    return {
        f"conditions.{name}": {} for name in new if not any(key.startswith(f"conditions.{name}.") for key in changed)
    }


def _text(name: str, value: Any) -> str:
    """As YAML reads it back, without a path of this machine."""
    value = without_place(value)
    if name == "seeds" and value == list(range(len(value))):
        return str(len(value))
    if isinstance(value, str) and yaml.safe_load(value) == value and not set("{}[]$\n") & set(value):
        return value
    return json.dumps(value, ensure_ascii=False)
