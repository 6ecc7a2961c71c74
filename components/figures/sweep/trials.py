"""What the figures of a sweep share: its numbers, how a trial is named, and how a setting becomes a colour.

Names of fields and their values are text from outside: pictures do not read them as formulas, pages escape them.
"""

import html
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, MaxNLocator

from components.figures import style

if TYPE_CHECKING:
    from components.figures.sweep.curve import FittedCurve

REAL_FRACTION = "real_fraction"
ACCENT = style.CONDITION_COLOURS[1]
COLOURS = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 256)))  # without its palest end
PLOTLY_COLOURS = [to_hex(COLOURS(place)) for place in np.linspace(0, 1, 16)]
MOST_NATS = 600  # of collapse, above which no factor is written: exp of it is no number any more
_LINE = 118  # characters of a note


@dataclass(frozen=True)
class SweepFigures:
    """A sweep as its figures take it.

    `trials`: a row a trial: trial, state (completed, pruned, failed or running), generation (the last it reached),
    collapse (nats, there), cost, seconds, best, pareto, and a column for each searched field (numbers or text, missing
    where it did not apply). `paths`: trial, seed, generation, value (the error), collapse (log of it over generation
    0's). `unit`: what cost counts.
    """

    trials: pd.DataFrame
    paths: pd.DataFrame
    fields: Sequence[str]
    objectives: Sequence[str]
    measure: str
    unit: str
    study: optuna.Study
    curve: "FittedCurve | None"


def in_state(sweep: SweepFigures, state: str, *finite: str) -> pd.DataFrame:
    """The trials in a state that have finite numbers in all these columns."""
    chosen = sweep.trials[sweep.trials["state"] == state]
    keep = np.ones(len(chosen), bool)
    for column in finite:
        keep &= np.isfinite(numbers(chosen, column))
    return chosen[keep]


def numbers(rows: pd.DataFrame, column: str) -> np.ndarray:
    """A column as floats; nan where a trial has none."""
    return pd.to_numeric(rows[column], errors="coerce").to_numpy(float, na_value=np.nan)


def numeric_fields(sweep: SweepFigures) -> list[str]:
    """The searched fields whose values are numbers, and not a choice of words or of yes and no."""
    found = []
    for field in sweep.fields:
        values = sweep.trials[field].dropna()
        if len(values) and all(isinstance(value, Real) and not isinstance(value, (bool, np.bool_)) for value in values):
            found.append(field)
    return found


def logarithmic(sweep: SweepFigures, field: str) -> bool:
    """Whether a field was searched on a log scale."""
    for trial in sweep.study.get_trials(deepcopy=False):
        if field in trial.distributions:
            return bool(getattr(trial.distributions[field], "log", False))
    return False


def readable(name: str) -> str:
    return name.replace("_", " ")


def objective_label(sweep: SweepFigures, objective: str) -> str:
    labels = {"collapse": "collapse (nats)", "cost": f"cost ({sweep.unit} of real data)", "seconds": "seconds of work"}
    return labels.get(objective, readable(objective))


def settings(row: pd.Series, fields: Iterable[str]) -> str:
    """What a trial tried, as text: `real fraction 0.35, epochs 4`."""
    shown = [f"{readable(field)} {_value(row[field])}" for field in fields if not pd.isna(row[field])]
    return ", ".join(shown)


def hover(row: pd.Series, sweep: SweepFigures, *lines: str) -> str:
    """A trial's box on a page: its number and state, its settings, and these lines."""
    best = ", the best" if row["best"] else ""
    parts = [f"trial {row['trial']} ({row['state']}{best})", settings(row, sweep.fields), *lines]
    return "<br>".join(html.escape(part) for part in parts if part)


def rise(collapse: float) -> str:
    """How many times the error rose, as text."""
    return f"×{style.short(math.exp(collapse))}" if abs(collapse) < MOST_NATS else ""


def nats(collapse: float) -> str:
    """A collapse as text: nats and the factor."""
    return f"collapse {style.short(collapse)} nats ({rise(collapse)})".replace(" ()", "")


