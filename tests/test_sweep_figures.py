"""The figures of a sweep: they hold the numbers they were given, and whatever a sweep is missing they do without."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from components.figures import style
from components.figures.files import write_figures
from components.figures.sweep import (
    CAPTIONS,
    FittedCurve,
    SweepFigures,
    by_generation,
    contour,
    curve,
    drawing,
    optuna_plots,
    save_all,
    trials,
)

pytestmark = pytest.mark.filterwarnings("error")

Point = Mapping[str, Any]
STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
STATES |= {"running": TrialState.RUNNING}
SPACE: dict[str, BaseDistribution] = {
    "real_fraction": FloatDistribution(0, 1),
    "epochs": IntDistribution(1, 10),
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "regime": CategoricalDistribution(["replace", "accumulate"]),
}
BOTH = ("collapse", "cost")
NASTY = "</script><script>alert(1)</script><b>$x^2$ & {{ 7*7 }} %{x} $"


def collapse_of(point: Point) -> float:
    fraction, epochs = point.get("real_fraction", 0.3), point.get("epochs", 3)
    return float(2.2 * (1 - fraction) / (1 + fraction / 0.05) * epochs**0.2)


def sweep_of(
    points: Sequence[Point],
    states: Sequence[str] | None = None,
    objectives: Sequence[str] = BOTH,
    seeds: int = 2,
    generations: int = 4,
    collapses: Mapping[int, float] | None = None,
    fitted: FittedCurve | None = None,
    space: Mapping[str, BaseDistribution] = SPACE,
    measure: str = "test perplexity",
) -> SweepFigures:
    """A sweep of these points; every third one is pruned after as many generations as its number leaves."""
    states = states or ["pruned" if number % 3 == 1 else "completed" for number in range(len(points))]
    fields = list(dict.fromkeys(field for point in points for field in point))
    study = optuna.create_study(directions=["minimize"] * len(objectives))
    rows, paths, random = [], [], np.random.default_rng(0)
    for number, (point, state) in enumerate(zip(points, states, strict=True)):
        reached = generations if state == "completed" else 1 + number % (generations - 1)
        end = (collapses or {}).get(number, collapse_of(point))
        by_seed = []
        for seed in range(seeds):
            off = random.normal(0, 0.05)
            path = [(end + off) * (generation / generations) ** 0.7 for generation in range(reached + 1)]
            paths += [(number, seed, generation, 35 * math.exp(one), one) for generation, one in enumerate(path)]
            by_seed.append(path[-1])
        numbers = {"collapse": float(np.mean(by_seed)), "cost": 1e5 * reached * point.get("real_fraction", 0.5)}
        numbers["seconds"] = 40.0 * reached
        study.add_trial(
            create_trial(
                state=STATES[state],
                params=dict(point),
                distributions={field: space[field] for field in point},
                values=[numbers[name] for name in objectives] if state == "completed" else None,
            )
        )
        rows.append({"trial": number, "state": state, "generation": reached, **numbers, **point})
    table = pd.DataFrame(rows, columns=["trial", "state", "generation", "collapse", "cost", "seconds", *fields])
    front = {trial.number for trial in study.best_trials} if "completed" in states else set()
    completed = table.loc[(table["state"] == "completed") & np.isfinite(table["collapse"].astype(float)), "collapse"]
    table["best"] = table.index == completed.idxmin() if len(completed) else False
    table["pareto"] = table["trial"].isin(front)
    tidy = pd.DataFrame(paths, columns=["trial", "seed", "generation", "value", "collapse"])
    so_far = {number: completed[completed.index <= number] for number in range(len(table))}
    best = {number: int(those.idxmin()) if len(those) else None for number, those in so_far.items()}
    return SweepFigures(table, tidy, fields, objectives, measure, "tokens", study, fitted, "the least collapse", best)


def points(count: int = 16) -> list[Point]:
    random = np.random.default_rng(3)
    return [{"real_fraction": float(random.uniform()), "epochs": int(random.integers(1, 11))} for _ in range(count)]


def fitted_curve() -> FittedCurve:
    x = np.linspace(0, 1, 21)
    y = np.array([collapse_of({"real_fraction": one}) for one in x])
    line = pd.DataFrame({"real_fraction": x, "mean": y, "low": 0.9 * y, "high": 1.1 * y})
    by_seed = pd.concat(
        [pd.DataFrame({"seed": seed, "real_fraction": x, "collapse": y + seed / 50}) for seed in (0, 1)]
    )
    return FittedCurve(line, by_seed, "curve: what was fitted", math.log(1.5), (0.25, 0.2, 0.31))


@pytest.fixture(autouse=True, scope="module")
def small_pictures() -> Iterator[None]:
    """Fewer pixels, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DOTS_PER_INCH", 50)
        yield


