"""Figures, closing table and samples.md: numbers drawn equal numbers given, and text cannot run."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import scipy.stats
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from components.figures import conditions, diversity, style
from components.figures import figure10_test_perplexity as figure10
from components.figures import figure11_perplexity_histograms as figure11
from components.figures import figure15_perplexity_3d as figure15
from components.figures.language import save_all
from components.figures.samples import samples_markdown
from components.figures.table import closing_table, over_seeds

pytestmark = pytest.mark.filterwarnings("error")

NASTY = "</pre><script>alert(1)</script> ```` <img src=x onerror=alert(2)> {{ 7*7 }} \x1b[31m \u202eevil\r\n# heading\n"


def study(conditions: list[str], seeds: int, generations: int, rows: int = 200) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A study as it comes out of the loop: log-normal perplexities whose right tail grows with the generation."""
    random, metrics, scores = np.random.default_rng(0), [], []
    for place, condition in enumerate(conditions):
        for seed in range(seeds):
            for generation in range(generations):
                growth = 1 + (5.0 if place == 0 else 0.3) * generation
                numbers = {
                    figure10.METRIC: 43.8 * growth * random.uniform(0.9, 1.1),
                    "seconds/fit": 2.0,
                    "seconds/sample": 3.0,
                }
                numbers |= {f"synthetic/{measure}": random.uniform(0.1, 0.9) for measure in diversity.MEASURES}
                numbers |= {f"heldout/{measure}": 0.95 for measure in diversity.MEASURES} | {diversity.BLOCKS: 165}
                metrics += [(condition, seed, generation, metric, value) for metric, value in numbers.items()]
                values = random.lognormal(3.3 - 0.2 * generation, 0.4, rows)
                values[: 2 * generation] *= 60
                scores += [(condition, seed, generation, "synthetic", row, value) for row, value in enumerate(values)]
                if generation == 0:
                    real = random.lognormal(3.6, 0.5, rows)
                    scores += [(condition, seed, 0, "test", row, value) for row, value in enumerate(real)]
                else:  # by a later model: no part of figure 11
                    scores += [(condition, seed, generation, "test", row, 1e-3) for row in range(3)]
    columns = ["condition", "seed", "generation"]
    return pd.DataFrame(metrics, columns=[*columns, "metric", "value"]), pd.DataFrame(
        scores, columns=[*columns, "set", "row", "perplexity"]
    )


@pytest.fixture(scope="module")
def laptop() -> tuple[pd.DataFrame, pd.DataFrame]:
    return study(["no-real-data", "keep-10-percent"], seeds=2, generations=5)


@pytest.fixture(scope="module")
def saved(laptop, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return save_all(*laptop, tmp_path_factory.mktemp("study") / "figures")


def expected_perplexity(metrics: pd.DataFrame, condition: str) -> tuple[np.ndarray, np.ndarray]:
    chosen = metrics[(metrics["condition"] == condition) & (metrics["metric"] == figure10.METRIC)]
    by_seed = np.stack([run["value"].to_numpy() for _, run in chosen.groupby("seed")])
    return by_seed, by_seed.std(axis=0, ddof=1)


def test_figure_10_draws_every_run_and_their_mean_with_its_standard_deviation(laptop) -> None:
    picture, page = figure10.draw(laptop[0])
    assert len(picture.axes) == 2
    for axes, condition in zip(picture.axes, ["no-real-data", "keep-10-percent"], strict=True):
        runs, deviation = expected_perplexity(laptop[0], condition)
        assert axes.get_title(loc="left").startswith(condition)
        drawn = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 5][:2]
        np.testing.assert_allclose(drawn, runs)
        bars = axes.containers[0]
        np.testing.assert_allclose(bars.lines[0].get_ydata(orig=False), runs.mean(axis=0))
        arms = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
        np.testing.assert_allclose((arms[:, 1] - arms[:, 0]) / 2, deviation)
        bold = next(trace for trace in page.data if trace.name == condition)
        np.testing.assert_allclose(bold.y, runs.mean(axis=0))
        np.testing.assert_allclose(bold.error_y.array, deviation)
        thin = [trace.y for trace in page.data if trace.legendgroup == condition and trace.name != condition]
        np.testing.assert_allclose(thin, runs)


def test_figure_10_is_logarithmic_only_when_the_runs_span_more_than_a_decade(laptop) -> None:
    picture, page = figure10.draw(laptop[0])
    assert [axes.get_yscale() for axes in picture.axes] == ["log", "log"]
    assert page.layout.yaxis.type == page.layout.yaxis2.type == "log"
    mild = laptop[0][laptop[0]["condition"] == "keep-10-percent"]
    picture, page = figure10.draw(mild)
    assert picture.axes[0].get_yscale() == "linear"
    assert page.layout.yaxis.type != "log"


