"""The settings as tables, out of the models that validate them: every field, its type, default, limits and meaning."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel

from components import config
from components.config.pretrain import PretrainSettings
from components.config.report import ReportSettings
from components.config.settings import RecursionSettings, StudySettings
from components.config.small_families import DiscreteSettings, GaussianSettings, MixtureSettings, VaeSettings
from components.config.status import StatusSettings
from components.config.sweep import SweepSettings

ENTRY_POINTS: Mapping[str, type[BaseModel]] = {
    "recursion": RecursionSettings,
    "gaussian": GaussianSettings,
    "discrete": DiscreteSettings,
    "mixture": MixtureSettings,
    "vae": VaeSettings,
    "sweep": SweepSettings,
    "pretrain": PretrainSettings,
    "status": StatusSettings,
    "report": ReportSettings,
}
LIMITS = {
    "minimum": "≥", "ge": "≥", "exclusiveMinimum": ">", "gt": ">", "maximum": "≤", "le": "≤", "exclusiveMaximum": "<",
    "lt": "<", "minItems": "at least", "minProperties": "at least", "maxLength": "characters ≤", "pattern": "matches",
}  # fmt: skip
NOT_ONE = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "null": "empty"}
HEAD = "| setting | type | default | limits | what it says |\n|---|---|---|---|---|"

Schema = Mapping[str, Any]


def settings_page() -> str:
    """The page, in Markdown."""
    parts = [
        "# Settings",
        "Every setting is a dotted name: `mlflow run . -e recursion -P train.batch_size=64`. A [preset](presets.md) says what most of "
        "them are, `-P` changes any of them, and `None` or `null` leaves one empty. All of them are validated before anything "
        "starts; what is wrong is told in a line each, with exit status 2. This page is made out of the models in "
        "`components/config` when the site is built.",
        "## What every study has",
        "Of the entry points `recursion`, `gaussian`, `discrete`, `mixture` and `vae`, and of a sweep's studies.",
        *_tables(StudySettings, skip=frozenset()),
    ]
    for name, model in ENTRY_POINTS.items():
        study = issubclass(model, StudySettings)
        parts += [f"## `{name}`", _docstring(model)]
        parts += _tables(model, skip=frozenset(StudySettings.model_fields) if study else frozenset())
        if study and (changed := _other_defaults(model)):
            parts.append(f"Of what every study has, another default here: {changed}.")
    return "\n\n".join(parts) + "\n"


def presets_page() -> str:
    """The presets as they are in the project, a block each."""
    parts = [
        "# Presets",
        "`-P preset=<name>`; `laptop` where none is named (of `pretrain`: `builtin`). What a preset does not say has the default of its "
        "[setting](settings.md).",
    ]
    for name in ENTRY_POINTS:
        folders = [f"sweep/{family}" for family in _families()] if name == "sweep" else [name]
        for folder in folders if name not in ("status", "report") else []:
            parts.append(f"## `{folder.replace('sweep/', 'sweep, family=')}`")
            for preset in config.presets(folder):
                file = resources.files("components.config") / "presets" / folder / f"{preset}.yaml"
                parts.append(f"### `{preset}`\n\n```yaml\n{file.read_text('utf-8').strip()}\n```")
    return "\n\n".join(parts) + "\n"


def fields(model: type[BaseModel]) -> Iterator[tuple[str, Schema]]:
    """(dotted name, JSON schema) of every setting that can be given, those of all sections below included."""
    schema = model.model_json_schema()
    yield from _fields(schema, schema.get("$defs", {}), "")


def _fields(schema: Schema, definitions: Schema, prefix: str) -> Iterator[tuple[str, Schema]]:
    for name, field in schema["properties"].items():
        section, below = _section(field, definitions)
        if section is None:
            yield f"{prefix}{name}", field
        else:
            yield from _fields(section, definitions, f"{prefix}{name}.{below}")


def _section(field: Schema, definitions: Schema) -> tuple[Schema | None, str]:
    """The section that a field is, if it is one, and what stands between its name and its own fields' names."""
    for one in (field, *field.get("anyOf", ())):
        if reference := one.get("$ref"):
            return definitions[reference.rpartition("/")[2]], ""
        additional = one.get("additionalProperties")
        if isinstance(additional, Mapping) and "$ref" in additional:
            return definitions[additional["$ref"].rpartition("/")[2]], "<name>."
    return None, ""


def _tables(model: type[BaseModel], skip: frozenset[str]) -> list[str]:
    """A table of the model's own fields, then one for each section, with its docstring."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    plain: list[str] = []
    sections: list[str] = []
    for name, field in schema["properties"].items():
        if name in skip:
            continue
        section, below = _section(field, definitions)
        if section is None:
            plain.append(_row(name, field))
            continue
        rows = [_row(dotted, one) for dotted, one in _fields(section, definitions, f"{name}.{below}")]
        title = f"### `{name}.{below}*`"
        said = section.get("description") or field.get("description", "")
        sections.append("\n\n".join(filter(None, [title, _sentence(said), _table(rows)])))
    return ([_table(plain)] if plain else []) + sections


def _table(rows: Sequence[str]) -> str:
    body = "\n".join([HEAD, *rows])
    return f'<div class="settings" markdown>\n\n{body}\n\n</div>'


def _row(name: str, field: Schema) -> str:
    cells = [f"`{name}`", _type(field), _default(field), _limits(field), field.get("description", "")]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: Schema) -> str:
    kinds = field.get("anyOf") or [field]
    return " or ".join(_kind(kind) for kind in kinds)


def _kind(kind: Schema) -> str:
    if "enum" in kind or "const" in kind:
        return ", ".join(f"`{value}`" for value in kind.get("enum", [kind.get("const")]))
    if kind.get("type") == "array":
        return f"list of {_kind(kind['items'])}s" if "items" in kind else "list"
    if kind.get("type") == "object":
        return "fields by name"
    return NOT_ONE.get(str(kind.get("type")), "any value")


def _default(field: Schema) -> str:
    if "default" not in field:
        return ""
    value = field["default"]
    if value is None:
        return "empty"
    return f"`{yaml.safe_dump(value, default_flow_style=True).removesuffix('...').strip().removesuffix('...').strip()}`"


def _limits(field: Schema) -> str:
    found = []
    for kind in field.get("anyOf") or [field]:
        for one in (kind, kind.get("items", {})):
            found += [
                f"{words} `{one[limit]}`" if limit == "pattern" else f"{words} {one[limit]}"
                for limit, words in LIMITS.items()
                if limit in one
            ]
    return ", ".join(found)


def _docstring(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip()


def _sentence(text: str) -> str:
    """A docstring's first paragraph."""
    return " ".join(text.split("\n\n")[0].split())


def _other_defaults(model: type[BaseModel]) -> str:
    ours, theirs = model.model_json_schema()["properties"], StudySettings.model_json_schema()["properties"]
    changed = [name for name in theirs if ours[name].get("default") != theirs[name].get("default")]
    return ", ".join(f"`{name}` is {_default(ours[name])}" for name in changed)


def _families() -> list[str]:
    folder = resources.files("components.config") / "presets" / "sweep"
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