@pytest.fixture(scope="module")
def sweep() -> SweepFigures:
    return sweep_of(points(), fitted=fitted_curve())


@pytest.fixture(scope="module")
def saved(sweep: SweepFigures, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return save_all(sweep, tmp_path_factory.mktemp("sweep") / "figures")


def names(paths: Sequence[Path]) -> list[str]:
    return [path.stem.removeprefix("sweep_") for path in paths if path.suffix == ".png"]


def labelled(figure: Figure, label: str) -> Any:
    """What a picture has under a name in its legend."""
    found = [
        artist
        for axes in figure.axes
        for artist in (*axes.lines, *axes.collections)
        if str(artist.get_label()).startswith(label)
    ]
    assert len(found) == 1, label
    return found[0]


def trace(page: go.Figure, name: str) -> Any:
    found = [trace for trace in page.data if str(trace.name).startswith(name)]
    assert len(found) == 1, name
    return found[0]


def note(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text() for text in figure.texts).split())


# --- which figures are written ---


def test_every_figure_is_written_for_two_objectives(saved: list[Path]) -> None:
    assert names(saved) == ["by_generation", "curve", "contour", "importances", "pareto", "history"]
    assert [path.stem for path in saved] == [name for name in CAPTIONS for _ in range(2)]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in saved if path.suffix == ".png")
    assert all(len(caption) > 50 for caption in CAPTIONS.values())


def test_a_sweep_of_one_objective_has_all_but_the_front(tmp_path: Path) -> None:
    one = sweep_of(points(), objectives=["collapse"])
    assert names(save_all(one, tmp_path)) == ["by_generation", "curve", "contour", "importances", "history"]


def test_one_trial_is_drawn_as_far_as_one_trial_goes(tmp_path: Path) -> None:
    assert names(save_all(sweep_of(points(1)), tmp_path)) == ["by_generation", "curve", "pareto", "history"]


def test_of_pruned_trials_alone_there_are_their_lines_and_their_dots(tmp_path: Path) -> None:
    only = sweep_of(points(5), ["pruned"] * 5)
    assert names(save_all(only, tmp_path)) == ["by_generation", "curve"]
    picture, _ = curve.draw(only)
    assert len(labelled(picture, "pruned").get_xdata()) == 5


def test_a_sweep_that_has_not_begun_has_no_figures(tmp_path: Path) -> None:
    assert save_all(sweep_of([]), tmp_path) == []


def test_words_alone_are_drawn_without_an_axis_of_numbers(tmp_path: Path) -> None:
    words = [{"regime": regime} for regime in ("replace", "accumulate", "replace")]
    only = sweep_of(words, collapses={0: 1.0, 2: 0.4})
    assert names(save_all(only, tmp_path)) == ["by_generation", "pareto", "history"]
    _, page = by_generation.draw(only)
    assert "regime accumulate" in trace(page, "trial 1").hovertext[0]


def test_running_and_failed_trials_have_lines_and_are_no_results(tmp_path: Path) -> None:
    mixed = sweep_of(points(5), ["completed", "running", "failed", "completed", "completed"])
    picture, page = by_generation.draw(mixed)
    assert len([one for one in page.data if "trial" in str(one.name)]) == 5
    assert len(labelled(picture, "failed here").get_xdata()) == 1
    picture, page = optuna_plots.draw_history(mixed)
    assert list(trace(page, "a completed trial").x) == [0, 3, 4]
    assert list(trace(page, "failed").x) == [2]


def test_infinite_collapse_is_left_out_and_said(tmp_path: Path) -> None:
    broken = sweep_of(points(9), collapses={0: math.inf, 3: math.inf})
    assert len(names(save_all(broken, tmp_path))) == 6
    for picture, page in (curve.draw(broken), optuna_plots.draw_history(broken), optuna_plots.draw_pareto(broken)):
        assert "left out: 2" in note(picture)
        assert all(np.isfinite(np.asarray(one.y, float)).all() for one in page.data if one.y is not None and one.y[0])
    assert len(labelled(curve.draw(broken)[0], "mean of a trial").get_offsets()) == 4


