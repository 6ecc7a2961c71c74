"""What each condition lost, and what of that the first one's chains of the same seeds lost more: remedies side by side.

What is lost is the logarithm of the last generation's test perplexity over generation 0's, in nats a token (the sweep's
`collapse`). Conditions of one seed are a pair; the intervals are the scorecard's.
"""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from components.figures import notation, style
from components.measures.risk import RISKS
from components.scorecard.numbers import numbers
from components.scorecard.verdict import above_zero

RISK = RISKS["language"]
LEAST = 3
"""Conditions below which figure 10 says as much."""
CAPTION = (
    "What each condition lost from generation 0 to each seed's last one, as the logarithm of the test perplexity's "
    "rise (0.1 is 10 % more), and how much less that is than in the first condition, seed by seed, up to the last "
    "generation that both have. Points are seeds, bars the mean with its 95 % interval (Student's) over seeds, not "
    "corrected for the number of conditions and without the error of the test split."
)
_TITLE = "What each condition lost"
_LOST, _SAVED = "nats a token lost", "nats a token less than {first}"
_INCH_A_ROW = 0.36


def draw(metrics: pd.DataFrame) -> tuple[Figure, go.Figure]:
    """From tidy metrics (condition, seed, generation, metric, value) of three conditions or more that hold `test/perplexity`."""
    all_lost = losses(metrics)
    infinite = int(np.isinf(all_lost.to_numpy()).sum())
    lost, less = (table.where(np.isfinite(table)) for table in (all_lost, saved(metrics)))
    panels = [(lost, _LOST), (less, _SAVED.format(first=lost.columns[0]))]
    left_out = f"; left out: {infinite} infinite (the model diverged)" if infinite else ""
    return _matplotlib(panels, left_out), _plotly(panels, left_out)


def losses(metrics: pd.DataFrame) -> pd.DataFrame:
    """Nats lost from generation 0 to each seed's last generation: a row per seed, a column per condition.

    Infinite where a perplexity is; nan where a chain has no generation after 0.
    """
    study = numbers(metrics, {})
    return pd.DataFrame({name: study.rise(name, RISK) for name in notation.conditions_of(metrics)})


def saved(metrics: pd.DataFrame) -> pd.DataFrame:
    """How many nats less than the first condition each other one lost, up to the last generation of both chains."""
    study, (first, *others) = numbers(metrics, {}), notation.conditions_of(metrics)
    found = {}
    for name in others:
        last = study.last(first, name)
        found[name] = study.rise(first, RISK, last) - study.rise(name, RISK, last)
    return pd.DataFrame(found)


def _matplotlib(panels: list[tuple[pd.DataFrame, str]], left_out: str) -> Figure:
    rows = len(panels[0][0].columns)
    note = f"points: seeds; bars: mean with 95 % interval over {len(panels[0][0])} seeds{left_out}"
    figure = style.panels(2, 1, 5.6, 1.4 + _INCH_A_ROW * rows, _TITLE, note)
    shared: Axes | None = None
    for place, (table, x) in enumerate(panels):
        axes = figure.add_subplot(1, 2, place + 1, sharey=shared)
        shared = shared or axes
        style.dress(axes, "", x, None)
        heights = {name: rows - 1 - row for row, name in enumerate(panels[0][0].columns)}
        for condition in table.columns:
            height = heights[condition]
            values = table[condition].dropna()
            if values.empty:
                continue
            found = above_zero(values.to_list(), 0.0)
            arms = None if math.isnan(found.low) else [[found.mean - found.low], [found.high - found.mean]]
            colour = style.CONDITION_COLOURS[0] if place == 0 else style.CONDITION_COLOURS[2]
            axes.plot(values, [height] * len(values), "o", color=colour, alpha=0.45, markersize=5, clip_on=False)
            axes.errorbar(
                found.mean, height, xerr=arms, color=colour, marker="|", markersize=12, markeredgewidth=2.4, capsize=4, zorder=3
            )  # fmt: skip
        if place == 0:
            axes.set_yticks(range(rows), [str(name) for name in reversed(table.columns)], parse_math=False)
        else:
            axes.axvline(0, color=style.FAINT, linewidth=1)
            axes.tick_params(labelleft=False)
    return figure


def _plotly(panels: list[tuple[pd.DataFrame, str]], left_out: str) -> go.Figure:
    conditions = [str(name) for name in panels[0][0].columns]
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    for place, (table, x) in enumerate(panels):
        colour = style.CONDITION_COLOURS[0] if place == 0 else style.CONDITION_COLOURS[2]
        some = [name for name in table.columns if table[name].notna().any()]
        found = {str(name): above_zero(table[name].dropna().to_list(), 0.0) for name in some}
        points = table.rename_axis("seed").reset_index().melt("seed", var_name="condition").dropna(subset="value")
        names = [notation.literal(str(name)) for name in points["condition"]]
        each = go.Scatter(
            x=points["value"], y=names, mode="markers", opacity=0.5, marker={"color": colour, "size": 7},
            customdata=points["seed"], hovertemplate="seed %{customdata}: %{x:.3g}<extra>%{y}</extra>", showlegend=False,
        )  # fmt: skip
        arms = {
            "type": "data", "symmetric": False, "thickness": 2, "width": 5,
            "array": [one.high - one.mean for one in found.values()],
            "arrayminus": [one.mean - one.low for one in found.values()],
        }  # fmt: skip
        bars = go.Scatter(
            x=[one.mean for one in found.values()], y=[notation.literal(name) for name in found], mode="markers",
            marker={"color": colour, "size": 12, "symbol": "line-ns-open", "line": {"width": 3}}, error_x=arms,
            customdata=[[one.low, one.high] for one in found.values()], showlegend=False,
            hovertemplate="%{x:.3g} (%{customdata[0]:.3g} to %{customdata[1]:.3g})<extra>%{y}</extra>",
        )  # fmt: skip
        figure.add_traces([each, bars], rows=1, cols=place + 1)
        figure.update_xaxes(title_text=notation.literal(x), zeroline=place == 1, col=place + 1)
    order = [notation.literal(name) for name in reversed(conditions)]
    figure.update_yaxes(categoryorder="array", categoryarray=order, automargin=True)
    note = f"points: seeds; bars: mean with 95 % interval over seeds{left_out}"
    style.plotly_look(figure, _TITLE, note, 220 + 34 * len(conditions))
    return figure
