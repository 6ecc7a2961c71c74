"""Collapse against the share of real data: every trial, the curve fitted to them and what it says is enough.

Completed trials are dots (small: a seed, big: their mean), pruned ones hollow: theirs is an earlier generation's value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.figures import notation, style
from components.figures.sweep import drawing, trials
from components.figures.sweep.drawing import ACCENT
from components.figures.sweep.trials import REAL_FRACTION, SweepFigures

CAPTION = (
    "Collapse against the share of real data: small dots are seeds, big ones their mean, hollow ones pruned trials at "
    "the last generation they reached. The line is the fitted curve with its 95 % band; the scale on the right is "
    "exp(collapse): of a perplexity, how many times it rose."
)
_TITLE = "Collapse against the share of real data"
_X, _Y = "real fraction (share of real data in every training set)", "collapse (nats)"
_FIT, _SEED, _PRUNED = "fitted curve, 95 % band", "at a seed's height", "pruned, at its last generation"


@dataclass(frozen=True)
class FittedCurve:
    """Collapse as a function of the real fraction.

    `line`: real_fraction, mean, low, high (95 % band). `by_seed`: seed, real_fraction, collapse. `note`: what the curve
    is, in words. `least`: the least real fraction that keeps collapse under `threshold`: estimate, low, high.
    """

    line: pd.DataFrame
    by_seed: pd.DataFrame
    note: str
    threshold: float | None
    least: tuple[float, float, float] | None


@dataclass(frozen=True)
class _Drawn:
    """What both kinds draw: trials with their mean, seeds, pruned trials, colours of the dots and the axes' ends."""

    completed: pd.DataFrame
    seeds: pd.DataFrame
    pruned: pd.DataFrame
    colours: dict[int, str]
    scale: drawing.Scale | None
    x: tuple[float, float]
    y: tuple[float, float]


def possible(sweep: SweepFigures) -> bool:
    """Whether real fraction was searched and there is a trial to draw."""
    if REAL_FRACTION not in trials.numeric_fields(sweep):
        return False
    return any(len(trials.in_state(sweep, state, REAL_FRACTION, "collapse")) for state in ("completed", "pruned"))


def draw(sweep: SweepFigures) -> tuple[Figure, go.Figure]:
    """Where another number was searched too, dots have its colour: it is why they are off the curve."""
    completed = trials.in_state(sweep, "completed", REAL_FRACTION, "collapse")
    pruned = trials.in_state(sweep, "pruned", REAL_FRACTION, "collapse")
    ends = completed[["trial", "generation", REAL_FRACTION]].astype({REAL_FRACTION: float})
    seeds = sweep.paths.merge(ends, on=["trial", "generation"])
    seeds = seeds[np.isfinite(seeds["collapse"])]
    others = [field for field in trials.numeric_fields(sweep) if field != REAL_FRACTION]
    scale, colours = None, dict.fromkeys(completed["trial"], style.CONDITION_COLOURS[0])
    if others:
        scale, values = drawing.scale_of(sweep, others[0])
        colours = {trial: scale.colour(values[trial]) for trial in completed["trial"]}
    drawn = _Drawn(completed, seeds, pruned, colours, scale, *_ends(sweep.curve, completed, seeds, pruned))
    return _matplotlib(sweep, drawn), _plotly(sweep, drawn)


def _matplotlib(sweep: SweepFigures, drawn: _Drawn) -> Figure:
    figure, axes = drawing.picture(_TITLE, _note(sweep, drawn), height=5.4)
    style.dress(axes, "", _X, _Y)
    axes.set(xlim=drawn.x, ylim=drawn.y)
    if sweep.curve:
        _fit(axes, sweep.curve, drawn.y)
    axes.plot(
        trials.numbers(drawn.pruned, REAL_FRACTION), drawn.pruned["collapse"], linestyle="none", marker="o", markersize=7,
        markerfacecolor="none", markeredgecolor=style.FAINT, markeredgewidth=1.3, label=_PRUNED if len(drawn.pruned) else None,
    )  # fmt: skip
    several = drawn.seeds["seed"].nunique() > 1
    for name, rows, size in (("a seed", drawn.seeds, 16), ("mean of a trial", drawn.completed, 62)):
        if size < 20 and not several:
            continue
        axes.scatter(
            trials.numbers(rows, REAL_FRACTION), rows["collapse"], s=size, c=[drawn.colours[one] for one in rows["trial"]],
            edgecolors="white", linewidths=0.3 if size < 20 else 0.9, zorder=4 if size < 20 else 5,
            label=name if several else "a trial",
        )  # fmt: skip
    right = drawing.factor_axis(axes, sweep.measure)
    if drawn.scale:
        drawing.colour_bar(figure, right, drawn.scale)
    axes.legend(fontsize=style.FONT - 1, framealpha=0.8, edgecolor="none", loc="upper right").set_zorder(6)
    return drawing.finish_picture(figure)


