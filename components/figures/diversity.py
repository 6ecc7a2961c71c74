"""Diversity of the generated text by generation: what perplexity hides (a panel a measure, a colour a condition).

Not in the paper; its replication measured distinct-3 falling from 0.55 to 0.24 while perplexity came down again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from components.figures import notation, style
from components.figures.table import of_all_seeds, over_seeds, reached

MEASURES = {
    "distinct_1": "distinct-1: different tokens",
    "distinct_2": "distinct-2: different pairs",
    "distinct_3": "distinct-3: different triples",
    "repetition_4": "repetition-4: 4-grams said before",
}
BLOCKS = "measure/blocks"
REAL = "real text"
CAPTION = (
    "Diversity of what each generation wrote: share of different 1-, 2- and 3-grams among all (pooled over "
    "sequences), and share of 4-grams that occurred earlier in their sequence. The number of blocks, on which they "
    "depend, is the same for every set and stands below the figure. Thin: runs; bold: mean with standard deviation; "
    "dashed: as many blocks of held-out real text."
)
FLATTENED = 4
"""The axis is logarithmic where real text exceeds all samples by this factor: they would lie flat at 0 otherwise."""
MOST_WITHIN = 5
"""Conditions whose names have room within a panel."""
_TITLE = "Diversity of the generated text, by generation"
_X, _Y = "generation that wrote the text", "share of n-grams"


@dataclass(frozen=True)
class Numbers:
    """What is drawn of a study: tidy `runs` with `metric` a name of MEASURES, and `real`, the same of real text.

    `places` are those of the conditions in the study, which their colours go by; `blocks` how many
    blocks a set has.
    """

    runs: pd.DataFrame
    real: Mapping[str, float]
    places: Mapping[str, int]
    blocks: int | None
    last: int

    @property
    def measured(self) -> list[str]:
        return [measure for measure in MEASURES if (self.runs["metric"] == measure).any()]

    def drawn(self) -> list[str]:
        """The conditions that have numbers."""
        return notation.conditions_of(self.runs)

    def limits(self, measure: str) -> tuple[float, float] | None:
        """The range of a logarithmic axis, or None for a linear one from 0."""
        values, real = self.runs.loc[self.runs["metric"] == measure, "value"], self.real.get(measure, 0.0)
        low, high = float(values.min()), float(values.max())
        return (low / 1.4, real * 1.4) if low > 0 and real > FLATTENED * high else None

    def note(self) -> str:
        seeds = self.runs["seed"].nunique()
        stopped = reached(self.runs)["seeds"].str.contains("of").any()
        several = "seeds, as far as all of them came" if stopped else "seeds"
        notes = [
            f"thin: a run each; bold: mean ± standard deviation over {seeds} {several}"
            if seeds > 1
            else "one run (one seed) per condition"
        ]
        if self.real:
            notes.append(f"dashed: held-out {REAL}")
        if self.blocks:
            notes.append(f"{self.blocks} blocks of each set")
            if missing := [name for name in self.places if name not in self.drawn()]:
                notes.append(f"fewer blocks, and so not drawn: {', '.join(missing)}")
        return "; ".join(notes)


def measured(metrics: pd.DataFrame) -> bool:
    """Whether a study has what the figure draws."""
    return bool(set(metrics["metric"]) & {f"synthetic/{measure}" for measure in MEASURES})


def draw(metrics: pd.DataFrame) -> tuple[Figure, go.Figure]:
    """The measures of MEASURES that tidy metrics (condition, seed, generation, metric, value) hold."""
    finite = metrics[np.isfinite(metrics["value"])]
    of_set = finite["metric"].str.split("/", n=1, expand=True)
    named = finite.assign(of=of_set[0], metric=of_set[1])
    named = named[named["metric"].isin(list(MEASURES))]
    real = named[named["of"] == "heldout"].groupby("metric")["value"].mean()
    blocks = finite.loc[finite["metric"] == BLOCKS, "value"]
    numbers = Numbers(
        runs=named[named["of"] == "synthetic"],
        real={str(name): float(value) for name, value in real.items()},
        places={name: place for place, name in enumerate(notation.conditions_of(metrics))},
        blocks=int(blocks.iloc[0]) if len(blocks) else None,
        last=int(metrics["generation"].max()),
    )
    return _matplotlib(numbers), _plotly(numbers)


def _matplotlib(numbers: Numbers) -> Figure:
    runs, measured = numbers.runs, numbers.measured
    columns = min(2, len(measured))
    rows = -(-len(measured) // 2)
    figure = style.panels(columns, rows, 5.8, 3.5, _TITLE, "\n".join(wrap(numbers.note(), 70 * columns)))
    for place, metric in enumerate(measured):
        axes = figure.add_subplot(rows, columns, place + 1)
        under_it = place + columns >= len(measured)
        style.dress(axes, MEASURES[metric], _X if under_it else None, _Y if place % columns == 0 else None)
        style.generation_axis(axes, numbers.last)
        summary = of_all_seeds(over_seeds(runs, metric))
        for condition in numbers.drawn():
            index = numbers.places[condition]
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
        if metric in numbers.real:
            axes.axhline(numbers.real[metric], color=style.FAINT, linewidth=1.8, linestyle="--", label=REAL)
        if limits := numbers.limits(metric):
            style.log_axis(axes, "y", *limits)
        else:
            axes.set_ylim(bottom=0)
    handles, names = figure.axes[0].get_legend_handles_labels()
    last = sorted(range(len(names)), key=lambda place: names[place] == REAL)  # else lines come before what has bars
    entries = [handles[place] for place in last], [names[place] for place in last]
    if len(numbers.drawn()) > MOST_WITHIN:
        figure.legend(*entries, fontsize=style.FONT - 1, frameon=False, loc="outside right center", handlelength=3.5)
    else:
        figure.axes[0].legend(*entries, fontsize=style.FONT - 1, frameon=False, loc="best")
    return figure


def _plotly(numbers: Numbers) -> go.Figure:
    runs, measured = numbers.runs, numbers.measured
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
        summary = of_all_seeds(over_seeds(runs, metric))
        for condition in numbers.drawn():
            index = numbers.places[condition]
            mean, name = summary[summary["condition"] == condition], notation.literal(condition)
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
        if metric in numbers.real:
            dashed = go.Scatter(
                x=[-0.5, numbers.last + 0.5], y=[numbers.real[metric]] * 2, mode="lines", name=REAL, legendgroup=REAL,
                showlegend=place == 0, line={"color": style.FAINT, "width": 2, "dash": "dash"},
                hovertemplate="%{y:.4g}",
            )  # fmt: skip
            figure.add_trace(dashed, row + 1, column + 1)
        limits = numbers.limits(metric)
        axis = style.plotly_log_axis(*limits) if limits else {"rangemode": "tozero"}
        figure.update_yaxes(axis, row=row + 1, col=column + 1)
    last = numbers.last
    figure.update_xaxes(range=[-0.5, last + 0.5], tickformat="d", dtick=max(1, last // 10))
    for column in range(columns):
        figure.update_xaxes(title_text=_X, row=rows if rows * columns == len(measured) else None, col=column + 1)
    figure.update_yaxes(title_text=_Y, col=1)
    style.plotly_look(figure, _TITLE, notation.literal(numbers.note()), 170 + 330 * rows)
    return figure
