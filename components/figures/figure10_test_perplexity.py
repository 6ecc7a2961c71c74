"""Figure 10 of the paper: perplexity on the real test split by generation, a panel a condition.

A thin line a run, the mean with its standard deviation over seeds on top.
"""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from components.figures import notation, style
from components.figures.table import of_all_seeds, over_seeds

METRIC = "test/perplexity"
CAPTION = (
    "Perplexity of each generation's model on the real test text (figure 10 of the paper). Thin lines are runs, one a "
    "seed; the bold line is their mean, the bars one standard deviation over seeds."
)
_TITLE = "Perplexity on real test text, by generation"
_X, _Y = "generation (0: fitted on real data)", "test perplexity (exp of nats a token)"
_ACROSS = 3


def draw(metrics: pd.DataFrame) -> tuple[Figure, go.Figure]:
    """Figure 10 from tidy metrics (condition, seed, generation, metric, value) that hold `test/perplexity`.

    The y axis, which all panels share, is logarithmic if the runs span more than a factor of ten.
    """
    runs = metrics[metrics["metric"] == METRIC].dropna(subset="value")
    finite = runs[np.isfinite(runs["value"])]
    means = over_seeds(finite, METRIC)
    summary = of_all_seeds(means)
    note = _note(summary, len(summary) < len(means), len(runs) - len(finite))
    return _matplotlib(finite, summary, note), _plotly(finite, summary, note)


def _matplotlib(runs: pd.DataFrame, summary: pd.DataFrame, note: str) -> Figure:
    conditions, logarithmic, low, high = notation.conditions_of(runs), *_range(runs, summary)
    columns = min(len(conditions), _ACROSS)
    rows = math.ceil(len(conditions) / _ACROSS)
    figure = style.panels(columns, rows, 5.6, 4.3, _TITLE, note)
    for place, condition in enumerate(conditions):
        axes = figure.add_subplot(rows, columns, place + 1)
        mean = summary[summary["condition"] == condition]
        under_it = place + columns >= len(conditions)
        style.dress(
            axes,
            _panel_title(runs[runs["condition"] == condition]),
            _X if under_it else None,
            _Y if place % columns == 0 else None,
        )
        style.generation_axis(axes, int(runs["generation"].max()))
        if logarithmic:
            style.log_axis(axes, "y", low, high)
        else:
            axes.set_ylim(low, high)
        colour = style.CONDITION_COLOURS[place % len(style.CONDITION_COLOURS)]
        seeds = list(runs[runs["condition"] == condition].groupby("seed"))
        for index, (_, run) in enumerate(seeds if len(seeds) > 1 else []):
            run = run.sort_values("generation")
            axes.plot(
                run["generation"],
                run["value"],
                color=colour,
                alpha=0.45,
                linewidth=1.1,
                label="_" * bool(index) + "a run",
            )
        errors = mean["std"] if len(seeds) > 1 else None
        axes.errorbar(
            mean["generation"], mean["mean"], yerr=errors, color=colour, linewidth=2.8, marker="o", markersize=6,
            capsize=5, elinewidth=1.6, capthick=1.6, label="mean ± std" if len(seeds) > 1 else "the run", zorder=3,
        )  # fmt: skip
        if place == 0:
            axes.legend(fontsize=style.FONT - 1, frameon=False, loc="best")
    return figure


def _plotly(runs: pd.DataFrame, summary: pd.DataFrame, note: str) -> go.Figure:
    conditions, logarithmic, low, high = notation.conditions_of(runs), *_range(runs, summary)
    columns = min(len(conditions), _ACROSS)
    rows = math.ceil(len(conditions) / _ACROSS)
    titles = [notation.literal(_panel_title(runs[runs["condition"] == condition])) for condition in conditions]
    figure = make_subplots(rows, columns, shared_yaxes="all", subplot_titles=titles, horizontal_spacing=0.04)
    for place, condition in enumerate(conditions):
        row, column = divmod(place, columns)
        name = notation.literal(condition)
        colour = style.CONDITION_COLOURS[place % len(style.CONDITION_COLOURS)]
        seeds = list(runs[runs["condition"] == condition].groupby("seed"))
        for seed, run in seeds if len(seeds) > 1 else []:
            run = run.sort_values("generation")
            line = go.Scatter(
                x=run["generation"], y=run["value"], mode="lines", opacity=0.5, line={"color": colour, "width": 1.3},
                name=f"seed {seed}", legendgroup=name, showlegend=False,
                hovertemplate=f"seed {seed}, generation %{{x}}: %{{y:.4g}}<extra>{name}</extra>",
            )  # fmt: skip
            figure.add_trace(line, row + 1, column + 1)
        mean = summary[summary["condition"] == condition]
        arms = {"type": "data", "array": mean["std"], "thickness": 1.8, "width": 6, "visible": len(seeds) > 1}
        bold = go.Scatter(
            x=mean["generation"], y=mean["mean"], error_y=arms, mode="lines+markers", name=name,
            line={"color": colour, "width": 3.5}, marker={"size": 9}, legendgroup=name,
            customdata=mean[["std", "seeds"]].to_numpy(),
            hovertemplate="generation %{x}: %{y:.4g} ± %{customdata[0]:.3g} over %{customdata[1]:.0f} seed(s)",
        )  # fmt: skip
        figure.add_trace(bold, row + 1, column + 1)
    figure.update_yaxes(style.plotly_log_axis(low, high) if logarithmic else {"range": [low, high]})
    last = int(runs["generation"].max())
    figure.update_xaxes(range=[-0.5, last + 0.5], tickformat="d", dtick=max(1, last // 10), title_text=_X)
    figure.update_yaxes(title_text=_Y, col=1)
    style.plotly_look(figure, _TITLE, note, 160 + 420 * rows)
    figure.update_layout(showlegend=False)
    return figure


def _range(runs: pd.DataFrame, summary: pd.DataFrame) -> tuple[bool, float, float]:
    """Whether y is logarithmic, and from where to where it goes: all runs, and the upper arm of every bar."""
    low, high = float(runs["value"].min()), float(runs["value"].max())
    top = max(high, float((summary["mean"] + summary["std"].fillna(0)).max()))
    if high > 10 * low:
        return True, low / 1.4, top * 1.4
    room = max(0.08 * (top - low), 0.02 * top)
    bottom = min(low, float((summary["mean"] - summary["std"].fillna(0)).min()))
    return False, bottom - room, top + room


def _panel_title(runs: pd.DataFrame) -> str:
    """The condition, and in numbers its first and last mean over the seeds that reached the last generation."""
    condition, first, last = runs["condition"].iloc[0], runs["generation"].min(), runs["generation"].max()
    whole = runs[runs["seed"].isin(runs.loc[runs["generation"] == last, "seed"])]
    means = [float(whole.loc[whole["generation"] == one, "value"].mean()) for one in sorted({first, last})]
    return f"{condition}: {' → '.join(map(notation.short, means))}"


def _note(summary: pd.DataFrame, stopped: bool, infinite: int) -> str:
    seeds = int(summary["seeds"].max())
    several = "seeds, as far as all of them came" if stopped else "seeds"
    left_out = f"; left out: {infinite} infinite (the model diverged)" if infinite else ""
    if seeds == 1:
        return f"one run (one seed) a condition{left_out}"
    return f"thin: a run each; bold: mean ± standard deviation over {seeds} {several}{left_out}"
