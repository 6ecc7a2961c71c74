"""From what is known of studies to one HTML file that needs nothing beside it.

Its policy (Content-Security-Policy) lets exactly two scripts run, by their digests: the page's own and plotly's. So text that
a model wrote could not run even where it were not escaped, which all of it is. Without scripts everything is there, as text and
pictures.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from components.figures import strip
from components.figures.samples import Sample
from components.recursion.records import StudyRun
from components.report import figures, overview
from components.report.contents import NOTE, Contents
from components.report.cost import cost
from components.report.lineage import lineages
from components.report.machine import energy, machine, versions
from components.report.not_run import NotRun, not_run, not_run_of_sweep
from components.report.samples import by_prompt
from components.report.settings import settings_of
from components.report.verdicts import conditional_on, mark, profile_rows, scorecard_rows

TEMPLATES = Path(__file__).parent / "templates"
STATES = {
    "RUNNING": "It was still running when this page was made.",
    "FAILED": "Not all of it came to its end: what failed is under “what was not run”.",
    "KILLED": "It was stopped before its end.",
}
"""What a run's status says of the study, where that is no whole one."""


def write_report(
    path: Path,
    title: str,
    settings: Mapping[str, Any],
    table: pd.DataFrame,
    figures: Sequence[Path],
    captions: Mapping[str, str],
    samples: Sequence[Sample] = (),
    sentences: Sequence[str] = (),
    finding: Sequence[str] = (),
    note: str = NOTE,
    scorecard: pd.DataFrame | None = None,
    profile: pd.DataFrame | None = None,
    metrics: pd.DataFrame | None = None,
    run: StudyRun | None = None,
    runs: pd.DataFrame | None = None,
    processors: Sequence[str] = (),
) -> Path:
    """Write the page of a study that ends on this machine to `path`; return it.

    Beside it, as JSON, what the page says and no other file of the study's run does. The parameters are those of `Contents`.
    """
    contents = Contents(
        title, settings, table, figures, captions, samples, sentences, finding, note, scorecard, profile, metrics, run, runs,
        machine(), versions(), energy(), processors,
    )  # fmt: skip
    path.with_suffix(".json").write_text(contents.said(), encoding="utf-8")
    return write_page(path, [contents])


def write_page(path: Path, studies: Sequence[Contents]) -> Path:
    """Write one page about these studies (at least one) to `path`; return it. Several have a table beforehand, and tabs."""
    several = len(studies) > 1
    drawn = any(file.suffix == ".html" for study in studies for file in study.figures)
    script = (TEMPLATES / "page.js").read_text("utf-8")
    allowed = f"{figures.fingerprint(script)} {figures.plotly_fingerprint()}" if drawn else figures.fingerprint(script)
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=f"{len(studies)} studies of model collapse" if several else studies[0].title,
            studies=[_sections(study, f"study-{place}-" if several else "") for place, study in enumerate(studies, 1)],
            overview=overview.overview(studies) if several else [],
            errors=overview.errors(studies) if several else pd.DataFrame(),
            several=several,
            style=Markup((TEMPLATES / "style.css").read_text("utf-8")),
            script=Markup(script),
            plotly=figures.plotly() if drawn else "",
            policy=f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'",
        )
    )
    path.write_text(page, encoding="utf-8")
    return path


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["mark"] = mark
    return environment


def _sections(study: Contents, prefix: str) -> dict[str, Any]:
    """What the templates show of a study; `prefix` makes the ids of its sections its own."""
    run = study.run
    # The strip stands on the page as text, not as its picture.
    drawn = [figure for figure in figures.figures_of(study.figures, study.captions) if figure.name != strip.NAME]
    return {
        "prefix": prefix,
        "title": study.title,
        "run": run,
        "settings": settings_of(study.settings, run),
        "machine": study.machine,
        "versions": study.versions,
        "energy": study.energy,
        "processors": study.processors,
        "clustered": bool((study.settings.get("cluster") or {}).get("address")),
        "gaps": [*([STATES[run.status]] if run and run.status in STATES else []), *study.gaps],
        "verdicts": scorecard_rows(study.scorecard),
        "profile": profile_rows(study.profile),
        "conditional_on": conditional_on(study.scorecard, study.profile),
        "sentences": study.sentences,
        "finding": study.finding,
        "columns": list(study.table.columns),
        "rows": study.table.to_numpy().tolist(),
        "grouped": len(study.table.columns) > 0 and not study.table.iloc[:, 0].is_unique,
        "note": study.note,
        "lead": drawn[:1] if study.finding else [],  # as a picture, which fits beside the sentences on any screen
        "strip": strip.strip_of(study.samples),
        "figures": drawn,
        "prompts": by_prompt(study.samples),
        "lineages": []
        if study.runs is None or run is None
        else lineages(study.runs, study.metrics, study.settings, run.family),
        "cost": None if study.metrics is None or study.metrics.empty else cost(study.metrics),
        "not_run": _not_run(study),
    }


def _not_run(study: Contents) -> NotRun:
    if study.run is None or not study.settings:
        return NotRun([], [])
    if study.run.kind == "sweep":
        return not_run_of_sweep(study.table)
    return not_run(study.run.family, study.settings, study.metrics, study.scorecard)
