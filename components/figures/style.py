"""The look all figures share: colours, sizes, axes and ticks, for matplotlib and for plotly alike.

Generations have a sequential, colour-blind safe scale (viridis, without its palest end); conditions have the
qualitative colours of Okabe and Ito. Figures are built as objects, without pyplot's global state.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

DOTS_PER_INCH = 160
FONT = 12
INK, FAINT, GRID, REAL = "#222222", "#767676", "#e3e3e3", "#c4c4c4"
CONDITION_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
CONDITION_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
PLOTLY_MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "star")
PAPER_GENERATIONS = (0, 1, 2, 3, 5, 9)


def line_style(condition: int) -> str:
    """Conditions beyond the colours have them again, dashed."""
    return "-" if condition < len(CONDITION_COLOURS) else "--"


def dash(condition: int) -> str:
    """The same for plotly."""
    return "solid" if condition < len(CONDITION_COLOURS) else "dash"


def shown_generations(generations: Iterable[int]) -> list[int]:
    """All of up to six generations; of more, the paper's 0, 1, 2, 3, 5, 9 (figure 11) and the last."""
    present = sorted(set(generations))
    return present if len(present) <= 6 else [g for g in present if g in PAPER_GENERATIONS or g == present[-1]]


def generation_colours(generations: Sequence[int]) -> dict[int, str]:
    """One colour a generation, dark (early) to light (late); evenly spaced over those that are shown."""
    places = np.linspace(0, 0.9, len(generations)) if len(generations) > 1 else [0.0]
    return {
        generation: to_hex(colormaps["viridis"](place)) for generation, place in zip(generations, places, strict=True)
    }


def log_ticks(low: float, high: float, dense_below: float = 3) -> tuple[list[float], list[str]]:
    """Tick values within [low, high] and their labels: 1, 2, 5 a decade below so many decades, then 1 alone."""
    decades = np.log10(high / low)
    steps = (1, 2, 5) if decades < dense_below else (1,)
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    stride = 1 if decades <= 7 else 2
    values = [step * 10.0**exponent for exponent in exponents if exponent % stride == 0 for step in steps]
    values = [value for value in values if low <= value <= high]
    return values, [f"{value:,.0f}" if 1 <= value < 1e6 else f"{value:g}" for value in values]


def panels(columns: int, rows: int, width: float, height: float, title: str, note: str) -> Figure:
    """An empty figure for `rows` x `columns` panels of `width` x `height` inches, with a title and a note below."""
    size = (max(columns * width, 7.5), rows * height + 1.1)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.10))
    figure.suptitle(title, fontsize=FONT + 4, fontweight="bold", color=INK)
    figure.supxlabel(note, fontsize=FONT - 2, color=FAINT, parse_math=False)  # names may hold a $
    return figure


def dress(axes: Axes, title: str, x: str | None, y: str | None) -> None:
    """Title, labels, a faint grid and no box."""
    axes.set_title(title, fontsize=FONT + 1, color=INK, loc="left", parse_math=False)  # names may hold a $
    if x:
        axes.set_xlabel(x, fontsize=FONT)
    if y:
        axes.set_ylabel(y, fontsize=FONT)
    axes.tick_params(labelsize=FONT - 1, colors=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def generation_axis(axes: Axes, last: int) -> None:
    """Whole generations on x, with half a generation of room on both sides."""
    axes.set_xlim(-0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))


def log_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """A log scale from `low` to `high` on axis `which` (x or y) with plain numbers as labels."""
    values, labels = log_ticks(low, high)
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(values))
    axis.set_ticklabels(labels)
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def plotly_log_axis(low: float, high: float, dense_below: float = 3) -> dict[str, object]:
    """The same axis for plotly (whose log ranges are exponents)."""
    values, labels = log_ticks(low, high, dense_below)
    exponents = [float(np.log10(low)), float(np.log10(high))]
    return {"type": "log", "range": exponents, "tickvals": values, "ticktext": labels}


def plotly_look(figure: go.Figure, title: str, note: str, height: int) -> None:
    """Title, note, fonts and background; the width follows the window."""
    heading = {"text": f"<b>{title}</b><br><sup>{note}</sup>", "x": 0.01, "xanchor": "left", "y": 1 - 28 / height}
    figure.update_layout(
        template="plotly_white", height=height, autosize=True, title=heading, font={"size": 14, "color": INK}
    )
    figure.update_layout(margin={"t": 110, "l": 80, "r": 30, "b": 70}, hoverlabel={"namelength": -1})
    figure.update_annotations(font_size=15)  # the panels' titles
