"""The figures of a study of language models (the paper's 10, 11 and 15, and what shows its text)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from components.figures import (
    conditions,
    diversity,
    figure10_test_perplexity,
    figure11_perplexity_histograms,
    figure15_perplexity_3d,
    strip,
)
from components.figures.files import Drawing, write_figures
from components.figures.samples import Sample

CAPTIONS = {
    "figure10_test_perplexity": figure10_test_perplexity.CAPTION,
    "figure11_perplexity_histograms": figure11_perplexity_histograms.CAPTION,
    "figure15_perplexity_3d": figure15_perplexity_3d.CAPTION,
    "conditions": conditions.CAPTION,
    "diversity": diversity.CAPTION,
    strip.NAME: strip.CAPTION,
}


def save_all(metrics: pd.DataFrame, scores: pd.DataFrame, folder: Path, samples: Sequence[Sample] = ()) -> list[Path]:
    """Write `<figure>.png` and `<figure>.html` of every figure whose numbers are there; return the paths written.

    `metrics`: condition, seed, generation, metric, value. `scores`: condition, seed, generation, set, row, perplexity
    (no rows for a family without sequences). `samples` give one picture more, which has no page. The pages work from disk and offline: each holds plotly.js (4.8 MB).
    """
    measured = set(metrics.loc[np.isfinite(metrics["value"]), "metric"])
    drawn: dict[str, Drawing] = {}
    if figure10_test_perplexity.METRIC in measured:
        drawn["figure10_test_perplexity"] = figure10_test_perplexity.draw(metrics)
        if metrics["condition"].nunique() >= conditions.LEAST and metrics["generation"].nunique() > 1:
            drawn["conditions"] = conditions.draw(metrics)
    if (scores["set"] == "synthetic").any():
        drawn["figure11_perplexity_histograms"] = figure11_perplexity_histograms.draw(scores)
        drawn["figure15_perplexity_3d"] = figure15_perplexity_3d.draw(scores)
    if diversity.measured(metrics[metrics["value"].notna()]):
        drawn["diversity"] = diversity.draw(metrics)
    return [*write_figures(drawn, folder), *strip.save(samples, folder)]
