"""What Optuna has plots of, drawn anew from its numbers: importances, the front of two objectives, the history.

Optuna's own, looked at: the picture of importances gives a second objective's bars the first one's names; the front has two
colour bars and dots that are nearly white; the history of several objectives has no best so far, and none shows that trials
were pruned. All of them name objectives by number. Their pictures change matplotlib's style for the whole process.
"""

from collections.abc import Mapping

import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from components.figures import notation, style
from components.figures.sweep import drawing, trials
from components.figures.sweep.drawing import ACCENT
from components.figures.sweep.trials import SweepFigures

IMPORTANCES_CAPTION = (
    "How much of an objective's variation each searched setting explains alone (fANOVA on the completed trials, shares "
    "that add up to 1). With few trials this is a hint, not a measurement."
)
PARETO_CAPTION = (
    "The two objectives of the completed trials. Those on the front are better than any other in one of them; they were "
    "chosen on the validation split and are drawn with their numbers on the test split, so one may lie above the line. On "
    "the page, pointing at a trial names its settings."
)
HISTORY_CAPTION = (
    "The first objective of the completed trials in the order in which they were begun. The line is that of the trial which "
    "was the best so far, the star the best of all: trials are chosen on the validation split and drawn with their numbers "
    "on the test split. Crosses at the bottom are trials that were pruned."
)
FEWEST = 4  # completed trials that say something about importance
_FRONT_LABEL, _OTHER_LABEL = "on the front", "other completed trials"


# --- importances ---


def importances(sweep: SweepFigures) -> pd.DataFrame:
    """Shares by field (rows, the first objective's most important first) and objective; empty where there is nothing to say.

    fANOVA and not Optuna's default: in a dozen trials PED-ANOVA, which asks what the best tenth have in common, often gets
    the order wrong. It takes the trials that have all fields; of those that differ only where another one is missing (the
    regime, where real fraction belongs to one of them) it can say nothing.
    """
    completed = _with_all_fields(sweep)
    fields = [field for field in sweep.fields if len({str(trial.params[field]) for trial in completed}) > 1]
    columns = {}
    for objective in sweep.objectives:
        values = _reported(sweep, objective)
        finite = np.array([values[trial.number] for trial in completed], float)
        finite = finite[np.isfinite(finite)]
        if len(finite) < FEWEST or len(fields) < 2 or np.ptp(finite) < 1e-12 * np.abs(finite).max():
            continue
        columns[objective] = _fanova(sweep.study, list(sweep.fields), values, fields)
    table = pd.DataFrame(columns, index=fields)
    return table.sort_values(list(table.columns), ascending=False) if columns else table.head(0)


def _with_all_fields(sweep: SweepFigures) -> list[FrozenTrial]:
    completed = sweep.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in completed if all(field in trial.params for field in sweep.fields)]


def _reported(sweep: SweepFigures, objective: str) -> dict[int, float]:
    """By trial what is reported of it: Optuna's own values are those on the validation split."""
    return dict(zip(sweep.trials["trial"], trials.numbers(sweep.trials, objective).tolist(), strict=True))


def _fanova(study: optuna.Study, fields: list[str], values: Mapping[int, float], shown: list[str]) -> dict[str, float]:
    def target(trial: FrozenTrial) -> float:
        return values[trial.number]

    evaluator = FanovaImportanceEvaluator(seed=0)
    found = get_param_importances(study, evaluator=evaluator, params=fields, target=target)
    return {field: float(found[field]) for field in shown}