def test_drawing_leaves_matplotlib_and_pyplot_as_they_were(saved: list[Path]) -> None:
    assert plt.get_fignums() == []
    assert mpl.rcParams["axes.facecolor"] == mpl.rcParamsDefault["axes.facecolor"]


def test_the_same_sweep_gives_the_same_files(sweep: SweepFigures, saved: list[Path], tmp_path: Path) -> None:
    again = {
        "sweep_importances": optuna_plots.draw_importances(sweep, optuna_plots.importances(sweep)),
        "sweep_by_generation": by_generation.draw(sweep),
    }
    before = {path.name: path for path in saved}
    for path in write_figures(again, tmp_path):
        assert path.read_bytes() == before[path.name].read_bytes()


# --- by generation ---


def test_a_line_a_trial_is_the_mean_over_its_seeds_in_the_colour_of_its_real_fraction(sweep: SweepFigures) -> None:
    picture, page = by_generation.draw(sweep)
    axes = picture.axes[0]
    lines = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert len(lines) == len(sweep.trials) == 16
    scale, fractions = drawing.scale_of(sweep, "real_fraction")
    order = sweep.trials.sort_values("best")["trial"]
    for line, number in zip(lines, order, strict=True):
        mean = sweep.paths[sweep.paths["trial"] == number].groupby("generation")["value"].mean()
        np.testing.assert_allclose(line.get_ydata(), mean)
        assert line.get_color() == scale.colour(fractions[number])
    assert {line.get_color() for line in lines} == {to_hex(line.get_color()) for line in lines}
    assert len({line.get_color() for line in lines}) > 10
    assert picture.axes[1].get_ylabel() == "real fraction"
    best = sweep.trials.loc[sweep.trials["best"], "trial"].item()
    assert labelled(picture, "best").get_linewidth() > 3
    assert trace(page, "best").name == f"best: trial {best}"


def test_the_error_is_on_a_log_scale_only_where_it_spans_more_than_ten_times() -> None:
    for worst, scale in ((2.0, "linear"), (2.6, "log")):
        picture, page = by_generation.draw(sweep_of(points(3), collapses={0: worst, 1: 0.3, 2: 0.3}))
        assert picture.axes[0].get_yscale() == scale
        assert (page.layout.yaxis.type == "log") == (scale == "log")
        low, high = picture.axes[0].get_ylim()
        assert low < 35
        assert high > 35 * math.exp(worst)


