"""Curves in panels, as a picture and as a page: what most figures of the small families are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from plotly.subplots import make_subplots

from components.figures import notation, style

ACROSS = 2
CROWDED = 6
"""Curves from which on a legend stands in the empty place beside the last panel, where there is one."""


@dataclass(frozen=True)
class Curve:
    """One line: `y` over `x`, with a band from `low` to `high` where there is one. Theory is dashed and has no band."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    theory: bool = False
    marked: bool = False


@dataclass(frozen=True)
class Panel:
    title: str
    curves: Sequence[Curve]
    y: str


def draw_curves(
    title: str, note: str, x: str, panels: Sequence[Panel], log_x: bool = True, log_y: bool = True
) -> tuple[Figure, go.Figure]:
    """The panels in rows of two, each with a legend of its own curves; log axes leave out what is not above 0."""
    return _matplotlib(title, note, x, panels, log_x, log_y), _plotly(title, note, x, panels, log_x, log_y)


def _matplotlib(title: str, note: str, x: str, panels: Sequence[Panel], log_x: bool, log_y: bool) -> Figure:
    columns, rows = min(len(panels), ACROSS), math.ceil(len(panels) / ACROSS)
    figure = style.panels(columns, rows, 6.4, 4.3, title, note)
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, place + 1)
        style.dress(axes, panel.title, x if place + columns >= len(panels) else None, panel.y)
        for curve in panel.curves:
            shown = _shown(curve, log_x, log_y)
            axes.plot(
                shown.x,
                shown.y,
                color=curve.colour,
                label=curve.name,
                linestyle="--" if curve.theory else "-",
                linewidth=1.6 if curve.theory else 2.2,
                marker="o" if curve.marked else None,
                markersize=5,
                zorder=4 if curve.theory else 3,
            )
            if shown.low is not None and shown.high is not None:
                axes.fill_between(shown.x, shown.low, shown.high, color=curve.colour, alpha=0.15, linewidth=0)
        for which, logarithmic in (("x", log_x), ("y", log_y)):
            if logarithmic:
                style.log_axis(axes, which, *_limits(panel, which, log_x, log_y))
        if not log_x:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        beside = place == len(panels) - 1 and 1 < len(panels) < rows * columns and len(panel.curves) > CROWDED
        where: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.05, 0.5)} if beside else {"loc": "best"}
        legend = axes.legend(fontsize=style.FONT - 2, framealpha=0.75, edgecolor="none", **where)
        legend.set_in_layout(not beside)  # the empty place is room enough
    return figure


def _plotly(title: str, note: str, x: str, panels: Sequence[Panel], log_x: bool, log_y: bool) -> go.Figure:
    columns, rows = min(len(panels), ACROSS), math.ceil(len(panels) / ACROSS)
    names = [notation.literal(panel.title) for panel in panels]
    figure = make_subplots(rows, columns, subplot_titles=names, horizontal_spacing=0.1, vertical_spacing=0.22 / rows)
    seen: set[str] = set()
    for place, panel in enumerate(panels):
        row, column = place // columns + 1, place % columns + 1
        for curve in panel.curves:
            shown, name = _shown(curve, log_x, log_y), notation.literal(curve.name)
            if shown.low is not None and shown.high is not None:
                edge = np.concatenate([shown.low, shown.high[::-1]])
                band = go.Scatter(
                    x=np.concatenate([shown.x, shown.x[::-1]]), y=edge, fill="toself", line={"width": 0},
                    fillcolor=curve.colour, opacity=0.15, hoverinfo="skip", legendgroup=name, showlegend=False,
                )  # fmt: skip
                figure.add_trace(band, row, column)
            line = go.Scatter(
                x=shown.x, y=shown.y, name=name, legendgroup=name, showlegend=name not in seen,
                mode="lines+markers" if curve.marked else "lines",
                line={"color": curve.colour, "width": 2.5, "dash": "dash" if curve.theory else "solid"},
                hovertemplate="%{x}: %{y:.4g}",
            )  # fmt: skip
            figure.add_trace(line, row, column)
            seen.add(name)
        for which, logarithmic, update in (("x", log_x, figure.update_xaxes), ("y", log_y, figure.update_yaxes)):
            if logarithmic:
                update(style.plotly_log_axis(*_limits(panel, which, log_x, log_y)), row=row, col=column)
        figure.update_yaxes(title_text=notation.literal(panel.y), row=row, col=column)
    figure.update_xaxes(title_text=x, row=rows)
    style.plotly_look(figure, title, note, 170 + 400 * rows)
    return figure


def _shown(curve: Curve, log_x: bool, log_y: bool) -> Curve:
    """The points that the axes can show: finite, and on a log axis above 0."""
    keep = np.isfinite(curve.y) & (curve.x > 0 if log_x else True) & (curve.y > 0 if log_y else True)
    if curve.low is None or curve.high is None:
        return Curve(curve.name, curve.x[keep], curve.y[keep], curve.colour, None, None, curve.theory, curve.marked)
    low, high = curve.low[keep], curve.high[keep]
    if log_y:
        low = np.where(low > 0, low, curve.y[keep])
    return Curve(curve.name, curve.x[keep], curve.y[keep], curve.colour, low, high, curve.theory, curve.marked)


def _limits(panel: Panel, which: str, log_x: bool, log_y: bool) -> tuple[float, float]:
    values: list[np.ndarray] = []
    for curve in panel.curves:
        shown = _shown(curve, log_x, log_y)
        values += [shown.x] if which == "x" else [part for part in (shown.y, shown.low, shown.high) if part is not None]
    together = np.concatenate(values)
    low, high = float(together.min()), float(together.max())
    room = 1.0 if which == "x" else 1.15
    return low / room, high * room if high > low else low * 10