def _value(value: Any) -> str:
    if isinstance(value, Real) and not isinstance(value, (bool, np.bool_)):
        return f"{int(value)}" if float(value).is_integer() and abs(value) < 1e6 else style.short(float(value))
    return str(value)


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


def main_field(sweep: SweepFigures) -> str:
    """What trials are coloured by: real fraction, else the first number that was searched, else their own number."""
    numeric = numeric_fields(sweep)
    return REAL_FRACTION if REAL_FRACTION in numeric else numeric[0] if numeric else "trial"


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
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
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
    bar.outline.set_visible(False)  # type: ignore[operator]


def plotly_scale(scale: Scale) -> dict[str, Any]:
    """What a marker needs to have its colour from the scale, with the bar beside the figure."""
    bar = {"title": {"text": html.escape(scale.name), "side": "right"}, "thickness": 16, "outlinewidth": 0}
    bar |= {"tickvals": list(scale.ticks), "ticktext": list(scale.labels)}
    return {"colorscale": PLOTLY_COLOURS, "cmin": scale.low, "cmax": scale.high, "showscale": True, "colorbar": bar}


def plotly_colour_bar(scale: Scale) -> go.Scatter:
    """The bar alone, for lines, which cannot bring one."""
    marker = {"color": [scale.low], "size": 0.1, **plotly_scale(scale)}
    return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, showlegend=False, hoverinfo="skip")


# --- picture and page ---


def picture(title: str, note: str, height: float = 4.9) -> tuple[Figure, Axes]:
    """A figure of one panel."""
    figure = style.panels(1, 1, 9.4, height, title, "\n".join(textwrap.wrap(note, _LINE)))
    return figure, figure.add_subplot()


def finish_picture(figure: Figure) -> Figure:
    """Names may hold a $: nothing is a formula."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]
    return figure


def finish_page(figure: go.Figure, title: str, note: str, height: int = 620) -> go.Figure:
    lines = [html.escape(line) for line in textwrap.wrap(note, _LINE)]
    style.plotly_look(figure, html.escape(title), "<br>".join(lines), height)
    figure.update_layout(margin={"t": 92 + 18 * len(lines)}, legend={"bgcolor": "rgba(255,255,255,0.7)"})
    return figure


def number_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """A linear axis whose large numbers are short (400k), as on the pages."""
    axes.set(**{f"{which}lim": (low, high)})
    if high >= 1e4:
        (axes.xaxis if which == "x" else axes.yaxis).set_major_formatter(EngFormatter(sep=""))


def factor_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Ticks from `low` to `high` nats that say how many times the error rose: round factors."""
    if max(abs(low), abs(high)) > MOST_NATS:
        return [], []
    least, most = math.exp(low), math.exp(high)
    if most / least > 12:
        factors, labels = style.log_ticks(least, most)
    else:
        places = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(least, most)
        factors = [float(round(place, 12)) for place in places if least <= place <= most and place > 0]
        labels = [f"{factor:g}" for factor in factors]
    return [math.log(factor) for factor in factors], [f"×{label}" for label in labels]


def factor_axis(axes: Axes, measure: str) -> Axes:
    """The same axis on the right in factors, since exp(collapse) is how many times the error rose."""
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.set_yticks(*factor_ticks(*axes.get_ylim()))
    right.set_ylabel(f"{measure}, times generation 0's", fontsize=style.FONT)
    right.tick_params(labelsize=style.FONT - 1, colors=style.INK, length=3)
    right.spines[["top", "left", "right"]].set_visible(False)
    return right


def plotly_factor_axis(figure: go.Figure, measure: str, low: float, high: float) -> None:
    """The same for a page: a second y axis that follows the first, with a trace nobody sees, without which it is not drawn."""
    ticks, labels = factor_ticks(low, high)
    title = {"text": html.escape(f"{measure}, times generation 0's"), "standoff": 8}
    axis = {"overlaying": "y", "side": "right", "matches": "y", "showgrid": False, "zeroline": False, "title": title}
    figure.add_trace(go.Scatter(x=[None], y=[None], yaxis="y2", showlegend=False, hoverinfo="skip"))
    figure.update_layout(yaxis2={**axis, "tickvals": ticks, "ticktext": labels})
