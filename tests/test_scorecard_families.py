"""The scorecards and profiles of the small families: what theory says of real chains is found, and what was put into numbers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.families.discrete.family import DiscreteFamily
from components.families.gaussian.family import GaussianFamily
from components.families.mixture.em import Recipe
from components.families.mixture.family import MixtureFamily, tail_of_truth, tail_share
from components.measures.risk import RISKS
from components.recursion.loop import make_chain, run_chain
from components.regimes import Regime
from components.scorecard import (
    NOT_ASKED,
    Numbers,
    discrete_claims,
    discrete_evidence,
    gaussian_claims,
    gaussian_evidence,
    judge,
    mixture_claims,
    mixture_evidence,
    numbers,
    scorecard,
    vae_claims,
    vae_evidence,
)
from components.scorecard import profile as profile_of
from components.scorecard.profile import (
    ANY,
    CATASTROPHIC,
    DIVERGING,
    HALLUCINATED,
    MEANINGS,
    MODES,
    SCALING,
    TAIL,
    VARIANCE,
)
from components.store import Store

HOLDS, NOT = "holds here", "does not"
FALLS, RATE = "The variance falls to nothing", "The variance falls at the rate of theory"
THEOREM = "The risk grows as the theorem says"
KEEPING = "Keeping 30% real data lessens the rise"
ENTANGLE = "The modes entangle"
ZIPF = tuple((np.arange(1, 51.0) ** -1 / (np.arange(1, 51.0) ** -1).sum()).tolist())


def study_of(folder: Path, families: Mapping[str, tuple[Any, Regime, int]], seeds: range = range(4)) -> Numbers:
    """Real chains in memory, as a study has their numbers."""
    store, rows, settings = Store.open(str(folder)), [], {}
    for name, (family, regime, generations) in families.items():
        for seed in seeds:
            chain = make_chain(family, name, regime, "scratch", seed)
            settings[name] = chain.settings
            for one in run_chain(chain, family, store, generations):
                rows += [(name, seed, one.index, metric, value) for metric, value in one.metrics.items()]
    return numbers(pd.DataFrame(rows, columns=["condition", "seed", "generation", "metric", "value"]), settings)


def card_of(claims: list[Any]) -> pd.DataFrame:
    return scorecard(claims).set_index(["claim", "conditions"])


def profile(study: Numbers, evidence: Mapping[str, Any]) -> pd.DataFrame:
    return profile_of(study, evidence).set_index("definition")


# Gaussians


@pytest.fixture(scope="module")
def gaussians(tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    families = {
        "few": (GaussianFamily(5000, 100), Regime("replace"), 60),
        "many": (GaussianFamily(5000, 400), Regime("replace"), 60),
        "keep": (GaussianFamily(200, 100), Regime("replace", 0.3), 60),
        "all": (GaussianFamily(1000, 100), Regime("accumulate"), 60),
        "biased": (GaussianFamily(1000, 100, ddof=0), Regime("replace"), 60),
        "growing": (GaussianFamily(1000, 100, growth=1.5), Regime("replace"), 60),
        "plane": (GaussianFamily(100, 100, dimensions=2), Regime("replace"), 60),
    }
    return study_of(tmp_path_factory.mktemp("gaussians"), families)


def test_gaussians_lose_their_variance_at_the_rate_of_theory(gaussians: Numbers):
    card = card_of(gaussian_claims(gaussians))
    for claim in (FALLS, RATE, THEOREM):
        assert card.loc[(claim, "few"), "verdict"] == HOLDS
    assert abs(card.loc[(RATE, "few"), "estimate"]) < 0.1
    assert abs(card.loc[(THEOREM, "few"), "estimate"]) < 0.1
    assert card.loc[(RATE, "biased"), "verdict"] == HOLDS  # theory knows what dividing by M does
    assert card.loc[(RATE, "few"), "low"] > -0.2
    assert card.loc[(RATE, "few"), "high"] < 0.2


def test_what_theory_does_not_say_is_not_asked_of_it(gaussians: Numbers):
    card = card_of(gaussian_claims(gaussians))
    assert card.loc[(THEOREM, "biased"), "verdict"] == NOT_ASKED
    assert card.loc[(RATE, "plane"), "verdict"] == NOT_ASKED
    assert "growing" not in set(card.index.get_level_values("conditions"))


def test_a_rate_that_is_not_theorys_is_found_out(gaussians: Numbers):
    wrong = gaussians.table.copy()
    generation = wrong.index.get_level_values("generation")
    wrong["deviation/median"] *= np.exp(-0.005 * generation)  # as much again as with a hundred rows
    card = card_of(gaussian_claims(Numbers(wrong, gaussians.settings)))
    assert card.loc[(RATE, "few"), "verdict"] == NOT
    assert card.loc[(FALLS, "few"), "verdict"] == HOLDS


def test_keeping_real_data_is_held_against_what_is_else_the_same(gaussians: Numbers):
    card = card_of(gaussian_claims(gaussians))
    kept = card.loc[(KEEPING, "few, keep")]
    assert kept["verdict"] == HOLDS
    assert "chains 5000 and 200" in kept["definition"]
    assert card.loc[("Training on all data so far lessens the rise", "few, all"), "verdict"] == HOLDS
    pairs = {conditions for _, conditions in card.index if "," in conditions}
    assert pairs == {"few, keep", "few, all"}


def test_the_profile_of_gaussians_asks_all_but_modes(gaussians: Numbers):
    found = profile(gaussians, gaussian_evidence(gaussians))
    assert list(found.index) == list(MEANINGS)
    assert found.loc[CATASTROPHIC, "verdict"] != HOLDS  # 60 generations of a hundred rows: a risk of nine tenths
    for definition in (ANY, DIVERGING, VARIANCE, TAIL):
        assert found.loc[definition, "verdict"] == HOLDS, definition
    assert found.loc[MODES, "verdict"] == NOT_ASKED
    assert found.loc[MODES, "why_not"] == "a Gaussian has one mode"
    assert (found.loc[found["verdict"] != NOT_ASKED, "why_not"] == "").all()
    assert set(found.loc[[ANY, VARIANCE], "conditions"]) == {"few"}
    assert found.loc[SCALING, "conditions"] == "few, many"


def test_the_scaling_laws_exponent_is_that_of_a_straight_line(gaussians: Numbers):
    found = profile(gaussians, gaussian_evidence(gaussians)).loc[SCALING]
    risk = gaussians.table["wasserstein2_squared/mean"]
    slopes = [
        np.mean([np.log(risk[("few", seed, at)] / risk[("many", seed, at)]) / np.log(1 / 4) for seed in range(4)])
        for at in (0, 60)
    ]
    assert found["estimate"] == pytest.approx(slopes[1] - slopes[0])
    assert slopes[0] == pytest.approx(-1, abs=0.1)


def test_accumulated_data_is_no_collapse_that_diverges(gaussians: Numbers):
    """Where every condition keeps real data the first of them is profiled."""
    study = Numbers(gaussians.table, {"all": gaussians.settings["all"]})
    found = profile(study, gaussian_evidence(study))
    assert found.loc[ANY, "conditions"] == "all"
    assert found.loc[CATASTROPHIC, "verdict"] == NOT
    assert found.loc[DIVERGING, "verdict"] == NOT
    assert found.loc[SCALING, "why_not"] == "needs conditions that differ in the size of the sample alone"


# discrete distributions


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Numbers, dict[str, np.ndarray]]:
    families = {
        "uniform": (DiscreteFamily(400, 100, (0.5, 0.5)), Regime("replace"), 560),
        "zipf": (DiscreteFamily(400, 50, ZIPF), Regime("replace"), 100),
        "keep": (DiscreteFamily(400, 50, ZIPF), Regime("replace", 0.3), 100),
    }
    study = study_of(tmp_path_factory.mktemp("outcomes"), families)
    return study, {name: np.array(family.probabilities) for name, (family, *_) in families.items()}


def test_discrete_distributions_lose_the_tail_first_and_the_rest_at_the_rate_of_theory(outcomes):
    study, truths = outcomes
    card = card_of(discrete_claims(study, truths))
    assert card.loc[("The tail goes before the bulk", "zipf"), "verdict"] == HOLDS
    assert ("The tail goes before the bulk", "uniform") not in card.index
    for name in ("uniform", "zipf"):
        of_theory = card.loc[("The probability that two draws differ falls at the rate of theory", name)]
        assert of_theory["verdict"] == HOLDS
        assert abs(of_theory["estimate"]) < 0.1
    absorbed = "One outcome is left, after the time that theory says"
    assert card.loc[(absorbed, "uniform"), "verdict"] == HOLDS
    assert card.loc[(absorbed, "zipf"), "verdict"] == NOT_ASKED  # of first order in 1/M, and M is 50
    assert card.loc[(KEEPING, "zipf, keep"), "verdict"] == HOLDS


def test_the_profile_of_discrete_distributions_says_why_what_cannot_happen_is_not_asked(outcomes):
    study, truths = outcomes
    found = profile(study, discrete_evidence(study, truths))
    for definition in (CATASTROPHIC, ANY, VARIANCE, TAIL):
        assert found.loc[definition, "verdict"] == HOLDS, definition
    assert found.loc[TAIL, "conditions"] == "zipf"  # the first condition has no tail
    assert found.loc[[DIVERGING, MODES, HALLUCINATED], "verdict"].eq(NOT_ASKED).all()
    assert found.loc[[DIVERGING, MODES, HALLUCINATED], "why_not"].ne("").all()


def test_outcomes_that_generation_0_lost_already_are_lost():
    """The truth is known: what the chains never had is measured against that."""
    one = {
        "regime": {"name": "replace", "real_fraction": 0.0}, "start": "scratch", "data": {"training": "a"},
        "fit": {"chains": 2000}, "sample": {"rows": 2},
    }  # fmt: skip
    rows = [
        ("one", seed, at, metric, value)
        for seed in range(3)
        for at in range(3)
        for metric, value in {"support/mean": 1.0, "heterozygosity/mean": 0.0, "total_variation/mean": 0.001}.items()
    ]
    study = numbers(pd.DataFrame(rows, columns=["condition", "seed", "generation", "metric", "value"]), {"one": one})
    found = profile(study, discrete_evidence(study, {"one": np.array([0.999, 0.0005, 0.0005])}))
    assert found.loc[[TAIL, VARIANCE], "verdict"].eq(HOLDS).all()
    assert found.loc[TAIL, "estimate"] == pytest.approx(2 / 3)
    assert found.loc[VARIANCE, "estimate"] == 1


# mixtures


def test_the_tail_of_a_known_mixture_is_what_endless_draws_have_there():
    random = np.random.default_rng(0)
    for apart in (0.0, 2.0, 4.0, 9.0):
        centres = np.array([[0.0, 0.0], [apart, 0.0]])
        drawn = random.standard_normal((1, 1_000_000, 2)) + centres[random.integers(0, 2, 1_000_000)]
        assert tail_of_truth(centres) == pytest.approx(tail_share(drawn, centres)[0], rel=0.05)
    assert tail_of_truth(np.zeros((1, 2))) == pytest.approx(0.01)


def test_mixtures_are_asked_about_modes_only_where_the_truth_and_the_model_have_several(tmp_path: Path):
    apart, one = ((-2.0, 0.0), (2.0, 0.0)), ((0.0, 0.0),)
    families = {
        "blob": (MixtureFamily(4, 60, one, Recipe(2, 1e-3, 1e-6, 200, "kmeans")), Regime("replace"), 6),
        "two": (MixtureFamily(4, 60, apart, Recipe(2, 1e-3, 1e-6, 200, "kmeans")), Regime("replace"), 6),
        "single": (MixtureFamily(4, 60, apart, Recipe(1, 1e-3, 1e-6, 200, "kmeans")), Regime("replace"), 6),
        "keep": (MixtureFamily(4, 60, apart, Recipe(2, 1e-3, 1e-6, 200, "kmeans")), Regime("replace", 0.3), 6),
    }
    study = study_of(tmp_path, families, range(2))
    truths = {name: family.truth() for name, (family, *_) in families.items()}
    judged = judge(study, mixture_claims(study, truths), mixture_evidence(study, truths), RISKS["mixture"])
    asked = judged.scorecard.groupby("claim")["conditions"].agg(list)
    assert asked[ENTANGLE] == ["two"]
    assert asked[FALLS] == ["blob", "two", "single"]
    assert asked[KEEPING] == ["two, keep"]
    found = judged.profile.set_index("definition")
    assert found.loc[MODES, "conditions"] == "two"
    assert found.loc[VARIANCE, "conditions"] == "blob"
    assert found["seeds"].tolist() == [2, 2, 2, 0, 2, 2, 2, 2]


def test_the_risk_of_no_density_at_all_is_the_integral_of_the_truths_square(tmp_path: Path):
    """Of one unit Gaussian in the plane 1 / (4 pi)."""
    family = MixtureFamily(4, 60, ((0.0, 0.0),), Recipe(1, 1e-3, 1e-6, 200, "kmeans"))
    study = study_of(tmp_path, {"blob": (family, Regime("replace"), 2)}, range(2))
    found = profile(study, mixture_evidence(study, {"blob": family.truth()}))
    last = np.exp(np.log(study.table["squared_l2/median"].loc["blob", :, 2]).mean())
    assert found.loc[CATASTROPHIC, "estimate"] == pytest.approx(np.log(last * 4 * np.pi))


# VAEs


def images(change: Callable[[int], dict[str, float]], seeds: int = 4, generations: int = 5) -> Numbers:
    """A study of VAEs whose numbers are put there."""
    random, rows = np.random.default_rng(0), []
    for condition, slower in (("none", 1), ("keep", 4)):
        for seed in range(seeds):
            for generation in range(generations):
                for metric, value in change(generation / slower).items():
                    rows.append((condition, seed, generation, metric, value * random.normal(1, 0.001)))
    common = {"fit": {"epochs": 3}, "sample": {"sampling": "means"}, "start": "scratch", "data": {"training": "a"}}
    regimes = {name: {"name": "replace", "real_fraction": share} for name, share in (("none", 0.0), ("keep", 0.1))}
    settings = {name: {**common, "regime": regime} for name, regime in regimes.items()}
    frame = pd.DataFrame(rows, columns=["condition", "seed", "generation", "metric", "value"])
    return numbers(frame, settings)


def collapsing(generation: float) -> dict[str, float]:
    return {
        "test/negative_elbo": 100 + 4 * generation,
        "test/negative_elbo_of_the_mean_image": 120,
        "synthetic/latent_spread": 0.8 * 0.8**generation,
        "synthetic/distinct_modes": 1 + 8 * 0.6**generation,
        "synthetic/outer_latents": 0.05 * 0.5**generation,
        "synthetic/beyond_real_p99": 0.01 + 0.02 * generation,
        "heldout/distinct_modes": 9,
        "heldout/outer_latents": 0.05,
        "heldout/beyond_real_p99": 0.01,
    }


def test_vaes_whose_images_fall_together_are_seen_to():
    study = images(collapsing)
    card = card_of(vae_claims(study))
    assert card["verdict"].eq(HOLDS).all()
    assert card.loc[(ENTANGLE, "none"), "estimate"] == pytest.approx(np.log(9 / (1 + 8 * 0.6**4)), abs=0.01)
    kept = card.loc[("Keeping 10% real data lessens the rise", "none, keep")]
    assert (kept["estimate"], kept["unit"]) == (pytest.approx(12, abs=1), "nats an image")
    found = profile(study, vae_evidence(study))
    assert found.drop(SCALING)["verdict"].eq(HOLDS).all()
    assert found.loc[CATASTROPHIC, "estimate"] == pytest.approx(116 - 110, abs=1)


def test_vaes_whose_images_stay_as_they_are_have_not_collapsed():
    study = images(lambda generation: collapsing(0))
    assert card_of(vae_claims(study)).loc[(ENTANGLE, "none"), "verdict"] == NOT
    found = profile(study, vae_evidence(study))
    assert not found["verdict"].eq(HOLDS).any()
    assert found.loc[[CATASTROPHIC, VARIANCE, MODES, TAIL], "verdict"].eq(NOT).all()


@pytest.mark.parametrize(("seeds", "generations"), [(1, 5), (3, 1), (1, 1)])
def test_with_one_seed_or_one_generation_there_are_rows_that_say_so(seeds: int, generations: int):
    study = images(collapsing, seeds, generations)
    judged = judge(study, vae_claims(study), vae_evidence(study), RISKS["vae"])
    wanted = {"cannot tell with 1 seed", NOT_ASKED} if generations > 1 else {NOT_ASKED}
    assert set(judged.scorecard["verdict"]) <= wanted
    assert set(judged.profile["verdict"]) == wanted
    assert judged.profile.loc[judged.profile["verdict"] == NOT_ASKED, "why_not"].ne("").all()
