"""Diversity of the generated text by generation: what perplexity hides (a panel a measure, a colour a condition).

Not in the paper; its replication measured distinct-3 falling from 0.55 to 0.24 while perplexity came down again.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from components.figures import style
from components.figures.table import over_seeds

MEASURES = {
    "synthetic/distinct_1": "distinct-1: different tokens",
    "synthetic/distinct_2": "distinct-2: different pairs",
    "synthetic/distinct_3": "distinct-3: different triples",
    "synthetic/repetition_4": "repetition-4: 4-grams said before",
}
CAPTION = (
    "Diversity of what each generation wrote: share of different 1-, 2- and 3-grams among all (pooled over sequences), "
    "and share of 4-grams that occurred earlier in their sequence. Thin: runs; bold: mean with standard deviation."
)
MOST_WITHIN = 5
"""Conditions whose names have room within a panel."""
_TITLE = "Diversity of the generated text, by generation"
_X, _Y = "generation that wrote the text", "share of n-grams"


def draw(metrics: pd.DataFrame) -> tuple[Figure, go.Figure]:
    """The measures of MEASURES that tidy metrics (condition, seed, generation, metric, value) hold."""
    runs = metrics[metrics["metric"].isin(list(MEASURES)) & np.isfinite(metrics["value"])]
    measured = [metric for metric in MEASURES if (runs["metric"] == metric).any()]
    return _matplotlib(runs, measured), _plotly(runs, measured)


def _matplotlib(runs: pd.DataFrame, measured: list[str]) -> Figure:
    columns = min(2, len(measured))
    rows = -(-len(measured) // 2)
    figure = style.panels(columns, rows, 5.8, 3.5, _TITLE, _note(runs))
    for place, metric in enumerate(measured):
        axes = figure.add_subplot(rows, columns, place + 1)
        under_it = place + columns >= len(measured)
        style.dress(axes, MEASURES[metric], _X if under_it else None, _Y if place % columns == 0 else None)
        style.generation_axis(axes, int(runs["generation"].max()))
        summary = over_seeds(runs, metric)
        for index, condition in enumerate(style.conditions_of(runs)):
            colour = style.CONDITION_COLOURS[index % len(style.CONDITION_COLOURS)]
            mean = summary[summary["condition"] == condition]
            several = bool((mean["seeds"] > 1).any())
            chosen = runs[(runs["condition"] == condition) & (runs["metric"] == metric)]
            for _, run in chosen.groupby("seed") if several else []:
                run = run.sort_values("generation")
                axes.plot(run["generation"], run["value"], color=colour, alpha=0.4, linewidth=1.0)
            axes.errorbar(
                mean["generation"], mean["mean"], yerr=mean["std"] if several else None, color=colour, linewidth=2.6,
                marker=style.CONDITION_MARKERS[index % len(style.CONDITION_MARKERS)], markersize=6, capsize=4,
                elinewidth=1.6, label=condition, linestyle=style.line_style(index),
            )  # fmt: skip
        axes.set_ylim(bottom=0)
    if runs["condition"].nunique() > MOST_WITHIN:
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles, names, fontsize=style.FONT - 1, frameon=False, loc="outside right center", handlelength=3.5
        )
    else:
        figure.axes[0].legend(fontsize=style.FONT - 1, frameon=False, loc="best")
    return figure


def _plotly(runs: pd.DataFrame, measured: list[str]) -> go.Figure:
    columns = min(2, len(measured))
    rows = -(-len(measured) // 2)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[MEASURES[metric] for metric in measured],
        horizontal_spacing=0.08,
        vertical_spacing=0.14,
    )
    for place, metric in enumerate(measured):
        row, column = divmod(place, columns)
        summary = over_seeds(runs, metric)
        for index, condition in enumerate(style.conditions_of(runs)):
            mean, name = summary[summary["condition"] == condition], style.literal(condition)
            symbol = style.PLOTLY_MARKERS[index % len(style.PLOTLY_MARKERS)]
            colour = style.CONDITION_COLOURS[index % len(style.CONDITION_COLOURS)]
            several = bool((mean["seeds"] > 1).any())
            chosen = runs[(runs["condition"] == condition) & (runs["metric"] == metric)]
            for seed, run in chosen.groupby("seed") if several else []:
                run = run.sort_values("generation")
                thin = go.Scatter(
                    x=run["generation"], y=run["value"], mode="lines", opacity=0.45, name=f"seed {seed}",
                    line={"color": colour, "width": 1.2}, legendgroup=name, showlegend=False,
                    hovertemplate=f"seed {seed}, generation %{{x}}: %{{y:.4g}}<extra>{name}</extra>",
                )  # fmt: skip
                figure.add_trace(thin, row + 1, column + 1)
            arms = {"type": "data", "array": mean["std"], "visible": several, "width": 5}
            line = go.Scatter(
                x=mean["generation"], y=mean["mean"], error_y=arms, mode="lines+markers", name=name,
                legendgroup=name, showlegend=place == 0, line={"color": colour, "width": 3, "dash": style.dash(index)},
                marker={"size": 8, "symbol": symbol}, customdata=mean[["std", "seeds"]].to_numpy(),
                hovertemplate="generation %{x}: %{y:.4g} ± %{customdata[0]:.2g} over %{customdata[1]:.0f} seed(s)",
            )  # fmt: skip
            figure.add_trace(line, row + 1, column + 1)
    last = int(runs["generation"].max())
    figure.update_xaxes(range=[-0.5, last + 0.5], tickformat="d", dtick=max(1, last // 10))
    for column in range(columns):
        figure.update_xaxes(title_text=_X, row=rows if rows * columns == len(measured) else None, col=column + 1)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title_text=_Y, col=1)
    style.plotly_look(figure, _TITLE, _note(runs), 170 + 330 * rows)
    return figure


def _note(runs: pd.DataFrame) -> str:
    seeds = runs["seed"].nunique()
    return (
        f"thin: a run each; bold: mean ± standard deviation over {seeds} seeds"
        if seeds > 1
        else "one run (one seed) a condition"
    )
