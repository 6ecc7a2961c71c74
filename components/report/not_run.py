"""What was not run: beside the paper's experiment (this project's preset `paper`), and of the study itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import ValidationError

from components import config
from components.config.command import condition_defaults
from components.config.sweep import STUDIES
from components.report.settings import effective, text
from components.scorecard import NOT_ASKED

PAPER = "paper"
"""The preset of what the paper did."""
DEGREES = ("epochs", "learning_rate", "num_beams", "chains")
"""Fields of a condition in which two may differ and be the same setting of the paper."""
NOT_COMPARED = ("preset", "conditions", "generations", "seeds", "store", "cluster", "tracking", "dry_run", "shown")


@dataclass(frozen=True)
class NotRun:
    """`sentences`: what is missing. `differences`: settings that are not the paper's (name, here, the paper's)."""

    sentences: Sequence[str]
    differences: Sequence[tuple[str, str, str]]


def not_run(
    family: str, settings: Mapping[str, Any], metrics: pd.DataFrame | None, scorecard: pd.DataFrame | None
) -> NotRun:
    """Of a study's resolved settings, its tidy metrics and its scorecard; beside the paper's where the family is one of its own."""
    of_itself = [
        *([] if metrics is None else _unfinished(settings, metrics)),
        *([] if scorecard is None else _not_asked(scorecard)),
    ]
    if PAPER not in config.presets(STUDIES[family].entry_point):
        return NotRun(of_itself, [])
    paper = config.load(STUDIES[family], ["--preset", PAPER]).model_dump(mode="json")
    try:  # what is newer than the study has its default
        ours = STUDIES[family].model_validate(settings).model_dump(mode="json")
    except ValidationError:
        return NotRun(
            ["Its settings are of another version of this project and cannot be held against the paper's.", *of_itself],
            [],
        )
    return NotRun(
        [*_fewer(ours, paper), *_conditions(ours, paper, family), *of_itself], list(_differences(ours, paper))
    )


def not_run_of_sweep(table: pd.DataFrame) -> NotRun:
    """Of a sweep's closing table: trials that did not come to their end."""
    states = table["state"].value_counts() if "state" in table else pd.Series(dtype=int)
    said = {
        "pruned": "stopped before the last generation, as hopeless",
        "failed": "failed",
        "running": "not at their end",
    }
    sentences = [
        f"{states[state]} of {len(table)} trials: {words}." for state, words in said.items() if state in states
    ]
    return NotRun(sentences, [])


def _fewer(settings: Mapping[str, Any], paper: Mapping[str, Any]) -> Iterator[str]:
    seeds, its = len(settings["seeds"]), len(paper["seeds"])
    if seeds < its:
        yield f"Seeds: {seeds} of the {its} that the paper's experiment has."
    if settings["generations"] < paper["generations"]:
        yield f"Generations after {settings['generations']}: the paper's experiment goes to {paper['generations']}."
    model, corpus = settings.get("model"), settings.get("corpus")
    if model and model["name"] != paper["model"]["name"]:
        here = (model["name"] and text(model["name"])) or (
            f"a model of {model['layers']} layers of width {model['hidden_size']}, from random weights"
        )
        yield f"The paper's model, {paper['model']['name']}: here it was {here}."
    if corpus and (corpus["path"] or corpus["dataset"] != paper["corpus"]["dataset"]):
        here = text(corpus["path"] or corpus["dataset"] or "the documentation inside networkx")
        yield f"The paper's text, {paper['corpus']['dataset_config']}: here it was {here}."


def _conditions(settings: Mapping[str, Any], paper: Mapping[str, Any], family: str) -> Iterator[str]:
    """The paper's conditions that have none like them, and those that are much like one."""
    plain = condition_defaults(STUDIES[family])
    ours = {name: effective(one, settings) for name, one in settings["conditions"].items()}
    for name, one in paper["conditions"].items():
        theirs = effective(one, paper)
        alike = [
            other
            for other, fields in ours.items()
            if all(fields.get(key) == value for key, value in theirs.items() if key not in DEGREES)
        ]
        if not alike:
            what = ", ".join(
                f"{key} {text(value)}"
                for key, value in one.items()
                if value and (key == "regime" or value != plain.get(key))
            )
            yield f"The paper's condition {name} ({what})."
            continue
        other = min(alike, key=lambda found: len(_other(ours[found], theirs)))
        if differ := _other(ours[other], theirs):
            told = ", ".join(f"{key} {text(theirs[key])} (here {text(ours[other][key])})" for key in differ)
            yield f"The paper's condition {name} as it is: {other} is like it, but for {told}."


def _other(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [key for key in theirs if key in DEGREES and ours.get(key) != theirs[key]]


def _unfinished(settings: Mapping[str, Any], metrics: pd.DataFrame) -> Iterator[str]:
    """Chains that failed or were stopped."""
    reached = metrics.groupby(["condition", "seed"])["generation"].max()
    for name in settings.get("conditions", ()):
        for seed in settings.get("seeds", ()):
            last = int(reached.get((name, seed), -1))
            if last < 0:
                yield f"The chain {name}, seed {seed}: none of its generations was finished."
            elif last < settings.get("generations", last):
                yield f"The chain {name}, seed {seed}: it ended with generation {last} of {settings['generations']}."


def _not_asked(scorecard: pd.DataFrame) -> Iterator[str]:
    for row in scorecard[scorecard["verdict"] == NOT_ASKED].to_dict("records"):
        yield f"The claim “{row['claim']}”: it cannot be asked here ({row['conditions']})."


def _differences(settings: Mapping[str, Any], paper: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    ours, theirs = dict(config.dotted(settings)), dict(config.dotted(paper))
    for name in {**ours, **theirs}:
        if name.split(".")[0] not in NOT_COMPARED and ours.get(name) != theirs.get(name):
            yield name, text(ours.get(name)) or "–", text(theirs.get(name)) or "–"
