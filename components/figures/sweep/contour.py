"""Collapse over two searched numbers, interpolated between the completed trials.

Our own and not Optuna's contour plot, which fills the whole rectangle from a handful of trials (differently on the page and
in the picture) and orders axes by name: here nothing is drawn outside of what the trials enclose.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import LinearTriInterpolator, Triangulation

from components.figures import notation, style
from components.figures.sweep import drawing, trials
from components.figures.sweep.trials import REAL_FRACTION, SweepFigures

CAPTION = (
    "Collapse over two of the searched settings: dots are the completed trials, the colour between them is linear "
    "interpolation, and there is none where no trials enclose a place. Crosses are pruned trials."
)
_GRID = 256  # points a side on the page
_LEVELS = 12


def pair(sweep: SweepFigures) -> tuple[str, str] | None:
    """Real fraction and epochs where both are searched, else the first two numbers, real fraction first."""
    numeric = sorted(trials.numeric_fields(sweep), key=lambda field: field != REAL_FRACTION)
    if {REAL_FRACTION, "epochs"} <= set(numeric):
        return REAL_FRACTION, "epochs"
    return (numeric[0], numeric[1]) if len(numeric) > 1 else None


def surface(sweep: SweepFigures) -> tuple[Triangulation, np.ndarray] | None:
    """Triangles between the completed trials and the collapse at their corners; None where they enclose nothing.

    Coordinates are those of the axes: exponents where a field was searched on a log scale. Trials of the same settings
    are one corner, with their mean.
    """
    fields = pair(sweep)
    if fields is None:
        return None
    rows = trials.in_state(sweep, "completed", "collapse", *fields)
    corners = pd.DataFrame({name: _places(sweep, rows, field) for name, field in zip("xy", fields, strict=True)})
    corners["z"] = trials.numbers(rows, "collapse")
    corners = corners.groupby(["x", "y"])[["z"]].mean().reset_index()
    x, y, z = (corners[name].to_numpy(float) for name in "xyz")
    if len(z) < 3 or not (np.ptp(x) and np.ptp(y) and np.ptp(z)):
        return None
    # Nearest in the figure's plane, whatever the fields' units.
    flat = np.stack([(x - x.min()) / np.ptp(x), (y - y.min()) / np.ptp(y)])
    if np.linalg.matrix_rank(flat - flat[:, :1], tol=1e-6) < 2:
        return None  # all on one line
    return Triangulation(x, y, Triangulation(*flat).triangles), z


def draw(sweep: SweepFigures) -> tuple[Figure, go.Figure]:
    """Only where `surface` finds one."""
    fields, found = pair(sweep), surface(sweep)
    assert fields is not None
    assert found is not None
    return _matplotlib(sweep, fields, *found), _plotly(sweep, fields, *found)


def _matplotlib(sweep: SweepFigures, fields: tuple[str, str], triangles: Triangulation, z: np.ndarray) -> Figure:
    figure, axes = drawing.picture(_title(fields), _note(sweep, fields))
    style.dress(axes, "", trials.readable(fields[0]), trials.readable(fields[1]))
    levels = _levels(z)
    filled = axes.tricontourf(triangles, z, levels=levels, cmap=drawing.COLOURS)
    axes.tricontour(triangles, z, levels=levels, colors="white", linewidths=0.6, alpha=0.7)
    pruned = trials.in_state(sweep, "pruned", *fields)
    if len(pruned):
        places = [_places(sweep, pruned, field) for field in fields]
        axes.plot(
            *places, linestyle="none", marker="x", color=style.FAINT, markersize=7, markeredgewidth=1.6, label="pruned"
        )
    axes.plot(
        triangles.x, triangles.y, linestyle="none", marker="o", markersize=7.5, color=style.INK, markeredgecolor="white",
        markeredgewidth=1.2, label="completed",
    )  # fmt: skip
    best = _best(sweep, fields)
    if len(best):
        places = [_places(sweep, best, field) for field in fields]
        axes.plot(
            *places, linestyle="none", marker="*", markersize=17, color=drawing.ACCENT, markeredgecolor="white",
            label="the best",
        )  # fmt: skip
    for which, field in zip("xy", fields, strict=True):
        _axis(axes, which, sweep, field)
    bar = figure.colorbar(filled, ax=axes, pad=0.02, aspect=28)
    bar.set_label("collapse (nats)", fontsize=style.FONT)
    bar.ax.tick_params(labelsize=style.FONT - 1)
    bar.outline.set_visible(False)
    drawing.legend(axes)
    return drawing.finish_picture(figure)


def _plotly(sweep: SweepFigures, fields: tuple[str, str], triangles: Triangulation, z: np.ndarray) -> go.Figure:
    x, y = (np.linspace(places.min(), places.max(), _GRID) for places in (triangles.x, triangles.y))
    between = LinearTriInterpolator(triangles, z)(*np.meshgrid(x, y)).filled(np.nan).astype(np.float32)
    levels = _levels(z)
    contours = {"start": levels[0], "end": levels[-1], "size": levels[1] - levels[0]}
    bar = {"title": {"text": "collapse (nats)", "side": "right"}, "thickness": 16, "outlinewidth": 0}
    filled = go.Contour(
        x=x, y=y, z=between, colorscale=drawing.PLOTLY_COLOURS, contours=contours, colorbar=bar, connectgaps=False,
        zmin=levels[0], zmax=levels[-1], line={"width": 0.6, "color": "white"}, hoverinfo="skip",
    )  # fmt: skip
    figure = go.Figure(filled)
    markers = {
        "pruned": {"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": style.FAINT}},
        "completed": {"symbol": "circle", "size": 11, "color": style.INK, "line": {"width": 1.5, "color": "white"}},
        "the best": {"symbol": "star", "size": 18, "color": drawing.ACCENT, "line": {"width": 1, "color": "white"}},
    }
    groups = {
        "pruned": trials.in_state(sweep, "pruned", *fields),
        "completed": trials.in_state(sweep, "completed", "collapse", *fields),
        "the best": _best(sweep, fields),
    }
    for name, rows in groups.items():
        if len(rows):
            across, up = (_places(sweep, rows, field) for field in fields)
            boxes = [_text(sweep, row) for _, row in rows.iterrows()]
            figure.add_trace(drawing.dots(across, up, name, boxes, markers[name]))
    for update, field in zip((figure.update_xaxes, figure.update_yaxes), fields, strict=True):
        low, high, ticks, labels = _span(sweep, field)
        name = notation.literal(trials.readable(field))
        update(range=[low, high], tickvals=ticks, ticktext=labels, title_text=name, zeroline=False)
    drawing.finish_page(figure, _title(fields), _note(sweep, fields))
    figure.update_layout(legend=drawing.PLOTLY_LEGEND)
    return figure


def _places(sweep: SweepFigures, rows: pd.DataFrame, field: str) -> np.ndarray:
    values = trials.numbers(rows, field)
    return np.log10(values) if trials.logarithmic(sweep, field) else values


def _best(sweep: SweepFigures, fields: tuple[str, str]) -> pd.DataFrame:
    rows = trials.in_state(sweep, "completed", "collapse", *fields)
    return rows[rows["best"].astype(bool)]


def _levels(z: np.ndarray) -> np.ndarray:
    return np.asarray(MaxNLocator(_LEVELS).tick_values(z.min(), z.max()))


def _span(sweep: SweepFigures, field: str) -> tuple[float, float, list[float], list[str]]:
    """Where an axis begins and ends, with room for the marks, and its ticks."""
    rows = pd.concat([trials.in_state(sweep, state, field) for state in ("completed", "pruned")])
    low, high, ticks, labels = drawing.axis_of(trials.numbers(rows, field), trials.logarithmic(sweep, field))
    return low - 0.05 * (high - low), high + 0.05 * (high - low), ticks, labels


def _axis(axes: Axes, which: str, sweep: SweepFigures, field: str) -> None:
    low, high, ticks, labels = _span(sweep, field)
    axes.set(**{f"{which}lim": (low, high), f"{which}ticks": ticks, f"{which}ticklabels": labels})


def _text(sweep: SweepFigures, row: pd.Series) -> str:
    if row["state"] == "pruned" or not np.isfinite(row["collapse"]):
        return trials.hover(row, sweep)
    return trials.hover(row, sweep, trials.nats(row["collapse"]))


def _title(fields: tuple[str, str]) -> str:
    return f"Collapse over {trials.readable(fields[0])} and {trials.readable(fields[1])}"


def _note(sweep: SweepFigures, fields: tuple[str, str]) -> str:
    note = "linear between the completed trials, blank where they enclose nothing; dark: little collapse"
    others = [trials.readable(field) for field in sweep.fields if field not in fields]
    if others:
        note += f"; trials differ in {', '.join(others)} too"
    if len(_best(sweep, fields)):
        note += f"; star: the best trial ({sweep.best_means})"
    return note
