"""All that a page says of one study or sweep."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from components.figures.samples import Sample
from components.recursion.records import StudyRun

NOTE = "mean ± standard deviation over seeds"


@dataclass(frozen=True)
class Contents:
    """What is empty has no section; `gaps` are sentences on what should be there and is not.

    `settings` may nest. `table` is the closing table as text (`readable`), `note` is said below it, `sentences` above. `finding`
    is what happened, at the top of the page.
    `figures` are the files drawn (`<name>.png`, `<name>.html`), `captions` the words to them by name. `metrics` are tidy
    (condition, seed, generation, metric, value). `runs` are the generations in MLflow (`tracking.lineage`), `run` the study's
    own. `machine`, `versions` and `energy` (why it was not measured): of the machine where it was started. `processors`:
    the kinds that its phases were computed on (`recursion.machines`).
    """

    title: str
    settings: Mapping[str, Any]
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    figures: Sequence[Path] = ()
    captions: Mapping[str, str] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    sentences: Sequence[str] = ()
    finding: Sequence[str] = ()
    note: str = NOTE
    scorecard: pd.DataFrame | None = None
    profile: pd.DataFrame | None = None
    metrics: pd.DataFrame | None = None
    run: StudyRun | None = None
    runs: pd.DataFrame | None = None
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    energy: str = ""
    processors: Sequence[str] = ()
    gaps: Sequence[str] = ()

    def said(self) -> str:
        """As JSON what the page says and no other file of the study's run does: with them, the page can be made again."""
        known = {
            "title": self.title,
            "table": {"columns": list(self.table.columns), "rows": self.table.astype(str).to_numpy().tolist()},
            "captions": dict(self.captions),
            "sentences": list(self.sentences),
            "finding": list(self.finding),
            "note": self.note,
            "machine": self.machine,
            "versions": dict(self.versions),
            "energy": self.energy,
            "processors": list(self.processors),
            "samples": [asdict(sample) | {"perplexity": _finite(sample.perplexity)} for sample in self.samples],
        }
        return json.dumps(known, ensure_ascii=False, indent=1, allow_nan=False)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
