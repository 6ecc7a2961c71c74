"""The paper's figures for any study: one module a figure, each drawn as a picture and as an interactive page.

Every module has `draw(...) -> (matplotlib Figure, plotly Figure)` and a `CAPTION`; `save_all` writes those whose
numbers the study has. `samples` and `report` put a study's text and its figures on a page, `table` closes it.
"""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure

from components.figures import (
    conditions,
    diversity,
    figure10_test_perplexity,
    figure11_perplexity_histograms,
    figure15_perplexity_3d,
    strip,
)
from components.figures.samples import Sample

CAPTIONS = {
    "figure10_test_perplexity": figure10_test_perplexity.CAPTION,
    "figure11_perplexity_histograms": figure11_perplexity_histograms.CAPTION,
    "figure15_perplexity_3d": figure15_perplexity_3d.CAPTION,
    "conditions": conditions.CAPTION,
    "diversity": diversity.CAPTION,
    strip.NAME: strip.CAPTION,
}

# The policy: the page's own script draws, and reaches nowhere.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
</head>
<body style="margin:0;background:#fff">
{body}
</body>
</html>
"""


Drawing = tuple[Figure, go.Figure]
"""A figure as a picture and as a page."""


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


def write_figures(drawn: Mapping[str, Drawing], folder: Path) -> list[Path]:
    """Write `<name>.png` and `<name>.html` of every figure; return the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name, (picture, page) in drawn.items() for path in _save(name, picture, page, folder)]


def _save(name: str, picture: Figure, page: go.Figure, folder: Path) -> list[Path]:
    picture.savefig(folder / f"{name}.png", facecolor="white")
    # A fixed id instead of a random one: the same numbers give the same bytes.
    body = page.to_html(
        full_html=False, include_plotlyjs=True, div_id=name, config={"displaylogo": False, "responsive": True}
    )
    title = html.escape(name.replace("_", " "))
    (folder / f"{name}.html").write_text(_PAGE.format(title=title, body=body), encoding="utf-8")
    return [folder / f"{name}.png", folder / f"{name}.html"]
