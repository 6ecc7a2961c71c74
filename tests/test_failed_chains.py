"""Chains that stopped early make no verdict wrong: pairs are compared at one generation, and the card names them."""

import math

import numpy as np
import pandas as pd
import pytest

from components.figures import conditions as figure
from components.figures import diversity, notation
from components.figures import figure10_test_perplexity as figure10
from components.figures.table import by_generation, closing_table, verdicts_table
from components.measures.risk import RISKS
from components.report.contents import Contents
from components.report.overview import errors
from components.report.verdicts import profile_rows, scorecard_rows
from components.scorecard import (
    NOT_ASKED,
    discrete_claims,
    gaussian_claims,
    gaussian_evidence,
    judge,
    language_claims,
    language_evidence,
    mixture_claims,
    numbers,
    scorecard,
    vae_claims,
)
from components.scorecard import profile as profile_of
from components.scorecard.numbers import Numbers
from components.scorecard.profile import ANY, CATASTROPHIC, DIVERGING, SCALING, VARIANCE
from tests.pages import RUN
from tests.simulated import settings
from tests.test_scorecard_families import images

LAST = 9
RISES = "Perplexity on real data rises with the generations"
KEEPING = "Keeping 10% real data lessens the rise"
Stop = dict[tuple[str, int], int]
"""By condition and seed, the last generation of a chain that stopped early; -1 if it never began."""


def tidy(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["condition", "seed", "generation", "metric", "value"])


def language(stopped: Stop, rise: float = 0.18, seeds: int = 2) -> pd.DataFrame:
    """Two conditions on the same trajectory: what they lose is the same in each generation, but for the seeds."""
    random = np.random.default_rng(0)
    own = {seed: random.normal(0, 0.01, (LAST + 1, 2)) for seed in range(seeds)}
    return tidy(
        [
            (name, seed, generation, "test/perplexity", 20 * math.exp(rise * generation + own[seed][generation, place]))
            for place, name in enumerate(settings())
            for seed in range(seeds)
            for generation in range(stopped.get((name, seed), LAST) + 1)
        ]
    )


def study_of(metrics: pd.DataFrame, seeds: int = 2, generations: int = LAST) -> Numbers:
    return numbers(metrics, settings(), range(seeds), generations)


def card_of(study: Numbers) -> pd.DataFrame:
    return scorecard(language_claims(study)).set_index("claim")


def test_a_pair_of_which_one_chain_stopped_early_is_compared_where_both_are():
    """Two conditions on one trajectory; a chain of the second stopped after generation 2. The difference is 0."""
    kept = card_of(study_of(language({("keep", 1): 2}))).loc[KEEPING]
    assert not kept["verdict"].startswith("holds")
    assert abs(kept["estimate"]) < 0.03
    assert kept["seeds"] == 2
    assert kept["generations"] == "9; seed 1: 2"
    assert kept["missing"] == "keep seed 1 stopped after generation 2 of 9"


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_pair_is_compared_over_as_many_generations_whatever_chains_failed(seeds: int):
    """On one trajectory of 0.18 nats per generation, one generation too many in one seed of five would be 0.036."""
    random = np.random.default_rng(seeds)
    for _ in range(20):
        stopped = {(name, seed): int(random.integers(-1, LAST + 1)) for name in settings() for seed in range(seeds)}
        stopped[("none", 0)] = LAST
        card = card_of(study_of(language(stopped, seeds=seeds), seeds))
        assert math.isnan(card.loc[KEEPING, "estimate"]) or abs(card.loc[KEEPING, "estimate"]) < 0.03, stopped


def test_one_condition_is_asked_at_each_seeds_own_last_generation():
    rises = card_of(study_of(language({("none", 0): 4}))).loc[RISES]
    assert rises["generations"] == "9; seed 0: 4"
    assert rises["estimate"] == pytest.approx(0.18 * (9 + 4) / 2, abs=0.02)
    assert rises["missing"] == "none seed 0 stopped after generation 4 of 9"


def test_a_chain_that_never_began_is_named_and_so_is_a_condition_of_which_none_did():
    card = card_of(study_of(language({("keep", 1): -1})))
    assert card.loc[KEEPING, "seeds"] == 1
    assert card.loc[KEEPING, "missing"] == "keep seed 1 has no finished generation"
    nothing = card_of(study_of(language({("keep", 0): -1, ("keep", 1): -1})))
    assert nothing.loc[KEEPING, "verdict"] == NOT_ASKED
    assert (
        nothing.loc[KEEPING, "missing"]
        == "keep seed 0 has no finished generation; keep seed 1 has no finished generation"
    )


def test_a_chain_that_ended_with_generation_0_has_no_rise_and_is_named():
    rises = card_of(study_of(language({("none", 1): 0}))).loc[RISES]
    assert rises["seeds"] == 1
    assert rises["missing"] == "none seed 1 stopped after generation 0 of 9"


