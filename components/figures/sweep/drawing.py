"""How the figures of a sweep look: colours of a setting, marks and lines of pages, axes in nats and in factors.

Names are text from outside: pictures do not read them as formulas, pages escape them.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, MaxNLocator

from components.figures import notation, style
from components.figures.sweep.trials import MOST_NATS, SweepFigures, logarithmic, numbers, readable

ACCENT = style.CONDITION_COLOURS[1]
COLOURS = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))  # without its palest end
PLOTLY_COLOURS = [to_hex(COLOURS(place)) for place in np.linspace(0, 1, 16)]
_LINE, _PAGE_LINE = 118, 150  # characters of a note


# --- colours of a setting ---


@dataclass(frozen=True)
class Scale:
    """A continuous scale of colours over a number that trials have; grey where a trial has none."""

    name: str
    low: float
    high: float
    log: bool
    ticks: Sequence[float]
    labels: Sequence[str]

    def place(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def colour(self, value: float) -> str:
        if not math.isfinite(value):
            return style.FAINT
        return to_hex(COLOURS((self.place(value) - self.low) / (self.high - self.low)))


def scale_of(sweep: SweepFigures, field: str) -> tuple[Scale, dict[int, float]]:
    """Colours by a field, and every trial's number of it."""
    values = numbers(sweep.trials, field)
    by_trial = dict(zip(sweep.trials["trial"], values, strict=True))
    log = field != "trial" and logarithmic(sweep, field)
    low, high, ticks, labels = axis_of(values[np.isfinite(values)], log)
    return Scale(readable(field), low, high, log, ticks, labels), by_trial


def axis_of(values: np.ndarray, log: bool) -> tuple[float, float, list[float], list[str]]:
    """From where to where an axis of these values goes, its ticks and their labels; of a log axis the places are exponents."""
    low, high = float(values.min()), float(values.max())
    whole = bool((values == np.round(values)).all())
    if low == high:
        place = math.log10(low) if log else low
        return place - 0.5, place + 0.5, [place], [notation.short(low)]
    if log:
        ticks, labels = style.log_ticks(low, high)
        if len(ticks) > 1:
            return math.log10(low), math.log10(high), [math.log10(tick) for tick in ticks], labels
    places = MaxNLocator(nbins=6, integer=whole).tick_values(low, high)
    ticks = [float(round(place, 12)) for place in places if low <= place <= high]
    labels = [f"{tick:g}" for tick in ticks]
    if log:
        return math.log10(low), math.log10(high), [math.log10(tick) for tick in ticks], labels
    return low, high, ticks, labels


def colour_bar(figure: Figure, axes: Axes, scale: Scale) -> None:
    mapped = ScalarMappable(Normalize(scale.low, scale.high), COLOURS)
    bar = figure.colorbar(mapped, ax=axes, pad=0.02, aspect=28)
    bar.set_ticks(list(scale.ticks), labels=list(scale.labels))
    bar.set_label(scale.name, fontsize=style.FONT)
    bar.ax.tick_params(labelsize=style.FONT - 1)
    bar.outline.set_visible(False)


def plotly_scale(scale: Scale) -> dict[str, Any]:
    """What a marker needs to have its colour from the scale, with the bar beside the figure."""
    bar = {"title": {"text": notation.literal(scale.name), "side": "right"}, "thickness": 16, "outlinewidth": 0}
    bar |= {"tickvals": list(scale.ticks), "ticktext": list(scale.labels)}
    return {"colorscale": PLOTLY_COLOURS, "cmin": scale.low, "cmax": scale.high, "showscale": True, "colorbar": bar}


def plotly_colour_bar(scale: Scale) -> go.Scatter:
    """The bar alone, for lines, which cannot bring one."""
    marker = {"color": [scale.low], "size": 0.1, **plotly_scale(scale)}
    return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, showlegend=False, hoverinfo="skip")


# --- picture and page ---


def dots(x: Any, y: Any, name: str, boxes: list[str], marker: dict[str, Any], **more: Any) -> go.Scatter:
    """Marks of a page with a box each."""
    return go.Scatter(x=x, y=y, mode="markers", name=name, marker=marker, hoverinfo="text", hovertext=boxes, **more)