def test_the_panels_of_figure_10_share_their_axes_and_show_everything(laptop) -> None:
    picture, _ = figure10.draw(laptop[0])
    values = laptop[0].loc[laptop[0]["metric"] == figure10.METRIC, "value"]
    limits = {axes.get_ylim() for axes in picture.axes}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low < values.min()
    assert values.max() < high


def test_the_shares_of_figure_11_equal_counting_the_sequences_of_all_seeds(laptop) -> None:
    numbers = figure11.histograms(laptop[1])
    scores = laptop[1]
    for condition in ("no-real-data", "keep-10-percent"):
        for generation in (figure11.REAL, 0, 1, 2, 3, 4):
            chosen = scores[(scores["condition"] == condition) & (scores["generation"] == max(generation, 0))]
            values = chosen.loc[chosen["set"] == ("test" if generation == figure11.REAL else "synthetic"), "perplexity"]
            shares = numbers.shares[condition, generation]
            assert len(values) == 400
            assert shares.sum() == pytest.approx(1)
            middle = numbers.edges[20]
            assert shares[:20].sum() == pytest.approx((values < middle).mean())
            assert numbers.medians[condition, generation] == pytest.approx(values.median())
            assert numbers.tails[condition, generation] == pytest.approx(values.quantile(0.99))
    drawn = (scores["set"] == "synthetic") | (scores["generation"] == 0)
    assert numbers.edges[0] <= scores.loc[drawn, "perplexity"].min()
    assert numbers.edges[0] > scores["perplexity"].min()  # of the test split under a later model
    assert numbers.edges[-1] >= scores["perplexity"].max()