def test_a_seed_without_a_number_is_named_with_the_reason():
    metrics = language({})
    gone = (metrics["condition"] == "none") & (metrics["seed"] == 1) & (metrics["generation"] == LAST)
    rises = card_of(study_of(metrics[~gone | (metrics["metric"] != "test/perplexity")])).loc[RISES]
    assert rises["seeds"] == 2  # its chain ended with the generation before
    other = tidy([("none", 1, LAST, "seconds/fit", 1.0)])
    rises = card_of(study_of(pd.concat([metrics[~gone], other]))).loc[RISES]
    assert rises["seeds"] == 1
    assert rises["missing"] == f"seed 1 has no number: test/perplexity is missing in generation {LAST}"


def test_of_a_reference_that_is_nothing_no_share_is_lost_and_no_verdict_made():
    """Held-out text without rare words, and samples with some: that is no loss of minus infinity, in either seed."""
    values = {
        "rare_token_mass": {"synthetic": 0.01, "heldout": 0.0},
        "rare_token_mass_error": {"synthetic": 0.001, "heldout": 0.0},
        "entropy_1": {"synthetic": 5.0, "heldout": 5.0},
        "entropy_1_error": {"synthetic": 0.1, "heldout": 0.1},
    }
    rows = [
        ("none", seed, at, f"{text}/{measure}", value)
        for seed in range(2)
        for at in range(LAST + 1)
        for measure, of in values.items()
        for text, value in of.items()
    ]
    card = card_of(study_of(pd.concat([language({}), tidy(rows)])))
    tail = card.loc["The tail goes before the bulk"]
    assert tail["verdict"].startswith("cannot be asked")
    assert "seed 0 has no number: heldout/rare_token_mass is 0 in generation 1" in tail["missing"]


def test_a_seed_whose_perplexity_has_no_bound_keeps_the_others_from_a_firm_no():
    """Four seeds fall by 0.03 nats per generation; the fifth ends with a loss whose exponential is too large."""
    metrics = language({}, rise=-0.03, seeds=5)
    last = (metrics["condition"] == "none") & (metrics["seed"] == 4) & (metrics["generation"] == LAST)
    metrics.loc[last, "value"] = math.inf
    study = study_of(metrics, seeds=5)
    judged = judge(study, language_claims(study), language_evidence(study), RISKS["language"])
    rises = judged.scorecard.set_index("claim").loc[RISES]
    assert (rises["verdict"], rises["seeds"], rises["open_because"]) == ("cannot tell with 5 seeds", 5, "infinite")
    assert rises["high"] == math.inf
    profile = judged.profile.set_index("definition").loc[[ANY, CATASTROPHIC], "verdict"]
    assert profile.str.startswith("cannot tell").all()
    assert "a seed's number is infinite" in judged.power_note()


def test_gaussians_whose_deviation_falls_to_exactly_0_have_lost_all_of_it():
    one = {
        "regime": {"name": "replace", "real_fraction": 0.0}, "start": "scratch", "data": {"training": "a"},
        "fit": {"chains": 100, "dimensions": 1, "ddof": 1}, "sample": {"rows": 2, "growth": 0.0},
    }  # fmt: skip
    rows = [
        ("one", seed, at, "deviation/median", value) for seed in range(3) for at, value in enumerate((0.7, 0.1, 0.0))
    ]
    for earlier in (0.1, 0.0):  # also where the middle generation had lost it already
        metrics = tidy([(*key, value if at != 1 else earlier) for *key, value in rows for at in [key[2]]])
        study = numbers(metrics, {"one": one})
        judged = judge(study, gaussian_claims(study), gaussian_evidence(study), RISKS["gaussian"])
        assert judged.scorecard.set_index("claim").loc["The variance falls to nothing", "verdict"] == "holds here"
        lost = judged.profile.set_index("definition").loc[VARIANCE]
        assert (lost["verdict"], lost["estimate"]) == ("holds here", 1)