def test_a_cross_is_where_a_pruned_trial_ended(sweep: SweepFigures) -> None:
    picture, page = by_generation.draw(sweep)
    pruned = sweep.trials[sweep.trials["state"] == "pruned"]
    crosses = [line for line in picture.axes[0].lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == list(pruned["generation"])
    assert [one.x[0] for one in page.data if one.name == "pruned here"] == list(pruned["generation"])
    assert "a cross (×): pruned" in note(picture)


def test_pointing_at_a_line_names_the_trial_its_settings_and_the_value(sweep: SweepFigures) -> None:
    _, page = by_generation.draw(sweep)
    box = trace(page, "trial 4").hovertext[-1]
    row = sweep.trials.loc[4]
    assert box.startswith(f"trial 4 (pruned)<br>real fraction {row['real_fraction']:.3g}, epochs {row['epochs']}<br>")
    value = sweep.paths.query(f"trial == 4 and generation == {row['generation']}")["value"].mean()
    assert f"generation {row['generation']}: test perplexity {value:.1f}" in box


def test_colours_are_of_the_first_number_searched_where_real_fraction_is_not(sweep: SweepFigures) -> None:
    assert trials.main_field(sweep) == "real_fraction"
    assert trials.main_field(sweep_of([{"regime": "replace", "epochs": 2}])) == "epochs"
    assert trials.main_field(sweep_of([{"regime": "replace"}, {"regime": "accumulate"}])) == "trial"


def test_one_value_of_a_setting_has_one_tick_beside_its_colour() -> None:
    scale, _ = drawing.scale_of(sweep_of([{"real_fraction": 0.25}] * 2), "real_fraction")
    assert (scale.ticks, scale.labels) == ([0.25], ["0.25"])
    assert scale.low < 0.25 < scale.high


def test_a_trial_without_a_real_fraction_is_grey() -> None:
    mixed = sweep_of([{"regime": "replace", "real_fraction": 0.2}, {"regime": "accumulate"}], ["completed"] * 2)
    picture, _ = by_generation.draw(mixed)
    assert [line.get_color() for line in picture.axes[0].lines].count(style.FAINT) == 1
    assert "grey: trials without real fraction" in note(picture)


def test_a_mean_is_of_all_seeds_or_not_drawn() -> None:
    two = sweep_of(points(1))
    behind = two.paths[~((two.paths["seed"] == 1) & (two.paths["generation"] == 4))]
    assert by_generation.means(behind)["generation"].max() == 3
    broken = two.paths.assign(value=two.paths["value"].where(two.paths.index != 2, math.inf))
    values = by_generation.means(broken)["value"]
    assert np.isinf(values[2])
    assert np.isfinite(values.drop(2)).all()


# --- collapse against real fraction ---


def test_the_curve_has_every_trial_its_seeds_and_the_fit(sweep: SweepFigures) -> None:
    picture, page = curve.draw(sweep)
    completed = sweep.trials[sweep.trials["state"] == "completed"]
    pruned = sweep.trials[sweep.trials["state"] == "pruned"]
    means = completed[["real_fraction", "collapse"]].to_numpy(float)
    np.testing.assert_allclose(labelled(picture, "mean of a trial").get_offsets(), means)
    np.testing.assert_allclose(np.stack([trace(page, "mean").x, trace(page, "mean").y], axis=1), means)
    assert len(labelled(picture, "a seed").get_offsets()) == 2 * len(completed)
    assert len(trace(page, "a seed").x) == 2 * len(completed)
    hollow = labelled(picture, "pruned")
    np.testing.assert_allclose(hollow.get_xydata(), pruned[["real_fraction", "collapse"]].to_numpy(float))
    assert hollow.get_markerfacecolor() == "none"
    assert trace(page, "pruned").marker.symbol == "circle-open"
    fit = fitted_curve()
    np.testing.assert_allclose(labelled(picture, "fitted").get_ydata(), fit.line["mean"])
    np.testing.assert_allclose(
        next(one for one in page.data if one.name == "fitted curve, 95 % band").y, fit.line["mean"]
    )
    thin = [one for one in page.data if one.name == "at a seed's height"]
    np.testing.assert_allclose([one.y for one in thin], [seed["collapse"] for _, seed in fit.by_seed.groupby("seed")])
    assert "curve: what was fitted" in note(picture)
    assert "last generation they reached" in note(picture)


def test_the_threshold_and_the_least_fraction_are_drawn_and_named(sweep: SweepFigures) -> None:
    picture, page = curve.draw(sweep)
    threshold = labelled(picture, "threshold")
    assert threshold.get_ydata()[0] == pytest.approx(math.log(1.5))
    assert threshold.get_label() == "threshold 0.405 nats (×1.5)"
    assert labelled(picture, "least").get_label() == "least real fraction under it: 0.25 (0.2 to 0.31)"
    span = next(patch for patch in picture.axes[0].patches)
    assert (span.get_x(), span.get_x() + span.get_width()) == pytest.approx((0.2, 0.31))
    assert (page.layout.shapes[0].x0, page.layout.shapes[0].x1) == (0.2, 0.31)
    assert trace(page, "threshold").y == pytest.approx([math.log(1.5)] * 2)


def test_without_a_fit_the_trials_stand_alone() -> None:
    picture, page = curve.draw(sweep_of(points(), seeds=1))
    assert not [line for line in picture.axes[0].lines if line.get_linestyle() == "-"]
    assert not picture.axes[0].patches
    assert len(labelled(picture, "a trial").get_offsets()) == 11
    assert not page.layout.shapes


def test_an_endless_band_and_an_unknown_least_fraction_do_not_spoil_the_curve() -> None:
    fit = fitted_curve()
    line = fit.line.assign(high=np.where(fit.line.index == 0, math.inf, fit.line["high"]))
    endless = FittedCurve(line, fit.by_seed, "note", math.log(1.5), (math.nan, 0.1, math.inf))
    picture, page = curve.draw(sweep_of(points(), fitted=endless))
    assert picture.axes[0].get_ylim()[1] < 6
    assert not [one for one in page.data if str(one.name).startswith("least")]


def test_the_right_axis_says_how_many_times_the_error_rose(sweep: SweepFigures) -> None:
    picture, page = curve.draw(sweep)
    right = next(axes for axes in picture.axes if axes.get_ylabel() == "times generation 0's perplexity")
    places, labels = right.get_yticks(), [text.get_text() for text in right.get_yticklabels()]
    assert len(places) > 2
    assert right.get_ylim() == picture.axes[0].get_ylim()
    for axis_places, axis_labels in ((places, labels), (page.layout.yaxis2.tickvals, page.layout.yaxis2.ticktext)):
        for place, label in zip(axis_places, axis_labels, strict=True):
            assert math.exp(place) == pytest.approx(float(label.removeprefix("×")), rel=1e-3)


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.2), (0, 1), (-0.2, 3.5), (-2, 30), (0, 500), (0, 1e4)])
def test_factors_have_a_few_round_ticks(low: float, high: float) -> None:
    places, labels = drawing.factor_ticks(low, high)
    assert len(places) == len(labels) == len(set(labels))
    assert (2 <= len(places) <= 10) if high < 1e3 else not places
    assert all(low <= place <= high for place in places)