def _fit(axes: Axes, curve: FittedCurve, y: tuple[float, float]) -> None:
    line = _line(curve, y)
    axes.fill_between(line[REAL_FRACTION], line["low"], line["high"], color=ACCENT, alpha=0.15, linewidth=0)
    for index, (_, seed) in enumerate(curve.by_seed.groupby("seed")):
        seed = seed.sort_values(REAL_FRACTION)
        axes.plot(
            seed[REAL_FRACTION], seed["collapse"], color=ACCENT, alpha=0.5, linewidth=1, label="_" * bool(index) + _SEED
        )
    axes.plot(line[REAL_FRACTION], line["mean"], color=ACCENT, linewidth=3, label=_FIT, zorder=3)
    if curve.threshold is not None:
        axes.axhline(
            curve.threshold, color=style.INK, linewidth=1.4, linestyle="--", label=_threshold(curve.threshold), zorder=2
        )
    span = _span(curve)
    if span:
        estimate, low, high = span
        axes.axvspan(low, high, color=style.REAL, alpha=0.45, linewidth=0, zorder=0)
        axes.axvline(estimate, color=style.INK, linewidth=1.2, linestyle=":", label=_least(span), zorder=2)


def _plotly(sweep: SweepFigures, drawn: _Drawn) -> go.Figure:
    figure = go.Figure()
    if sweep.curve:
        figure.add_traces(_fit_traces(sweep.curve, drawn.y))
        span = _span(sweep.curve)
        if span:
            figure.add_vrect(x0=span[1], x1=span[2], fillcolor=style.REAL, opacity=0.35, line_width=0, layer="below")
    if len(drawn.pruned):
        late = [
            trials.hover(row, sweep, f"at generation {row['generation']:.0f}: {trials.nats(row['collapse'])}")
            for _, row in drawn.pruned.iterrows()
        ]
        hollow = {"symbol": "circle-open", "size": 10, "color": style.FAINT, "line": {"width": 1.6}}
        x = trials.numbers(drawn.pruned, REAL_FRACTION)
        figure.add_trace(drawing.dots(x, drawn.pruned["collapse"], _PRUNED, late, hollow))
    by_trial = drawn.completed.set_index("trial", drop=False)
    several = drawn.seeds["seed"].nunique() > 1
    for name, rows, size in (("a seed", drawn.seeds, 6), ("mean of a trial", drawn.completed, 12)):
        if size < 10 and not several:
            continue
        texts = []
        for _, row in rows.iterrows():
            seed = [f"seed {row['seed']:.0f}"] if "seed" in row else []
            texts.append(trials.hover(by_trial.loc[row["trial"]], sweep, *seed, trials.nats(row["collapse"])))
        edge = {"width": 1 if size > 10 else 0.4, "color": "white"}
        marker = {"size": size, "color": [drawn.colours[one] for one in rows["trial"]], "line": edge}
        x = trials.numbers(rows, REAL_FRACTION)
        figure.add_trace(drawing.dots(x, rows["collapse"], name if several else "a trial", texts, marker))
    if drawn.scale:
        bar = drawing.plotly_colour_bar(drawn.scale)
        bar.marker.colorbar.x = 1.09  # beside the factors
        figure.add_trace(bar)
    drawing.plotly_factor_axis(figure, sweep.measure, *drawn.y)
    figure.update_xaxes(range=drawn.x, title_text=_X, zeroline=False)
    figure.update_layout(yaxis={"range": drawn.y, "title": {"text": _Y}, "zeroline": False})
    drawing.finish_page(figure, _TITLE, _note(sweep, drawn), height=660)
    figure.update_layout(legend={"x": 0.99, "y": 0.99, "xanchor": "right", "yanchor": "top"}, hovermode="closest")
    return figure


