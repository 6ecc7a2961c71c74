"""Figure 11 of the paper: how likely each generated training sequence is to the model fitted on real data.

One histogram a generation on a log x axis. The paper's two signatures: the mass moves to low perplexity (left), while
sequences that the real data would never give form a long tail (right); the second column, log y, shows that tail.

The paper shows real training text as generation 0's. It was fitted to that, so the text is likelier
to it than other real text. Here real text is the test split, which no model has seen.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from components.figures import notation, style

CAPTION = (
    "Perplexity of each sequence under the generation-0 model, one histogram for what each generation wrote, real "
    "test text in grey, without separators (figure 11 of the paper); seeds pooled. Left: where the mass moves. "
    "Right: the same on a logarithmic axis, where a tail of improbable sequences would show."
)
REAL = -1
BINS = 48
X_LABEL, Y_LABEL = "perplexity of a sequence under the generation-0 model", "share of sequences"
_TITLE = "Generated sequences, as the generation-0 model sees them"


@dataclass(frozen=True)
class Histograms:
    """What figures 11 and 15 draw, by (condition, generation), with the generation REAL for real text."""

    conditions: list[str]
    generations: list[int]  # those shown
    seeds: int
    edges: NDArray[np.float64]  # (BINS + 1,), evenly spaced in the logarithm, the same for every histogram
    shares: dict[tuple[str, int], NDArray[np.float64]]  # (BINS,), summing to 1
    medians: dict[tuple[str, int], float]
    tails: dict[tuple[str, int], float]  # 99th percentile
    smallest: float  # the share of one sequence in the largest set

    def drawn(self, condition: str) -> list[int]:
        """The generations that this condition has, REAL first if it has real text."""
        return [generation for generation in [REAL, *self.generations] if (condition, generation) in self.shares]


def histograms(scores: pd.DataFrame) -> Histograms:
    """Shares of sequences by perplexity from scores (condition, seed, generation, set, row, perplexity), seeds pooled.

    Used are the set `synthetic` of each generation and the set `test` of generation 0, both scored
    by generation 0's model. An infinite perplexity counts as the largest finite one; one that is
    not a number raises ValueError.
    """
    is_real = (scores["set"] == "test") & (scores["generation"] == 0)
    chosen = scores[(scores["set"] == "synthetic") | is_real]
    if chosen["perplexity"].isna().any():
        raise ValueError("scores hold a perplexity that is not a number")
    generations = style.shown_generations(chosen.loc[chosen["set"] == "synthetic", "generation"].astype(int).tolist())
    column = np.where(chosen["set"] == "test", REAL, chosen["generation"])
    chosen = chosen.assign(drawn=column)[np.isin(column, [REAL, *generations])]
    finite = chosen["perplexity"][np.isfinite(chosen["perplexity"])]
    low, high = float(finite.min()), float(finite.max())
    middle = np.sqrt(low * high)
    low, high = min(low, middle / 2), max(high, middle * 2)  # a factor of four, or one value would fill the axis
    edges = np.geomspace(low, high, BINS + 1)
    edges[0], edges[-1] = low, high  # geomspace may round past the outermost values
    shares, medians, tails, largest = {}, {}, {}, 1
    for condition, generation in chosen[["condition", "drawn"]].drop_duplicates().itertuples(index=False):
        of_it = (chosen["condition"] == condition) & (chosen["drawn"] == generation)
        values, key = chosen.loc[of_it, "perplexity"].clip(low, high).to_numpy(), (str(condition), int(generation))
        shares[key] = np.histogram(values, bins=edges)[0] / values.size
        medians[key], tails[key] = (float(quantile) for quantile in np.quantile(values, [0.5, 0.99]))
        largest = max(largest, values.size)
    conditions, seeds = notation.conditions_of(chosen), int(chosen["seed"].nunique())
    return Histograms(conditions, generations, seeds, edges, shares, medians, tails, 1 / largest)


def draw(scores: pd.DataFrame) -> tuple[Figure, go.Figure]:
    """Figure 11 from scores (condition, seed, generation, set, row, perplexity): y linear and log."""
    numbers = histograms(scores)
    return _matplotlib(numbers), _plotly(numbers)


def label(generation: int) -> str:
    return "real text" if generation == REAL else f"generation {generation}"


def seeds_note(numbers: Histograms) -> str:
    return f"{numbers.seeds} seeds pooled" if numbers.seeds > 1 else "one seed"


def _matplotlib(numbers: Histograms) -> Figure:
    rows, colours = len(numbers.conditions), style.generation_colours(numbers.generations)
    note = f"grey: real test text; outlines: sequences written by each generation; {seeds_note(numbers)}"
    figure = style.panels(2, rows, 6.4, 3.9, _TITLE, note)
    panels = figure.subplots(rows, 2, sharex=True, sharey="col", squeeze=False)
    for (linear, tail), condition in zip(panels, numbers.conditions, strict=True):
        x_label = X_LABEL if condition == numbers.conditions[-1] else None
        style.dress(linear, condition, x_label, Y_LABEL)
        style.dress(tail, f"{condition}, log y: the tail", x_label, None)
        for axes in (linear, tail):
            for generation in numbers.drawn(condition):
                shares = numbers.shares[condition, generation]
                median, percentile = numbers.medians[condition, generation], numbers.tails[condition, generation]
                text = f"{label(generation)}: {notation.short(median)} | {notation.short(percentile)}"
                if generation == REAL:
                    axes.stairs(shares, numbers.edges, fill=True, color=style.REAL, label=text)
                else:
                    axes.stairs(shares, numbers.edges, color=colours[generation], linewidth=1.9, label=text)
        legend = tail.legend(fontsize=style.FONT - 2, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        legend.set_title("median | 99th percentile", {"size": style.FONT - 2})
    for linear, tail in panels:
        style.log_axis(linear, "x", numbers.edges[0], numbers.edges[-1])
        style.log_axis(tail, "x", numbers.edges[0], numbers.edges[-1])
        linear.set_ylim(bottom=0)
        style.log_axis(tail, "y", *_tail_range(numbers))
    return figure


def _plotly(numbers: Histograms) -> go.Figure:
    rows, colours = len(numbers.conditions), style.generation_colours(numbers.generations)
    titles = [
        notation.literal(text)
        for condition in numbers.conditions
        for text in (condition, f"{condition}, log y: the tail")
    ]
    figure = make_subplots(
        rows, 2, shared_xaxes="all", shared_yaxes="columns", subplot_titles=titles, horizontal_spacing=0.07,
        vertical_spacing=0.24 / rows,
    )  # fmt: skip
    low, high = _tail_range(numbers)
    for row, condition in enumerate(numbers.conditions):
        for generation in numbers.drawn(condition):
            shares = np.append(numbers.shares[condition, generation], 0)
            median, tail = numbers.medians[condition, generation], numbers.tails[condition, generation]
            name, colour = label(generation), style.REAL if generation == REAL else colours[generation]
            for column in (1, 2):
                trace = go.Scatter(
                    x=numbers.edges, y=np.maximum(shares, low / 10) if column == 2 else shares,  # log y knows no 0
                    customdata=shares, mode="lines", line={"shape": "hv", "color": colour, "width": 2.2}, name=name,
                    fill="tozeroy" if generation == REAL else None, legendgroup=name,
                    showlegend=row == 0 and column == 1,
                    hovertemplate=f"perplexity from %{{x:.4g}}: %{{customdata:.2%}} of sequences<br>"
                    f"median {median:.4g}, 99th percentile {tail:.4g}<extra>{notation.literal(condition)}, {name}</extra>",
                )  # fmt: skip
                figure.add_trace(trace, row + 1, column)
    figure.update_xaxes(style.plotly_log_axis(numbers.edges[0], numbers.edges[-1]), showticklabels=True)
    figure.update_yaxes(title_text=Y_LABEL, range=[0, high / 1.4], col=1)
    figure.update_yaxes(style.plotly_log_axis(low, high), col=2)
    figure.update_xaxes(title_text=X_LABEL, row=rows)
    note = f"grey: real test text; outlines: sequences written by each generation; {seeds_note(numbers)}"
    style.plotly_look(figure, _TITLE, note, 180 + 360 * rows)
    return figure


def _tail_range(numbers: Histograms) -> tuple[float, float]:
    """The log y axis: from half a sequence to above the highest bin."""
    return numbers.smallest / 2, 1.5 * max(float(shares.max()) for shares in numbers.shares.values())