# --- contour ---


def test_the_contour_goes_through_the_trials_and_not_beyond_them(sweep: SweepFigures) -> None:
    assert contour.pair(sweep) == ("real_fraction", "epochs")
    found = contour.surface(sweep)
    assert found is not None
    triangles, z = found
    completed = sweep.trials[sweep.trials["state"] == "completed"].sort_values(["real_fraction", "epochs"])
    np.testing.assert_allclose(triangles.x, completed["real_fraction"])
    np.testing.assert_allclose(z, completed["collapse"])
    picture, page = contour.draw(sweep)
    assert len(trace(page, "completed").x) == len(completed)
    assert len(labelled(picture, "pruned").get_xdata()) == 5
    between = np.asarray(page.data[0].z, float)
    assert np.isnan(between).any()
    assert z.min() <= np.nanmin(between) <= np.nanmax(between) <= z.max()
    assert f"collapse {completed['collapse'].iloc[0]:.3g} nats" in " ".join(trace(page, "completed").hovertext)


def test_trials_of_the_same_settings_are_one_corner_with_their_mean() -> None:
    corners = [(0.1, 1), (0.1, 1), (0.9, 1), (0.5, 9)]
    same = sweep_of(
        [{"real_fraction": fraction, "epochs": epochs} for fraction, epochs in corners],
        ["completed"] * 4,
        collapses=dict(enumerate([1.0, 2.0, 0.1, 0.2])),
    )
    found = contour.surface(same)
    assert found is not None
    assert found[1][0] == pytest.approx(same.trials["collapse"][:2].mean())
    assert len(found[1]) == 3


def test_a_field_searched_on_a_log_scale_has_a_log_axis() -> None:
    rates = [(1e-5, 1), (1e-2, 1), (1e-3, 9), (1e-4, 5)]
    logs = sweep_of([{"learning_rate": rate, "epochs": epochs} for rate, epochs in rates], ["completed"] * 4)
    picture, page = contour.draw(logs)
    np.testing.assert_allclose(sorted(trace(page, "completed").x), [-5, -4, -3, -2])
    ticks = picture.axes[0].get_xticks()
    np.testing.assert_allclose(
        [float(text.get_text()) for text in picture.axes[0].get_xticklabels()], 10.0**ticks, rtol=1e-6
    )
    assert trials.main_field(logs) == "learning_rate"
    by_generation.draw(logs)


@pytest.mark.parametrize(
    "chosen",
    [
        [{"real_fraction": 0.1, "epochs": 1}, {"real_fraction": 0.2, "epochs": 2}, {"real_fraction": 0.3, "epochs": 3}],
        [{"real_fraction": one, "epochs": 4} for one in (0.1, 0.2, 0.3)],
        [{"real_fraction": one} for one in (0.1, 0.2, 0.3)],
        [{"real_fraction": 0.2, "epochs": 1}, {"real_fraction": 0.3, "epochs": 2}],
    ],
)
def test_trials_that_enclose_nothing_have_no_contour(chosen: list[Point]) -> None:
    assert contour.surface(sweep_of(chosen, ["completed"] * len(chosen))) is None


# --- importances, front and history ---