def draw_importances(sweep: SweepFigures, table: pd.DataFrame) -> tuple[Figure, go.Figure]:
    """`table`: what `importances` found."""
    title, note = "Which setting matters", _importances_note(sweep, table)
    x = "share of the variation that the setting explains alone"
    names = [trials.readable(field) for field in table.index]
    figure, axes = drawing.picture(title, note, height=1.6 + 0.4 * len(table) * (1 + len(table.columns)))
    style.dress(axes, "", x, None)
    page = go.Figure()
    thick = 0.78 / len(table.columns)
    for index, objective in enumerate(table.columns):
        label, colour = trials.objective_label(sweep, objective), style.CONDITION_COLOURS[index % 7]
        texts = [f"{share:.2f}" if share >= 0.01 else "< 0.01" for share in table[objective]]
        places = np.arange(len(table)) + (index - (len(table.columns) - 1) / 2) * thick
        bars = axes.barh(places, table[objective], height=0.92 * thick, color=colour, label=label)
        axes.bar_label(bars, texts, padding=4, fontsize=style.FONT - 1, color=style.INK)
        boxes = [
            f"{notation.literal(name)}: {text} of {notation.literal(label)}"
            for name, text in zip(names, texts, strict=True)
        ]
        bar = go.Bar(
            x=table[objective], y=np.arange(len(table)), orientation="h", name=notation.literal(label), text=texts,
            textposition="outside", cliponaxis=False, marker={"color": colour}, hovertext=boxes, hoverinfo="text",
        )  # fmt: skip
        page.add_trace(bar)
    axes.set_yticks(np.arange(len(table)), names)
    axes.set(xlim=(0, 1.08), ylim=(len(table) - 0.4, -0.6))  # the most important on top
    axes.grid(visible=False, axis="y")
    if len(table.columns) > 1:
        drawing.legend(axes)
    page.update_xaxes(range=[0, 1.08], title_text=x)
    ticks = {"tickvals": list(range(len(table))), "ticktext": [notation.literal(name) for name in names]}
    page.update_yaxes(range=[len(table) - 0.4, -0.6], showgrid=False, automargin=True, **ticks)
    drawing.finish_page(page, title, note, height=220 + 44 * len(table) * (1 + len(table.columns)))
    page.update_layout(barmode="group", bargap=0.22, showlegend=len(table.columns) > 1, legend=drawing.PLOTLY_LEGEND)
    return drawing.finish_picture(figure), page


def _importances_note(sweep: SweepFigures, table: pd.DataFrame) -> str:
    completed = len(_with_all_fields(sweep))
    note = f"fANOVA on {completed} completed trials, shares that add up to 1: with few trials a hint, not a measurement"
    others = [trials.readable(field) for field in sweep.fields if field not in table.index]
    return note + (f"; in these trials {', '.join(others)} does not vary" if others else "")


# --- the front of two objectives ---


def front_possible(sweep: SweepFigures) -> bool:
    return len(sweep.objectives) > 1 and len(trials.in_state(sweep, "completed", *sweep.objectives[:2])) > 0


def draw_pareto(sweep: SweepFigures) -> tuple[Figure, go.Figure]:
    """The first objective upwards, the second to the right; colours are those of the lines by generation.

    With a third objective the front is one in space: its trials are marked, but no line joins them.
    """
    y, x = sweep.objectives[:2]
    rows = trials.in_state(sweep, "completed", x, y).sort_values(x)
    front = rows["pareto"].astype(bool)
    title, note = f"{_capital(y)} against {trials.readable(x)}: what can be had", _front_note(sweep, rows)
    scale, values = drawing.scale_of(sweep, trials.main_field(sweep))
    figure, axes = drawing.picture(title, note, height=5.2)
    style.dress(axes, "", trials.objective_label(sweep, x), trials.objective_label(sweep, y))
    page = go.Figure()
    x_ends, y_ends = _ends(rows[x]), _ends(rows[y])
    if len(sweep.objectives) == 2:
        steps_x, steps_y = _staircase(rows[front], x, y, x_ends[1], y_ends[1])
        axes.plot(steps_x, steps_y, color=ACCENT, linewidth=1.6, zorder=2)
        page.add_trace(drawing.line(steps_x, steps_y, "the front", ACCENT, 2, showlegend=False))
    for label, chosen, size, edge in ((_OTHER_LABEL, ~front, 6.5, "white"), (_FRONT_LABEL, front, 10, ACCENT)):
        part = rows[chosen]
        if not len(part):
            continue
        colours = [scale.colour(values[trial]) for trial in part["trial"]]
        width = 1.8 if edge == ACCENT else 0.8
        axes.scatter(part[x], part[y], s=size**2, c=colours, edgecolors=edge, linewidths=width, zorder=3, label=label)
        boxes = [
            trials.hover(row, sweep, *(_told(sweep, objective, row) for objective in (y, x)))
            for _, row in part.iterrows()
        ]
        marker = {"size": 1.3 * size, "color": colours, "line": {"width": width, "color": edge}}
        page.add_trace(drawing.dots(part[x], part[y], label, boxes, marker))
    drawing.number_axis(axes, "x", *x_ends)
    drawing.number_axis(axes, "y", *y_ends)
    bar = drawing.plotly_colour_bar(scale)
    beside = axes
    if y == "collapse":
        beside = drawing.factor_axis(axes, sweep.measure)
        drawing.plotly_factor_axis(page, sweep.measure, *y_ends)
        bar.marker.colorbar.x = 1.09
    drawing.colour_bar(figure, beside, scale)
    page.add_trace(bar)
    drawing.legend(axes)
    page.update_xaxes(range=x_ends, title_text=notation.literal(trials.objective_label(sweep, x)), zeroline=False)
    label = notation.literal(trials.objective_label(sweep, y))
    page.update_layout(yaxis={"range": y_ends, "title": {"text": label}, "zeroline": False})
    drawing.finish_page(page, title, note)
    page.update_layout(legend=drawing.PLOTLY_LEGEND, hovermode="closest")
    return drawing.finish_picture(figure), page