def test_figure_11_draws_one_outline_of_one_colour_a_generation_over_the_real_data(laptop) -> None:
    numbers = figure11.histograms(laptop[1])
    picture, page = figure11.draw(laptop[1])
    colours: dict[str, set[str]] = {}
    for index, axes in enumerate(picture.axes):
        condition = numbers.conditions[index // 2]
        assert axes.get_xscale() == "log"
        assert axes.get_yscale() == ("log" if index % 2 else "linear")
        steps = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
        assert len(steps) == 6
        for generation, step in zip(numbers.drawn(condition), steps, strict=True):
            np.testing.assert_allclose(step.get_data().values, numbers.shares[condition, generation])
            np.testing.assert_allclose(step.get_data().edges, numbers.edges)
            name = figure11.label(generation)
            colours.setdefault(name, set()).add(str(step.get_edgecolor()))
    for trace in page.data:
        np.testing.assert_allclose(trace.x, numbers.edges)
        colours.setdefault(trace.name, set())
        condition = re.search(r"<extra>(.*), ", trace.hovertemplate).group(1)  # type: ignore[union-attr]
        generation = figure11.REAL if trace.name == "real text" else int(trace.name.split()[1])
        np.testing.assert_allclose(trace.customdata[:-1], numbers.shares[condition, generation])
    assert len(colours) == 6
    assert all(len(of_one) == 1 for of_one in colours.values())
    assert len(set.union(*colours.values())) == 6
    assert {trace.name: trace.line.color for trace in page.data} == {
        "real text": style.REAL,
        **{f"generation {g}": colour for g, colour in style.generation_colours([0, 1, 2, 3, 4]).items()},
    }


def test_ten_generations_are_shown_as_the_paper_shows_them() -> None:
    assert style.shown_generations(range(10)) == [0, 1, 2, 3, 5, 9]
    assert style.shown_generations(range(6)) == [0, 1, 2, 3, 4, 5]
    assert style.shown_generations(range(8)) == [0, 1, 2, 3, 5, 7]
    assert style.shown_generations(range(21)) == [0, 1, 2, 3, 5, 9, 20]


def test_figure_15_draws_the_histograms_of_figure_11(laptop) -> None:
    numbers = figure11.histograms(laptop[1])
    picture, page = figure15.draw(laptop[1])
    assert len(picture.axes) == 4
    assert len(picture.axes[0].lines) == 6
    heights = picture.axes[0].lines[-1].get_data_3d()[2]  # front: the real data, drawn last
    np.testing.assert_allclose(heights[::2], numbers.shares["no-real-data", figure11.REAL])
    ridges = [trace for trace in page.data if isinstance(trace, go.Scatter3d)]
    assert len(ridges) == 12
    for ridge in ridges:
        condition = "no-real-data" if ridge.scene == "scene" else "keep-10-percent"
        generation = figure11.REAL if ridge.name == "real text" else int(ridge.name.split()[1])
        np.testing.assert_allclose(ridge.customdata[::2], numbers.shares[condition, generation])
    assert page.layout.scene.xaxis.type == page.layout.scene2.xaxis.type == "log"


def test_the_switch_of_figure_15_changes_every_scene(laptop) -> None:
    _, page = figure15.draw(laptop[1])
    linear, logarithmic = (button.args[0] for button in page.layout.updatemenus[0].buttons)
    assert linear["scene.zaxis.type"] == linear["scene2.zaxis.type"] == "linear"
    assert logarithmic["scene.zaxis.type"] == logarithmic["scene2.zaxis.type"] == "log"


def test_the_diversity_figure_draws_the_means_over_seeds(laptop) -> None:
    picture, page = diversity.draw(laptop[0])
    for axes, (measure, title) in zip(picture.axes, diversity.MEASURES.items(), strict=True):
        assert axes.get_title(loc="left") == title
        summary = over_seeds(laptop[0], f"synthetic/{measure}")
        for container, (_, mean) in zip(axes.containers, summary.groupby("condition", sort=False), strict=True):
            np.testing.assert_allclose(container.lines[0].get_ydata(orig=False), mean["mean"])
    first = [trace for trace in page.data if trace.showlegend]
    np.testing.assert_allclose(first[0].y, over_seeds(laptop[0], "synthetic/distinct_1")["mean"][:5])
    assert [trace.name for trace in first] == ["no-real-data", "keep-10-percent", "real text"]


def test_the_diversity_figure_shows_held_out_real_text_as_a_dashed_line_and_says_over_how_many_blocks(laptop) -> None:
    picture, page = diversity.draw(laptop[0])
    for axes in picture.axes:
        (dashed,) = [line for line in axes.lines if line.get_label() == "real text"]
        assert set(dashed.get_ydata()) == {0.95}
        assert (dashed.get_linestyle(), dashed.get_color()) == ("--", style.FAINT)
        assert axes.get_yscale() == "linear"
    for trace in [trace for trace in page.data if trace.name == "real text"]:
        assert (set(trace.y), trace.line.dash, trace.line.color) == ({0.95}, "dash", style.FAINT)
    assert len([trace for trace in page.data if trace.name == "real text"]) == 4
    for note in (picture._supxlabel.get_text(), page.layout.title.text):
        assert "165 blocks of each set" in note
        assert "not drawn" not in note


def test_diversity_far_below_real_text_has_a_logarithmic_axis(laptop) -> None:
    metrics = laptop[0].copy()
    low = metrics["metric"] == "synthetic/distinct_2"
    metrics.loc[low, "value"] /= 50
    picture, page = diversity.draw(metrics)
    assert [axes.get_yscale() for axes in picture.axes] == ["linear", "log", "linear", "linear"]
    assert [page.layout[f"yaxis{place}"].type for place in ("", 2, 3, 4)] == [None, "log", None, None]
    bottom, top = picture.axes[1].get_ylim()
    assert bottom < metrics.loc[low, "value"].min()
    assert top > 0.95
    np.testing.assert_allclose(page.layout.yaxis2.range, np.log10([bottom, top]))
    metrics.loc[low & (metrics["generation"] == 4), "value"] = 0.0  # which a log axis could not show
    assert diversity.draw(metrics)[0].axes[1].get_yscale() == "linear"


def test_a_condition_with_too_few_blocks_is_named_below_the_diversity_figure_and_keeps_its_colour() -> None:
    metrics, _ = study(["plain", "few $x$", "kept"], 1, 3)
    metrics = metrics[~((metrics["condition"] == "few $x$") & metrics["metric"].str.startswith("synthetic/"))]
    picture, page = diversity.draw(metrics)
    note = "fewer blocks, and so not drawn: few $x$"
    assert note in picture._supxlabel.get_text().replace("\n", " ")
    assert note in page.layout.title.text
    colours = {trace.name: trace.line.color for trace in page.data}
    assert colours == {
        "plain": style.CONDITION_COLOURS[0],
        "kept": style.CONDITION_COLOURS[2],
        "real text": style.FAINT,
    }


def test_the_figure_of_conditions_draws_what_each_lost_and_what_that_is_less_than_the_first_of_the_same_seed() -> None:
    metrics, _ = study(["plain", "kept", "edited <b>"], 3, 4)
    lost = conditions.losses(metrics)
    for condition in ("plain", "edited <b>"):
        for seed in range(3):
            runs = metrics[(metrics["metric"] == "test/perplexity") & (metrics["seed"] == seed)]
            values = runs[runs["condition"] == condition].set_index("generation")["value"]
            assert lost.loc[seed, condition] == pytest.approx(np.log(values[values.index.max()] / values[0]))
    picture, page = conditions.draw(metrics)
    left, right = picture.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["edited <b>", "kept", "plain"]
    drawn = {tuple(np.round(line.get_xdata(), 9)) for line in right.lines if len(line.get_xdata()) == 3}
    assert drawn == {tuple(np.round(lost["plain"] - lost[name], 9)) for name in ("kept", "edited <b>")}
    means, low = lost.mean(), lost.mean() - scipy.stats.sem(lost) * scipy.stats.t.ppf(0.975, 2)
    bars = next(trace for trace in page.data if trace.error_x.array is not None)
    assert np.allclose(bars.x, means)
    assert np.allclose(np.array(bars.x) - np.array(bars.error_x.arrayminus), low)
    assert not [text for trace in page.data for text in trace.y if "<b>" in text]


def test_an_infinite_perplexity_counts_as_the_largest_finite_one_and_nan_is_an_error() -> None:
    _, scores = study(["a"], 1, 1, rows=10)
    scores.loc[(scores["set"] == "synthetic") & (scores["row"] == 0), "perplexity"] = np.inf
    numbers = figure11.histograms(scores)
    assert numbers.shares["a", 0].sum() == pytest.approx(1)
    assert numbers.shares["a", 0][-1] >= 0.1
    scores.loc[scores["set"] == "test", "perplexity"] = np.nan
    with pytest.raises(ValueError, match="not a number"):
        figure11.histograms(scores)


@pytest.mark.parametrize("diverged", ["a seed", "a condition", "everything"])
def test_chains_that_diverged_are_left_out_of_figures_which_say_so(diverged: str, tmp_path: Path) -> None:
    """An infinite perplexity is a finding: a study with one is drawn to its end."""
    metrics, scores = study(["plain", "kept", "edited"], 3, 4, rows=20)
    chosen = (metrics["metric"] == figure10.METRIC) & (metrics["generation"] == 3)
    if diverged != "everything":
        chosen &= (metrics["condition"] == "plain") & (metrics["seed"].isin([0] if diverged == "a seed" else [0, 1, 2]))
    metrics.loc[chosen, "value"] = np.inf
    scores.loc[(scores["set"] == "synthetic") & (scores["row"] == 0), "perplexity"] = np.inf
    names = [path.stem for path in save_all(metrics, scores, tmp_path) if path.suffix == ".png"]
    assert {"figure10_test_perplexity", "figure11_perplexity_histograms", "conditions"} <= set(names)
    for draw in (figure10.draw, conditions.draw):
        picture, page = draw(metrics)
        said = f"left out: {int(chosen.sum())} infinite"
        assert said in picture._supxlabel.get_text()
        assert said in page.layout.title.text
    lost = conditions.losses(metrics)
    assert np.isinf(lost.to_numpy()).sum() == chosen.sum()
    metrics.loc[metrics["metric"] == figure10.METRIC, "value"] = np.inf
    names = [path.stem for path in save_all(metrics, scores, tmp_path) if path.suffix == ".png"]
    assert "figure10_test_perplexity" not in names
    assert "diversity" in names


@pytest.mark.parametrize(("low", "high"), [(34.1, 34.9 * 4), (1.0, 1e12), (3e-5, 0.4), (80, 321)])
def test_a_log_axis_has_a_few_plain_ticks(low: float, high: float) -> None:
    values, labels = style.log_ticks(low, high)
    assert 2 <= len(values) <= 10
    assert all(low <= value <= high for value in values)
    assert [float(label.replace(",", "")) for label in labels] == pytest.approx(values)


# --- whole studies, from the smallest on ---


class Page(HTMLParser):
    """Collects the tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))


def fetched(text: str) -> list[str]:
    """What a browser would load when it opens the page."""
    return [
        str(value)
        for tag, attributes in Page(text).tags
        for name, value in attributes.items()
        if name in ("src", "srcset", "data", "action") or (name == "href" and tag == "link")
    ]


@pytest.mark.parametrize(("conditions", "seeds", "generations"), [(1, 1, 1), (5, 1, 2), (2, 3, 8)])
def test_every_figure_is_written_for_studies_of_any_size(
    conditions: int, seeds: int, generations: int, tmp_path: Path
) -> None:
    metrics, scores = study([f"{index}: <b>$x$ & _y_" for index in range(conditions)], seeds, generations, rows=30)
    paths = save_all(metrics, scores, tmp_path / "figures")
    compared = ["conditions"] if conditions >= 3 else []
    names = [
        "figure10_test_perplexity",
        *compared,
        "figure11_perplexity_histograms",
        "figure15_perplexity_3d",
        "diversity",
    ]
    assert [path.name for path in paths] == [f"{name}.{kind}" for name in names for kind in ("png", "html")]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths if path.suffix == ".png")


def test_the_interactive_pages_fetch_nothing_and_hold_plotly_once(saved: list[Path]) -> None:
    pages = [path for path in saved if path.suffix == ".html"]
    assert len(pages) == 4
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("<!DOCTYPE html>")
        assert fetched(text) == []
        assert text.count("* plotly.js v") == 1
        assert path.stat().st_size < 6e6


def test_the_same_numbers_give_the_same_files(laptop, saved: list[Path], tmp_path: Path) -> None:
    again = save_all(*laptop, tmp_path)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in saved]


def test_a_family_without_sequences_gets_only_the_figures_it_has_numbers_for(laptop, tmp_path: Path) -> None:
    metrics = laptop[0][laptop[0]["metric"] == figure10.METRIC]
    paths = save_all(metrics, laptop[1].head(0), tmp_path)
    assert [path.stem for path in paths] == ["figure10_test_perplexity"] * 2


def test_drawing_leaves_no_global_figure_behind(laptop) -> None:
    picture, _ = figure10.draw(laptop[0])
    assert type(picture) is Figure  # made without pyplot, whose figures have a manager and stay in memory
    assert picture.canvas.manager is None


# --- the closing table ---


def test_the_closing_table_has_means_and_deviations_over_seeds(laptop) -> None:
    table = closing_table(laptop[0])
    assert list(table["condition"]) == ["no-real-data"] * 5 + ["keep-10-percent"] * 5
    assert list(table["generation"]) == [0, 1, 2, 3, 4] * 2
    for condition, rows in table.groupby("condition"):
        runs, deviation = expected_perplexity(laptop[0], str(condition))
        np.testing.assert_allclose(rows["test_perplexity"], runs.mean(axis=0))
        np.testing.assert_allclose(rows["test_perplexity_std"], deviation)
    distinct = laptop[0].query("metric == 'synthetic/distinct_2' and condition == 'no-real-data' and generation == 3")
    assert table["distinct_2_%"][3] == pytest.approx(100 * distinct["value"].mean())
    assert table["distinct_texts_%"].isna().all()  # as studies before it was measured


def test_one_seed_has_no_standard_deviation_and_what_was_not_measured_is_empty() -> None:
    metrics, _ = study(["a"], 1, 2)
    table = closing_table(metrics[metrics["metric"] != "synthetic/distinct_2"])
    assert table["test_perplexity"].notna().all()
    assert table["test_perplexity_std"].isna().all()
    assert table["distinct_2_%"].isna().all()


# --- text that models wrote ---


def test_samples_markdown_shows_text_and_interprets_none_of_it() -> None:
    markdown = samples_markdown(["the prompt", NASTY], [NASTY, "~~~\n```\n<script>x</script>"], 3, [24.8, 1e4])
    page = MarkdownIt().render(markdown)
    assert not {"script", "img"} & {tag for tag, _ in Page(page).tags}
    assert page.count("<h1>") == 1
    assert page.count("<h2>") == 2
    blocks = [token.content for token in MarkdownIt().parse(markdown) if token.type == "fence"]
    assert len(blocks) == 4
    assert blocks[0] == "the prompt\n"
    assert "<script>alert(1)</script>" in blocks[1]
    assert not set("\x1b\u202e\r") & set(markdown)
    assert "generation 3, perplexity 24.8" in markdown


def test_long_text_is_broken_into_lines_without_losing_a_character() -> None:
    text = "word " * 60 + "x" * 250
    markdown = samples_markdown([text], ["after"], 0, [1.0])
    block = next(token.content for token in MarkdownIt().parse(markdown) if token.type == "fence")
    assert max(map(len, block.splitlines())) <= 100
    assert block.replace("\n", "") == text


def test_samples_that_do_not_match_their_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        samples_markdown(["a", "b"], ["c"], 0, [1.0])