def test_importances_are_optunas_and_the_same_every_time(sweep: SweepFigures) -> None:
    table = optuna_plots.importances(sweep)
    assert list(table.columns) == ["collapse", "cost"]
    assert table["collapse"].is_monotonic_decreasing
    for index, objective in enumerate(table.columns):
        expected = get_param_importances(
            sweep.study,
            evaluator=FanovaImportanceEvaluator(seed=0),
            target=lambda trial, index=index: trial.values[index],
        )
        assert table[objective].to_dict() == pytest.approx(expected)
    assert table.loc["real_fraction", "collapse"] > 0.8  # by which the trials were made
    picture, page = optuna_plots.draw_importances(sweep, table)
    widths = [[bar.get_width() for bar in bars] for bars in picture.axes[0].containers]
    np.testing.assert_allclose(widths, table.to_numpy().T)
    np.testing.assert_allclose([bar.x for bar in page.data], table.to_numpy().T)
    assert [text.get_text() for text in picture.axes[0].get_yticklabels()] == list(page.layout.yaxis.ticktext)
    assert [bar.name for bar in page.data] == ["collapse (nats)", "cost (tokens of real data)"]


def test_importances_need_four_trials_two_fields_and_a_difference() -> None:
    assert optuna_plots.importances(sweep_of(points(3), ["completed"] * 3)).empty
    assert not optuna_plots.importances(sweep_of(points(4), ["completed"] * 4)).empty
    assert optuna_plots.importances(sweep_of([{"real_fraction": one / 9} for one in range(9)])).empty
    still = sweep_of([{"learning_rate": 10.0**-one, "epochs": one} for one in (2, 3, 4, 5)], ["completed"] * 4)
    assert list(optuna_plots.importances(still).columns) == ["collapse"]  # the cost of all is the same


def test_importances_compare_only_trials_that_have_every_field() -> None:
    mixed = [{"regime": "replace", **one} for one in points(9)]
    mixed += [{"regime": "accumulate", "epochs": epochs} for epochs in (1, 5, 9)]
    some = sweep_of(mixed, ["completed"] * 12)
    table = optuna_plots.importances(some)
    assert set(table.index) == {"real_fraction", "epochs"}
    assert table.loc["real_fraction", "collapse"] > 0.6
    words = note(optuna_plots.draw_importances(some, table)[0])
    assert "fANOVA on 9 completed trials" in words
    assert "in these trials regime does not vary" in words


def test_the_front_is_optunas_and_its_line_is_a_staircase(sweep: SweepFigures) -> None:
    picture, page = optuna_plots.draw_pareto(sweep)
    best = sorted((trial.values[1], trial.values[0]) for trial in sweep.study.best_trials)
    np.testing.assert_allclose(labelled(picture, "on the front").get_offsets(), best)
    front, others = trace(page, "on the front"), trace(page, "other completed trials")
    np.testing.assert_allclose(list(zip(front.x, front.y, strict=True)), best)
    assert len(front.x) + len(others.x) == (sweep.trials["state"] == "completed").sum()
    steps = trace(page, "the front")
    assert list(steps.x) == sorted(steps.x)
    assert list(steps.y) == sorted(steps.y, reverse=True)
    assert set(front.x) <= set(steps.x)
    assert "real fraction" in front.hovertext[0]
    assert "epochs" in front.hovertext[0]
    assert picture.axes[0].get_xlabel() == "cost (tokens of real data)"
    assert "pruned trials are not drawn" in note(picture)


def test_of_three_objectives_the_first_two_are_drawn_without_a_line() -> None:
    three = sweep_of(points(), objectives=("seconds", "collapse", "cost"))
    picture, page = optuna_plots.draw_pareto(three)
    assert picture.axes[0].get_ylabel() == "seconds of work"
    assert picture.axes[0].get_xlabel() == "collapse (nats)"
    assert not [one for one in page.data if one.name == "the front"]
    assert "in all 3 objectives" in note(picture)


@pytest.mark.parametrize("objectives", [["collapse"], ["cost", "collapse"]])
def test_the_history_is_the_first_objective_and_that_of_the_best_so_far(objectives: list[str]) -> None:
    told = sweep_of(points(), objectives=objectives)
    picture, page = optuna_plots.draw_history(told)
    completed = told.trials[told.trials["state"] == "completed"]
    dots, line = trace(page, "a completed trial"), trace(page, "best so far")
    np.testing.assert_allclose(dots.y, completed[objectives[0]])
    best = [completed["collapse"].loc[:number].idxmin() for number in completed["trial"]]
    np.testing.assert_allclose(line.y[:-1], completed[objectives[0]].loc[best])
    assert line.x[-1] == 15
    np.testing.assert_allclose(labelled(picture, "best so far").get_ydata(), line.y)
    assert list(trace(page, "pruned").x) == list(labelled(picture, "pruned").get_xdata()) == [1, 4, 7, 10, 13]
    assert "pruned, 5 of 16 trials" in note(picture)


