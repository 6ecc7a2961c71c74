"""The contents of a page out of the files of a study's run in MLflow: what a study leaves there, its page can be made of again.

What is not there is left out, and said.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from components import config
from components.figures.samples import Sample
from components.figures.table import over_seeds, readable
from components.measures.risk import RISKS
from components.recursion.records import StudyRun
from components.report.contents import NOTE, Contents

TABLES = ("metrics", "scorecard", "profile")
SAID = ("title", "captions", "sentences", "finding", "note", "machine", "versions", "energy", "processors")
_GENERATIONS = 12
Read = TypeVar("Read")


def contents_of(folder: Path, run: StudyRun, runs: pd.DataFrame, gaps: Sequence[str] = ()) -> Contents:
    """What the files in `folder` say of a study, with its run and its generations in MLflow (`tracking.lineage`)."""
    damaged: list[str] = []
    settings = _read(folder / "config.yaml", lambda file: config.from_yaml(file.read_text("utf-8")), damaged) or {}
    found = {name: _read(folder / f"{name}.parquet", pd.read_parquet, damaged) for name in TABLES}
    tables = {name: table for name, table in found.items() if table is not None}
    said = _read(folder / "report.json", _said, damaged)
    known = said or _without(run, tables.get("metrics"))
    figures = sorted((folder / "figures").glob("*")) if (folder / "figures").is_dir() else []
    names = list(known["captions"])
    figures.sort(key=lambda file: names.index(file.stem) if file.stem in names else len(names))
    return Contents(
        settings=settings,
        figures=figures,
        run=run,
        runs=runs,
        gaps=[*gaps, *damaged, *_gaps(folder, run, bool(settings), tables, said is not None, bool(figures))],
        **(known | tables),
    )


def _read(file: Path, reader: Callable[[Path], Read], damaged: list[str]) -> Read | None:
    """What a file holds; nothing where there is none, or one that is damaged, which is said."""
    if not file.exists():
        return None
    try:
        return reader(file)
    except (ValueError, KeyError, TypeError) as error:
        damaged.append(f"{file.name} cannot be read ({type(error).__name__}): it is damaged, or of another version.")
        return None


def _said(file: Path) -> dict[str, Any]:
    """What `Contents.said` wrote."""
    said = json.loads(file.read_text("utf-8"))
    samples = [Sample(**one | {"perplexity": _number(one["perplexity"])}) for one in said["samples"]]
    table = pd.DataFrame(said["table"]["rows"], columns=said["table"]["columns"])
    return {**{name: said[name] for name in SAID if name in said}, "samples": samples, "table": table}


def _without(run: StudyRun, metrics: pd.DataFrame | None) -> dict[str, Any]:
    """Of a study that did not come to its end, or ran before there was a report.json: its family's error by generation."""
    table = pd.DataFrame()
    if metrics is not None and run.family in RISKS:
        measure = RISKS[run.family]
        means = over_seeds(metrics, measure.metric)
        shown = sorted(set(means["generation"]))
        if len(shown) > _GENERATIONS:
            places = [round(place * (len(shown) - 1) / (_GENERATIONS - 1)) for place in range(_GENERATIONS)]
            shown = [shown[place] for place in places]
        means = means[means["generation"].isin(shown)]
        renamed = means.rename(columns={"mean": measure.name, "std": f"{measure.name}_std"})
        table = readable(renamed[["condition", "generation", measure.name, f"{measure.name}_std"]])
    return {"title": f"{run.family.capitalize()}: {run.name}", "table": table, "captions": {}, "note": NOTE}


def _gaps(
    folder: Path, run: StudyRun, settings: bool, tables: dict[str, pd.DataFrame], said: bool, figures: bool
) -> list[str]:
    """A sentence for each part that the page lacks."""
    gaps: list[str] = []
    if not any(folder.iterdir()):
        return gaps
    if not settings:
        gaps.append("Its settings (config.yaml) are missing: what was run, and what was not, cannot be told.")
    if run.kind == "study" and "metrics" not in tables:
        gaps.append("Its numbers (metrics.parquet) are missing: no table, no cost, and no shares of the training sets.")
    if not figures:
        gaps.append("Its figures are missing.")
    if not said:
        gaps.append(
            "Its report.json is missing: no samples, and no word on machine, versions and what the figures show."
        )
    return gaps


def _number(value: float | None) -> float:
    return math.nan if value is None else value