def _staircase(front: pd.DataFrame, x: str, y: str, right: float, top: float) -> tuple[list[float], list[float]]:
    """The edge of what the trials dominate: from the top down to the right, a step a trial.

    A trial above the edge, which the validation split put on the front and the test split does not, makes no step.
    """
    steps_x: list[float] = []
    steps_y = [top]
    for across, up in front.sort_values([x, y], ascending=[True, False])[[x, y]].to_numpy(float):
        if up <= steps_y[-1]:
            steps_x += [across, across]
            steps_y += [up, up]
    return [*steps_x, right], steps_y


def _front_note(sweep: SweepFigures, rows: pd.DataFrame) -> str:
    parts = [f"{int(rows['pareto'].sum())} of {len(rows)} completed trials are on the front: none is better in all"]
    if len(sweep.objectives) > 2:
        parts = [f"{parts[0]} {len(sweep.objectives)} objectives, of which two are drawn"]
    if missing := int((sweep.trials["state"] == "completed").sum()) - len(rows):
        parts.append(f"left out: {missing} whose numbers are not finite")
    field = trials.main_field(sweep)
    if not np.isfinite(trials.numbers(rows, field)).all():
        parts.append(f"grey: trials without {trials.readable(field)}")
    if (sweep.trials["state"] == "pruned").any():
        parts.append("pruned trials are not drawn: numbers after fewer generations do not compare")
    return "; ".join(parts)


# --- the history ---


def history_possible(sweep: SweepFigures) -> bool:
    return len(trials.in_state(sweep, "completed", sweep.objectives[0])) > 0


