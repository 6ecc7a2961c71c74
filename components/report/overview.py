"""Several studies beside each other: what each is, and how its error on real data went from the first to the last generation."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from components.figures.notation import conditions_of
from components.figures.table import over_seeds, readable
from components.measures.risk import RISKS
from components.report.contents import Contents


@dataclass(frozen=True)
class Line:
    """A study in one line."""

    title: str
    family: str
    started: str
    conditions: str
    seeds: str
    generations: str
    verdicts: str


def overview(studies: Sequence[Contents]) -> list[Line]:
    """A line per study."""
    return [_line(study) for study in studies]


def errors(studies: Sequence[Contents]) -> pd.DataFrame:
    """As text, a row for each condition of each study: its error on real data at generation 0 and at the last one.

    Both are means over the seeds that reached the condition's last generation. Seeds that stopped
    early are only counted.
    """
    rows = []
    for place, study in enumerate(studies, start=1):
        if study.metrics is None or study.run is None:
            continue
        measure = RISKS[study.run.family]
        found = study.metrics[study.metrics["metric"] == measure.metric].dropna(subset="value")
        for condition in conditions_of(found):
            of_one = found[found["condition"] == condition]
            seeds, end = of_one["seed"].nunique(), of_one["generation"].max()
            whole = of_one[of_one["seed"].isin(of_one.loc[of_one["generation"] == end, "seed"])]
            means = over_seeds(whole, measure.metric)
            first, last = means.iloc[0], means.iloc[-1]  # every chain begins with generation 0
            reached = int(last["seeds"])
            rows.append(
                {
                    "study": str(place),
                    "condition": condition,
                    "measure": measure.name,
                    "seeds": str(reached) if reached == seeds else f"{reached} of {seeds}",
                    "generation 0": float(first["mean"]),
                    "last generation": str(int(last["generation"])),
                    "there": float(last["mean"]),
                    "there_std": float(last["std"]),
                }
            )
    return readable(pd.DataFrame(rows)) if rows else pd.DataFrame()


def _line(study: Contents) -> Line:
    settings, run = study.settings, study.run
    card = pd.DataFrame({"verdict": []}) if study.scorecard is None else study.scorecard
    counts = card["verdict"].astype(str).str.replace(r" with \d+ seeds?", "", regex=True).value_counts()
    return Line(
        title=study.title,
        family="" if run is None else f"{run.family}{' (sweep)' if run.kind == 'sweep' else ''}",
        started="" if run is None else run.started,
        conditions=str(len(settings.get("conditions") or {}))
        if "conditions" in settings
        else f"{len(study.table)} trials",
        seeds=str(len(settings.get("seeds", ()))),
        generations=f"0-{settings.get('generations', '?')}",
        verdicts=", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "–",
    )