def line(x: Any, y: Any, name: str, colour: str, width: float, dash: str = "solid", **more: Any) -> go.Scatter:
    """A line of a page, without boxes unless `more` has them."""
    look = {"color": colour, "width": width, "dash": dash, "shape": more.pop("shape", "linear")}
    if "hovertemplate" not in more:
        more["hoverinfo"] = "skip"
    return go.Scatter(x=x, y=y, mode="lines", name=name, line=look, **more)


def picture(title: str, note: str, height: float = 4.9) -> tuple[Figure, Axes]:
    """A figure of one panel."""
    figure = style.panels(1, 1, 9.4, height, title, "\n".join(_lines(note, _LINE)))
    return figure, figure.add_subplot()


def legend(axes: Axes) -> None:
    """What marks and lines mean, above the panel, where there is no trial."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            fontsize=style.FONT - 1, frameon=False, ncols=4, columnspacing=1.4, loc="lower right", bbox_to_anchor=(1, 1),
            borderaxespad=0.2,
        )  # fmt: skip


PLOTLY_LEGEND = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.01, "yanchor": "bottom"}


def finish_picture(figure: Figure) -> Figure:
    """Names may hold a $: nothing is a formula."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    return figure


def finish_page(figure: go.Figure, title: str, note: str, height: int = 620) -> go.Figure:
    lines = [notation.literal(line) for line in _lines(note, _PAGE_LINE)]
    style.plotly_look(figure, notation.literal(title), "<br>".join(lines), height)
    figure.update_layout(margin={"t": 92 + 18 * len(lines)}, legend={"bgcolor": "rgba(255,255,255,0.7)"})
    return figure


def _lines(note: str, most: int) -> list[str]:
    """A note in lines of about the same length, so that none is a single word."""
    count = math.ceil(len(note) / most)
    return textwrap.wrap(note, min(most, math.ceil(len(note) / max(count, 1)) + 8))


def number_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """A linear axis whose large numbers are short (400k), as on the pages."""
    axes.set(**{f"{which}lim": (low, high)})
    if high >= 1e4:
        (axes.xaxis if which == "x" else axes.yaxis).set_major_formatter(EngFormatter(sep=""))


def factor_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Ticks from `low` to `high` nats at round factors, exp of them."""
    if max(abs(low), abs(high)) > MOST_NATS:
        return [], []
    least, most = math.exp(low), math.exp(high)
    if most / least > 12:
        factors, labels = style.log_ticks(least, most)
        every = -(-len(factors) // 8)
        factors, labels = factors[::every], labels[::every]
    else:
        places = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(least, most)
        factors = [float(round(place, 12)) for place in places if least <= place <= most and place > 0]
        labels = [f"{factor:g}" for factor in factors]
    return [math.log(factor) for factor in factors], [f"×{label}" for label in labels]


def _factor_label(measure: str) -> str:
    return "times generation 0's perplexity" if "perplexity" in measure else "exp(collapse)"


def factor_axis(axes: Axes, measure: str) -> Axes:
    """The same axis on the right in factors: exp(collapse) is how many times a perplexity rose."""
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.set_yticks(*factor_ticks(*axes.get_ylim()))
    right.set_ylabel(_factor_label(measure), fontsize=style.FONT)
    right.tick_params(labelsize=style.FONT - 1, colors=style.INK, length=3)
    right.spines[["top", "left", "right"]].set_visible(False)
    return right


def plotly_factor_axis(figure: go.Figure, measure: str, low: float, high: float) -> None:
    """The same for a page: a second y axis that follows the first, with a trace nobody sees, without which it is not drawn."""
    ticks, labels = factor_ticks(low, high)
    title = {"text": _factor_label(measure), "standoff": 8}
    axis = {"overlaying": "y", "side": "right", "matches": "y", "showgrid": False, "zeroline": False, "title": title}
    figure.add_trace(go.Scatter(x=[None], y=[None], yaxis="y2", showlegend=False, hoverinfo="skip"))
    figure.update_layout(yaxis2={**axis, "tickvals": ticks, "ticktext": labels})