def test_the_profile_takes_each_seeds_own_halves():
    """A risk that grows by ever more per generation diverges for a short chain as for a long one."""
    rows = [
        ("none", seed, generation, "test/perplexity", math.exp(3 + 0.02 * generation**2 + 1e-4 * seed * generation))
        for seed in range(3)
        for generation in range((LAST, 4, LAST)[seed] + 1)
    ]
    study = study_of(tidy(rows), 3)
    found = profile_of(study, language_evidence(study)).set_index("definition").loc[DIVERGING]
    curve = [0.02 * generation**2 for generation in range(LAST + 1)]
    wanted = [
        (curve[end] - curve[end // 2]) / (end - end // 2) - (curve[end // 2] - curve[0]) / (end // 2) / 2
        for end in (LAST, 4, LAST)
    ]
    assert found["estimate"] == pytest.approx(np.mean(wanted), abs=1e-3)
    assert found["generations"] == "9; seed 1: 4"


def in_memory(metric: str, value, ends: dict[tuple[str, int], int], settings_: dict[str, dict]) -> Numbers:
    rows = [
        (name, seed, generation, metric, value(name, seed, generation))
        for (name, seed), end in ends.items()
        for generation in range(end + 1)
    ]
    return numbers(tidy(rows), settings_, sorted({seed for _, seed in ends}), max(ends.values()))


def test_theory_is_asked_at_each_seeds_own_last_generation():
    """A deviation that falls exactly as theory says does so in a chain of 20 generations as in one of 60."""
    from components.families.gaussian import theory

    expected = theory.median_deviation(theory.sample_sizes(100, 0.0, 61), 1)
    one = {
        "regime": {"name": "replace", "real_fraction": 0.0}, "start": "scratch", "data": {"training": "a"},
        "fit": {"chains": 50, "dimensions": 1, "ddof": 1}, "sample": {"rows": 100, "growth": 0.0},
    }  # fmt: skip
    ends = {("one", 0): 60, ("one", 1): 20, ("one", 2): 60}
    study = in_memory("deviation/median", lambda _, seed, at: expected[at] * (1 + 1e-6 * seed * at), ends, {"one": one})
    card = scorecard(gaussian_claims(study)).set_index("claim")
    rate = card.loc["The variance falls at the rate of theory"]
    assert rate["estimate"] == pytest.approx(0, abs=1e-3)
    assert rate["generations"] == "60; seed 1: 20"
    falls = card.loc["The variance falls to nothing"]
    assert falls["estimate"] == pytest.approx(
        np.mean([math.log(expected[end // 2] / expected[end]) for end in (60, 20, 60)]), abs=1e-3
    )


def test_the_scaling_law_is_asked_of_each_seed_where_all_sizes_have_it():
    common = {"regime": {"name": "replace", "real_fraction": 0.0}, "start": "scratch", "data": {"training": "a"}}
    fit = {"chains": 50, "dimensions": 1, "ddof": 1}
    conditions = {
        name: {**common, "fit": fit, "sample": {"rows": rows, "growth": 0.0}}
        for name, rows in (("few", 100), ("many", 400))
    }
    ends = {("few", 0): 8, ("many", 0): 8, ("few", 1): 8, ("many", 1): 3, ("few", 2): 8}

    def risk(name: str, seed: int, at: int) -> float:
        return conditions[name]["sample"]["rows"] ** (-1 + 0.1 * at + 1e-6 * seed)

    study = in_memory("wasserstein2_squared/mean", risk, ends, conditions)
    found = profile_of(study, gaussian_evidence(study)).set_index("definition").loc[SCALING]
    assert found["estimate"] == pytest.approx((0.8 + 0.3) / 2, abs=1e-4)
    assert found["generations"] == "8; seed 1: 3"
    assert found["missing"] == "many seed 1 stopped after generation 3 of 8; many seed 2 has no finished generation"


def test_absorption_is_asked_of_the_seeds_that_came_far_enough_and_the_others_are_named():
    one = {
        "regime": {"name": "replace", "real_fraction": 0.0}, "start": "scratch", "data": {"training": "a"},
        "fit": {"chains": 50}, "sample": {"rows": 100},
    }  # fmt: skip
    ends = {("one", 0): 800, ("one", 1): 700, ("one", 2): 30}
    study = in_memory("absorbed", lambda _, seed, at: min(at / (300 + seed), 1.0), ends, {"one": one})
    card = scorecard(discrete_claims(study, {"one": np.array([0.5, 0.5])})).set_index("claim")
    found = card.loc["One outcome is left, after the time that theory says"]
    assert found["seeds"] == 2
    assert "one seed 2 stopped after generation 30 of 800" in found["missing"]


def test_images_and_mixtures_are_asked_at_each_seeds_own_last_generation():
    whole = images(
        lambda generation: {"test/negative_elbo": 100 + 4 * generation, "synthetic/distinct_modes": 9 * 0.6**generation}
    )
    rows = whole.table.drop([("none", 1, 3), ("none", 1, 4)])
    card = scorecard(vae_claims(Numbers(rows, whole.settings, range(4), 4))).set_index(["claim", "conditions"])
    assert card.loc[("The modes entangle", "none"), "generations"] == "4; seed 1: 2"
    assert card.loc[("Keeping 10% real data lessens the rise", "none, keep"), "generations"] == "4; seed 1: 2"

    from components.families.mixture.mixture import Mixture

    one = {
        "regime": {"name": "replace", "real_fraction": 0.0}, "start": "scratch", "data": {"training": "a"},
        "fit": {"chains": 5, "components": 2}, "sample": {"rows": 100},
    }  # fmt: skip
    truth = Mixture(np.ones((1, 2)) / 2, np.zeros((1, 2, 2)), np.repeat(np.eye(2)[None, None], 2, axis=1))
    ends = {("one", 0): 8, ("one", 1): 3}
    study = in_memory("deviation/median", lambda _, seed, at: 0.9 ** (at + 0.01 * seed), ends, {"one": one})
    falls = scorecard(mixture_claims(study, {"one": truth})).set_index("claim").loc["The variance falls to nothing"]
    assert falls["generations"] == "8; seed 1: 3"
    assert falls["estimate"] == pytest.approx(-math.log(0.9) * (4 + 2) / 2, abs=0.01)


# shown


def test_tables_and_pages_name_the_generations_and_what_is_missing():
    study = study_of(language({("keep", 1): 2}))
    judged = judge(study, language_claims(study), language_evidence(study), RISKS["language"])
    assert judged.missing().count("keep seed 1 stopped after generation 2 of 9") == 1
    assert "generation" in verdicts_table(judged.scorecard)
    shown = {row["claim"]: row for row in scorecard_rows(judged.scorecard)}
    assert shown[KEEPING]["generation"] == "9; seed 1: 2"
    assert shown[KEEPING]["missing"] == "keep seed 1 stopped after generation 2 of 9"
    assert {row["generations"] for row in profile_rows(judged.profile) if row["estimate"]} == {"9"}


def test_the_figure_of_conditions_takes_pairs_where_both_are_and_seeds_at_their_own_end():
    metrics = language({("keep", 1): 2})
    lost, saved = figure.losses(metrics), figure.saved(metrics)
    assert lost.loc[0, "keep"] == pytest.approx(0.18 * LAST, abs=0.05)
    assert lost.loc[1, "keep"] == pytest.approx(0.18 * 2, abs=0.05)
    assert saved["keep"].abs().max() < 0.05
    only_began = language({("keep", 0): 0, ("keep", 1): 0})
    assert figure.losses(only_began)["keep"].isna().all()
    picture, page = figure.draw(only_began)  # with a row for each condition, empty where there is nothing to show
    assert [label.get_text() for label in picture.axes[0].get_yticklabels()] == ["keep", "none"]
    assert {name for trace in page.data for name in trace.y} == {"none"}


def test_the_title_of_a_panel_of_figure_10_is_of_the_seeds_that_reached_the_last_generation():
    metrics = language({("none", 1): 2})
    shifted = metrics.assign(value=metrics["value"].where(metrics["seed"] == 0, metrics["value"] * 10))
    picture, page = figure10.draw(shifted)
    ends = shifted[(shifted["condition"] == "none") & (shifted["seed"] == 0)].set_index("generation")["value"]
    title = f"none: {notation.short(ends[0])} → {notation.short(ends[LAST])}"
    assert picture.axes[0].get_title(loc="left") == title
    assert page.layout.annotations[0].text == title


def test_the_overview_of_studies_averages_the_seeds_that_reached_the_last_generation():
    metrics = language({("none", 1): 2})
    shifted = metrics["value"].where(metrics["seed"] == 0, metrics["value"] * 10)
    contents = Contents("a study", {}, metrics=metrics.assign(value=shifted), run=RUN)
    table = errors([contents]).set_index("condition")
    assert table.loc["none", "seeds"] == "1 of 2"
    assert float(table.loc["none", "generation 0"]) == pytest.approx(20, rel=0.05)
    assert table.loc["keep", "seeds"] == "2"


def test_a_mean_over_seeds_does_not_jump_where_a_chain_stopped():
    """Seed 0 rises from 20, seed 1 from 200 and stops: beyond there is no mean of both, and the table counts seeds."""
    rows = [
        ("none", seed, at, metric, first * 1.1**at)
        for seed, first, last in ((0, 20.0, 5), (1, 200.0, 2))
        for at in range(last + 1)
        for metric in ("test/perplexity", "synthetic/distinct_2")
    ]
    metrics = tidy(rows)
    table = closing_table(metrics)
    assert table["seeds"].tolist() == ["2", "2", "2", "1 of 2", "1 of 2", "1 of 2"]
    for draw in (figure10.draw, diversity.draw):
        picture, page = draw(metrics)
        bold = next(trace for trace in page.data if trace.mode == "lines+markers")
        assert list(bold.x) == [0, 1, 2]
        assert np.diff(bold.y).min() > 0
        assert "over 2 seeds, as far as all of them came" in " ".join(
            text.get_text().replace("\n", " ") for text in picture.texts
        )
    assert by_generation(metrics)["generation"].tolist() == [0, 1, 2]