def draw_history(sweep: SweepFigures) -> tuple[Figure, go.Figure]:
    """Completed trials as dots, the best so far as a line; pruned and failed trials have no value, but their place."""
    objective = sweep.objectives[0]
    label = trials.objective_label(sweep, objective)
    rows = trials.in_state(sweep, "completed", objective).sort_values("trial")
    title, note = f"{_capital(objective)} by trial, and the best so far", _history_note(sweep, rows)
    figure, axes = drawing.picture(title, note)
    style.dress(axes, "", "trial", label)
    page = go.Figure()
    last = int(sweep.trials["trial"].max())
    line_x, line_y = _best_so_far(sweep, rows, last)
    low, high = _ends(rows[objective])
    low -= 0.05 * (high - low)  # room for the marks below
    axes.step(line_x, line_y, where="post", color=ACCENT, linewidth=2.4, label="best so far", zorder=2)
    page.add_trace(drawing.line(line_x, line_y, "best so far", ACCENT, 3, shape="hv"))
    blue = style.CONDITION_COLOURS[0]
    axes.plot(
        rows["trial"], rows[objective], linestyle="none", marker="o", markersize=8, color=blue, markeredgecolor="white",
        label="a completed trial",
    )  # fmt: skip
    boxes = [trials.hover(row, sweep, _told(sweep, objective, row)) for _, row in rows.iterrows()]
    marker = {"size": 11, "color": blue, "line": {"width": 1, "color": "white"}}
    page.add_trace(drawing.dots(rows["trial"], rows[objective], "a completed trial", boxes, marker))
    best = rows[rows["best"].astype(bool)]
    if len(best):
        axes.plot(
            best["trial"], best[objective], linestyle="none", marker="*", markersize=17, color=ACCENT,
            markeredgecolor="white", label="the best", zorder=4,
        )  # fmt: skip
        star = {"symbol": "star", "size": 18, "color": ACCENT, "line": {"width": 1, "color": "white"}}
        boxes = [trials.hover(row, sweep, _told(sweep, objective, row)) for _, row in best.iterrows()]
        page.add_trace(drawing.dots(best["trial"], best[objective], "the best", boxes, star))
    for state, short, symbol in (("pruned", "x", "x-thin"), ("failed", "+", "cross-thin")):
        ended = trials.in_state(sweep, state)
        if not len(ended):
            continue
        bottom = np.full(len(ended), low + 0.035 * (high - low))
        axes.plot(
            ended["trial"], bottom, linestyle="none", marker=short, color=style.FAINT, markersize=7, markeredgewidth=1.8,
            label=state,
        )  # fmt: skip
        marker = {"symbol": symbol, "size": 9, "line": {"width": 2.2, "color": style.FAINT}}
        boxes = [trials.hover(row, sweep) for _, row in ended.iterrows()]
        page.add_trace(drawing.dots(ended["trial"], bottom, state, boxes, marker))
    axes.set_xlim(-0.6, last + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    drawing.number_axis(axes, "y", low, high)
    page.update_xaxes(range=[-0.6, last + 0.6], tickformat="d", dtick=max(1, -(-(last + 1) // 12)), title_text="trial")
    page.update_layout(yaxis={"range": [low, high], "title": {"text": notation.literal(label)}, "zeroline": False})
    if objective == "collapse":
        drawing.factor_axis(axes, sweep.measure)
        drawing.plotly_factor_axis(page, sweep.measure, low, high)
    drawing.legend(axes)
    drawing.finish_page(page, title, note)
    page.update_layout(legend=drawing.PLOTLY_LEGEND, hovermode="closest")
    return drawing.finish_picture(figure), page


def _best_so_far(sweep: SweepFigures, rows: pd.DataFrame, last: int) -> tuple[list[int], list[float]]:
    """Of each trial, and of the last one, the number and the first objective of the best trial up to it."""
    values = _reported(sweep, sweep.objectives[0])
    best = [(trial, sweep.best_so_far[trial]) for trial in (*rows["trial"], last)]
    found = [(trial, values[one]) for trial, one in best if one is not None and np.isfinite(values[one])]
    return [trial for trial, _ in found], [value for _, value in found]


def _history_note(sweep: SweepFigures, rows: pd.DataFrame) -> str:
    parts = []
    for _, best in rows[rows["best"].astype(bool)].iterrows():
        tried = trials.settings(best, sweep.fields)
        parts.append(f"the best: trial {best['trial']}" + (f" ({tried})" if tried else "") + f", {sweep.best_means}")
    for state, mark in (("pruned", "a cross (×)"), ("failed", "a plus (+)")):
        if count := int((sweep.trials["state"] == state).sum()):
            parts.append(f"{mark} below: {state}, {count} of {len(sweep.trials)} trials")
    if missing := int((sweep.trials["state"] == "completed").sum()) - len(rows):
        parts.append(f"left out: {missing} that is not finite" if missing == 1 else f"left out: {missing} not finite")
    return "; ".join(parts)


def _told(sweep: SweepFigures, objective: str, row: pd.Series) -> str:
    if objective == "collapse":
        return trials.nats(row["collapse"])
    return f"{trials.objective_label(sweep, objective)}: {notation.short(float(row[objective]))}"


def _ends(values: pd.Series) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = 0.07 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _capital(name: str) -> str:
    return trials.readable(name).capitalize()
