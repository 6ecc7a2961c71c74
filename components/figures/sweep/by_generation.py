"""The error of every trial by generation: a line a trial, coloured by what it tried.

Trials that were pruned or failed end early; a mark says so. The best trial's line is bold.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure

from components.figures import notation, style
from components.figures.sweep import drawing, trials
from components.figures.sweep.trials import SweepFigures

CAPTION = (
    "The error on real data by generation, a line a trial (mean over its seeds), coloured by what it tried; the best "
    "trial is bold. A cross is where a trial was pruned. On the page, pointing at a line names the trial."
)
_X = "generation (0: fitted on real data)"
_ENDS = {"pruned": ("x", "x-thin", "pruned here"), "failed": ("+", "cross-thin", "failed here")}


def draw(sweep: SweepFigures) -> tuple[Figure, go.Figure]:
    """The y axis is logarithmic if the trials span more than a factor of ten."""
    lines = means(sweep.paths)
    lines = lines[np.isfinite(lines["value"])]
    rows = sweep.trials[sweep.trials["trial"].isin(lines["trial"])].sort_values("best")  # the best on top
    return _matplotlib(sweep, rows, lines), _plotly(sweep, rows, lines)


def means(paths: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of value and collapse by trial and generation.

    Only generations that all seeds of the trial have reached: a mean over some of them jumps. Where one is infinite or
    not a number, so is the mean.
    """
    paths = paths.astype({"value": float, "collapse": float})  # of no rows, too
    groups = paths.groupby(["trial", "generation"])[["value", "collapse"]]
    table = groups.mean(skipna=False).reset_index()
    table["seeds"] = paths.groupby(["trial", "generation"])["seed"].nunique().to_numpy()
    whole = table["seeds"] == table.groupby("trial")["seeds"].transform("max")
    return table[whole].sort_values(["trial", "generation"]).reset_index(drop=True)


def _matplotlib(sweep: SweepFigures, rows: pd.DataFrame, lines: pd.DataFrame) -> Figure:
    scale, numbers = drawing.scale_of(sweep, trials.main_field(sweep))
    figure, axes = drawing.picture(_title(sweep), _note(sweep, rows, lines))
    style.dress(axes, "", _X, sweep.measure)
    style.generation_axis(axes, int(lines["generation"].max()))
    logarithmic, low, high = _range(lines)
    if logarithmic:
        style.log_axis(axes, "y", low, high)
    else:
        axes.set_ylim(low, high)
    ended: set[str] = set()
    for _, row in rows.iterrows():
        line, colour = lines[lines["trial"] == row["trial"]], scale.colour(numbers[row["trial"]])
        axes.plot(
            line["generation"], line["value"], color=colour, linewidth=3.4 if row["best"] else 1.6,
            marker="o", markersize=5.5 if row["best"] else 3.5, label=f"best: trial {row['trial']}" if row["best"] else None,
            zorder=3 if row["best"] else 2,
        )  # fmt: skip
        if row["state"] in _ENDS:
            marker, _, label = _ENDS[row["state"]]
            axes.plot(
                line["generation"].iloc[-1:], line["value"].iloc[-1:], color=style.INK, marker=marker, markersize=9,
                markeredgewidth=2, linestyle="none", zorder=4, label=None if row["state"] in ended else label,
            )  # fmt: skip
            ended.add(row["state"])
    drawing.colour_bar(figure, axes, scale)
    drawing.legend(axes)
    return drawing.finish_picture(figure)


def _plotly(sweep: SweepFigures, rows: pd.DataFrame, lines: pd.DataFrame) -> go.Figure:
    scale, numbers = drawing.scale_of(sweep, trials.main_field(sweep))
    figure = go.Figure()
    ended: set[str] = set()
    for _, row in rows.iterrows():
        line, colour = lines[lines["trial"] == row["trial"]], scale.colour(numbers[row["trial"]])
        texts = [trials.hover(row, sweep, *_point(sweep, point)) for _, point in line.iterrows()]
        path = go.Scatter(
            x=line["generation"], y=line["value"], mode="lines+markers", hovertext=texts, hoverinfo="text",
            line={"color": colour, "width": 4 if row["best"] else 2}, marker={"size": 8 if row["best"] else 6},
            name=f"{'best: ' * bool(row['best'])}trial {row['trial']}", showlegend=bool(row["best"]),
        )  # fmt: skip
        figure.add_trace(path)
        if row["state"] in _ENDS:
            _, symbol, label = _ENDS[row["state"]]
            marker = {"symbol": symbol, "size": 10, "line": {"width": 2.5, "color": style.INK}}
            legend = {"legendgroup": row["state"], "showlegend": row["state"] not in ended}
            last = line.iloc[-1:]
            figure.add_trace(drawing.dots(last["generation"], last["value"], label, texts[-1:], marker, **legend))
            ended.add(row["state"])
    figure.add_trace(drawing.plotly_colour_bar(scale))
    logarithmic, low, high = _range(lines)
    figure.update_yaxes(style.plotly_log_axis(low, high) if logarithmic else {"range": [low, high]})
    figure.update_yaxes(title_text=notation.literal(sweep.measure))
    last = int(lines["generation"].max())
    figure.update_xaxes(range=[-0.5, last + 0.5], tickformat="d", dtick=max(1, last // 10), title_text=_X)
    drawing.finish_page(figure, _title(sweep), _note(sweep, rows, lines))
    figure.update_layout(legend=drawing.PLOTLY_LEGEND, hovermode="closest")
    return figure


def _title(sweep: SweepFigures) -> str:
    return f"{sweep.measure[:1].upper()}{sweep.measure[1:]} by generation, a line a trial"


def _point(sweep: SweepFigures, point: pd.Series) -> list[str]:
    value = f"generation {point['generation']:.0f}: {sweep.measure} {notation.short(point['value'])}"
    return [value, trials.nats(point["collapse"])] if np.isfinite(point["collapse"]) else [value]


def _range(lines: pd.DataFrame) -> tuple[bool, float, float]:
    low, high = float(lines["value"].min()), float(lines["value"].max())
    if 0 < low * 10 < high:
        return True, low / 1.25, high * 1.25
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return False, low - room, high + room


def _note(sweep: SweepFigures, rows: pd.DataFrame, lines: pd.DataFrame) -> str:
    seeds = int(lines["seeds"].max())
    parts = [f"mean over {seeds} seeds" if seeds > 1 else "one seed a trial"]
    if rows["best"].any():
        parts.append(f"bold: the best trial ({sweep.best_means})")
    if (rows["state"] == "pruned").any():
        parts.append("a cross (×): pruned after that generation")
    if (rows["state"] == "failed").any():
        parts.append("a plus (+): failed after it")
    field = trials.main_field(sweep)
    if not np.isfinite(trials.numbers(rows, field)).all():
        parts.append(f"grey: trials without {trials.readable(field)}")
    everywhere = means(sweep.paths)
    if missing := int((~np.isfinite(everywhere["value"])).sum()):
        parts.append(f"left out: {missing} points that are not finite")
    return "; ".join(parts)