def _fit_traces(curve: FittedCurve, y: tuple[float, float]) -> list[go.Scatter]:
    line = _line(curve, y)
    x, places = line[REAL_FRACTION].to_numpy(), "real fraction %{x:.3g}: %{y:.3g} nats"
    edge = np.concatenate([line["low"], line["high"][::-1]])
    band = go.Scatter(
        x=np.concatenate([x, x[::-1]]), y=edge, fill="toself", fillcolor=ACCENT, opacity=0.15, line={"width": 0},
        hoverinfo="skip", showlegend=False, legendgroup=_FIT,
    )  # fmt: skip
    traces = [band]
    for index, (name, seed) in enumerate(curve.by_seed.groupby("seed")):
        seed = seed.sort_values(REAL_FRACTION)
        thin = drawing.line(
            seed[REAL_FRACTION], seed["collapse"], _SEED, ACCENT, 1.2, opacity=0.55, legendgroup=_SEED,
            showlegend=index == 0, hovertemplate=f"{places}<extra>at the height of seed {name}</extra>",
        )  # fmt: skip
        traces.append(thin)
    bold = drawing.line(
        x, line["mean"], _FIT, ACCENT, 4, legendgroup=_FIT, customdata=line[["low", "high"]].to_numpy(),
        hovertemplate=f"{places} (%{{customdata[0]:.3g}} to %{{customdata[1]:.3g}})<extra>fitted curve</extra>",
    )  # fmt: skip
    traces.append(bold)
    # Lines as traces, not shapes: they have a place in the legend, which says what they are.
    if curve.threshold is not None:
        traces.append(
            drawing.line([-10, 10], [curve.threshold] * 2, _threshold(curve.threshold), style.INK, 1.5, dash="dash")
        )
    span = _span(curve)
    if span:
        traces.append(drawing.line([span[0]] * 2, _beyond(y), _least(span), style.INK, 1.5, dash="dot"))
    return traces


def _line(curve: FittedCurve, y: tuple[float, float]) -> pd.DataFrame:
    """The fitted line from left to right; its band, which may be endless, as far as it can be seen."""
    line = curve.line.sort_values(REAL_FRACTION)
    return line.assign(low=line["low"].clip(*_beyond(y)), high=line["high"].clip(*_beyond(y)))


def _beyond(y: tuple[float, float]) -> tuple[float, float]:
    return y[0] - (y[1] - y[0]), y[1] + (y[1] - y[0])


def _span(curve: FittedCurve) -> tuple[float, float, float] | None:
    """The least fraction with its interval, as far as the axis goes; none without an estimate."""
    if curve.least is None or not math.isfinite(curve.least[0]):
        return None
    estimate, low, high = curve.least
    return estimate, max(low, 0.0) if low == low else 0.0, min(high, 1.0) if high == high else 1.0


def _threshold(threshold: float) -> str:
    return f"threshold {notation.short(threshold)} nats ({trials.rise(threshold)})"


def _least(span: Sequence[float]) -> str:
    estimate, low, high = (notation.short(value) for value in span)
    return f"least real fraction under it: {estimate} ({low} to {high})"


def _ends(
    curve: FittedCurve | None, completed: pd.DataFrame, seeds: pd.DataFrame, pruned: pd.DataFrame
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the axes begin and end: all dots, the curve and the threshold; of the band what is not far from them."""
    x = [trials.numbers(rows, REAL_FRACTION) for rows in (completed, pruned)]
    y = [rows["collapse"].to_numpy(float) for rows in (completed, seeds, pruned)] + [np.zeros(1)]
    if curve is not None:
        x.append(curve.line[REAL_FRACTION].to_numpy(float))
        y += [curve.line["mean"].to_numpy(float), curve.by_seed["collapse"].to_numpy(float)]
        y += [np.array([curve.threshold])] if curve.threshold is not None else []
    low, high = _finite_ends(y)
    if curve is not None:
        room = 0.3 * (high - low)
        bottom, top = _finite_ends([curve.line["low"].to_numpy(float), curve.line["high"].to_numpy(float), *y])
        low, high = max(bottom, low - room), min(top, high + room)
    left, right = _finite_ends(x)
    x_room, y_room = 0.03 * (right - left) or 0.05, 0.05 * (high - low) or 0.1
    return (left - x_room, right + x_room), (low - y_room, high + y_room)


def _finite_ends(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    together = np.concatenate(parts)
    together = together[np.isfinite(together)]
    return float(together.min()), float(together.max())


def _note(sweep: SweepFigures, drawn: _Drawn) -> str:
    parts = []
    if sweep.curve:
        parts.append(sweep.curve.note.rstrip(". "))
    if len(drawn.pruned):
        parts.append("hollow: pruned trials, with the collapse of the last generation they reached")
    reached = trials.in_state(sweep, "completed", REAL_FRACTION)
    if missing := len(reached) - len(drawn.completed):
        parts.append(f"left out: {missing} completed trial{'s' * (missing > 1)} whose collapse is not finite")
    return "; ".join(parts) or "a dot a trial"