def test_every_figure_marks_the_trial_that_was_chosen_though_another_has_the_least_number() -> None:
    """Chosen on the validation split: on the test split, which is drawn, trial 0 has less collapse and less cost."""
    told = sweep_of(points(6), ["completed"] * 6, collapses=dict(enumerate([0.1, 0.5, 0.4, 0.6, 0.7, 0.8])))
    table = told.trials.assign(best=told.trials["trial"] == 2, pareto=told.trials["trial"].isin([0, 1, 2]))
    told = replace(told, trials=table, best_so_far={0: 0, 1: 0, 2: 2, 3: 2, 4: 2, 5: 2})
    chosen = table.loc[2]
    assert labelled(by_generation.draw(told)[0], "best").get_label() == "best: trial 2"
    assert "bold: the best trial (the least collapse)" in note(by_generation.draw(told)[0])
    for picture, page in (contour.draw(told), optuna_plots.draw_history(told)):
        assert len(labelled(picture, "the best").get_xdata()) == len(trace(page, "the best").x) == 1
    picture, page = optuna_plots.draw_history(told)
    assert (trace(page, "the best").x[0], trace(page, "the best").y[0]) == (2, chosen["collapse"])
    np.testing.assert_allclose(trace(page, "best so far").y, table["collapse"].loc[[0, 0, 2, 2, 2, 2, 2]])
    assert "the best: trial 2" in note(picture)
    _, page = optuna_plots.draw_pareto(told)
    assert len(trace(page, "on the front").x) == 3
    steps = trace(page, "the front")
    assert list(steps.y) == sorted(steps.y, reverse=True)  # those that another one beats on the test split make no step


def test_importances_are_those_of_the_numbers_reported_and_not_of_those_chosen_by() -> None:
    told = sweep_of(points(9), ["completed"] * 9)
    reported = told.trials.assign(collapse=told.trials["epochs"].astype(float))
    shares = optuna_plots.importances(replace(told, trials=reported))
    assert shares.loc["epochs", "collapse"] > 0.8
    assert optuna_plots.importances(told).loc["real_fraction", "collapse"] > 0.5


# --- names from outside ---


@pytest.fixture(scope="module")
def nasty() -> SweepFigures:
    space = {NASTY: CategoricalDistribution([NASTY, "$a_b$"]), "$n": IntDistribution(1, 9), "$m": IntDistribution(1, 9)}
    chosen = [{NASTY: [NASTY, "$a_b$"][one % 2], "$n": one + 1, "$m": (one * 4) % 9 + 1} for one in range(9)]
    collapses = {one: 0.3 + 0.1 * one for one in range(9)}
    return sweep_of(chosen, collapses=collapses, space=space, measure=f"error {NASTY}")


def test_no_name_in_a_page_can_run_and_none_is_markup(nasty: SweepFigures, tmp_path: Path) -> None:
    paths = save_all(nasty, tmp_path)
    assert names(paths) == ["by_generation", "contour", "importances", "pareto", "history"]
    for page in (path.read_text(encoding="utf-8") for path in paths if path.suffix == ".html"):
        ours = page.split("Plotly.newPlot(")[-1]
        assert "<script>alert" not in page
        assert "\\u003cscript\\u003e" not in ours  # < as plotly writes it: it would be read as markup
        assert not re.search(r"(hovertemplate|texttemplate)\":[^,]*alert", ours)
    _, page = by_generation.draw(nasty)
    assert "&lt;script&gt;" in trace(page, "trial 1").hovertext[0]


@pytest.mark.parametrize(
    "draw",
    [
        by_generation.draw,
        contour.draw,
        lambda sweep: optuna_plots.draw_importances(sweep, optuna_plots.importances(sweep)),
        optuna_plots.draw_pareto,
        optuna_plots.draw_history,
    ],
)
def test_a_dollar_in_a_picture_is_a_dollar(nasty: SweepFigures, draw: Callable[..., tuple[Figure, go.Figure]]) -> None:
    picture, _ = draw(nasty)
    texts = [text for text in picture.findobj(mpl.text.Text) if "$" in text.get_text()]
    assert texts
    assert not any(text.get_parse_math() for text in texts)
