"""Verdicts know what was counted: shares of few samples, one finite test split, a reference that is measured too."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from components.measures.errors import BATCHES, mean_error, median_error, quantile_error, serial_error, share_error
from components.measures.risk import RISKS
from components.scorecard import (
    NOT_ASKED,
    Numbers,
    discrete_evidence,
    gaussian_evidence,
    judge,
    language_claims,
    language_evidence,
    numbers,
    scorecard,
    vae_evidence,
)
from components.scorecard import profile as profile_of
from components.scorecard.evidence.vae import MEAN_IMAGE
from components.scorecard.profile import ANY, CATASTROPHIC, DIVERGING, HALLUCINATED, MODES, VARIANCE
from components.scorecard.profile import TAIL as DISAPPEARS
from components.scorecard.verdict import SHARED_DEGREES
from pipelines.scores import TIDY, beside_real_text, losses_on_test, under_generation_0
from tests.simulated import settings

RISES = "Perplexity on real data rises with the generations"
KEEPING = "Keeping 10% real data lessens the rise"
APPEARS = "Text appears that generation 0 would hardly have written"
FIRST = "The tail goes before the bulk"


def tidy(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=TIDY)


def of_one(values: dict[str, list[list[float]]], generations: int = 2) -> Numbers:
    """A study of one condition: by metric, a row per seed, a column per generation."""
    rows = [
        ("none", seed, generation, metric, of_seed[generation])
        for metric, by_seed in values.items()
        for seed, of_seed in enumerate(by_seed)
        for generation in range(generations)
    ]
    return numbers(tidy(rows), {"none": settings()["none"]})


def card_of(study: Numbers) -> pd.DataFrame:
    return scorecard(language_claims(study)).set_index("claim")


def profile(study: Numbers, evidence) -> pd.DataFrame:
    return profile_of(study, evidence(study)).set_index("definition")


# standard errors


@pytest.mark.parametrize("units", [1, 64, 512])
def test_the_error_of_a_share_is_the_binomials_with_half_a_unit_more_of_either_kind(units: int):
    for count in {0, 1, units // 2, units}:
        likely = (count + 0.5) / (units + 1)
        assert share_error(count / units, units) == pytest.approx(stats.binom(units, likely).std() / units)
    assert share_error(0.0, units) > 0


@pytest.mark.parametrize("n", [25, 200, 1000])
def test_the_error_of_a_median_is_that_of_medians_of_many_samples(n: int):
    samples = np.exp(np.random.default_rng(n).normal(3, 0.5, (400, n)))
    found = np.mean([median_error(one) for one in samples])
    assert found == pytest.approx(np.median(samples, axis=1).std(), rel=0.15)
    assert median_error(np.full(n, 7.0)) == 0


def in_documents(random: np.random.Generator, blocks: int, document: int, sets: int) -> np.ndarray:
    """Draw sets of values (sets, blocks); the values of one document share half of their variance."""
    of_documents = random.normal(0, 1, (sets, blocks // document)).repeat(document, axis=1)
    return random.normal(0, 1, (sets, blocks)) + of_documents


@pytest.mark.parametrize("document", [1, 5, 10])
def test_the_error_of_a_mean_over_blocks_of_documents_is_that_of_many_test_splits(document: int):
    sets = in_documents(np.random.default_rng(document), 600, document, 400)
    found = np.mean([serial_error(one) for one in sets])
    assert found == pytest.approx(sets.mean(axis=1).std(), rel=0.15)
    independent = np.mean([mean_error(one) for one in sets])
    assert independent == pytest.approx(found / math.sqrt((1 + document) / 2), rel=0.1)


def test_few_blocks_are_a_batch_each():
    values = np.random.default_rng(0).normal(0, 1, BATCHES - 5)
    assert serial_error(values) == mean_error(values)


@pytest.mark.parametrize("document", [1, 10])
def test_the_error_of_a_quantile_is_how_much_the_true_share_beyond_it_varies(document: int):
    sets = in_documents(np.random.default_rng(0), 1000, document, 400)
    beyond = stats.norm.sf(np.quantile(sets, 0.99, axis=1) / math.sqrt(2))
    found = np.mean([quantile_error(one, 0.99) for one in sets])
    assert 0.8 * beyond.std() <= found <= 1.5 * beyond.std()  # of ten values beyond it, batch means know little


# shares of samples


def scores_of(beyond: list[list[int]], of: int, test: int) -> pd.DataFrame:
    """What scores.parquet holds: by seed and generation, so many of so many samples lie beyond all real text."""
    frames = []
    for seed, counts in enumerate(beyond):
        for generation, count in enumerate(counts):
            written = np.r_[np.full(count, 1e6), np.linspace(10, 11, of - count)]
            scale = 1 if generation == 0 else 1e3  # other models' scores are of no concern
            real = np.random.default_rng(0).permutation(np.linspace(20, 100, test)) * scale
            sets = {"synthetic": written, "test": real} | ({"real": np.full(9, 1.0)} if generation == 0 else {})
            frames += [
                pd.DataFrame(
                    {"set": name, "row": range(len(values)), "loss": np.log(values), "perplexity": values}
                ).assign(condition="none", seed=seed, generation=generation)
                for name, values in sets.items()
            ]
    return pd.concat(frames, ignore_index=True)


def appears(beyond: list[list[int]], of: int, test: int = 1000) -> pd.Series:
    study = numbers(beside_real_text(scores_of(beyond, of, test)), {"none": settings()["none"]})
    return card_of(study).loc[APPEARS]


def test_two_seeds_that_both_count_none_of_512_leave_open_whether_a_tail_appears():
    found = appears([[5, 0]] * 2, of=512)
    assert found["estimate"] == pytest.approx(-0.01)
    assert found["verdict"] == "cannot tell with 2 seeds"
    assert found["low"] < -0.012
    assert found["high"] > -0.008


def test_one_sequence_of_64_in_each_of_two_seeds_is_counting_noise():
    found = appears([[0, 1], [0, 1]], of=64)
    assert found["estimate"] == pytest.approx(1 / 64 - 0.01)
    assert found["verdict"] == "cannot tell with 2 seeds"


def test_what_many_seeds_count_in_thousands_is_firm_again():
    assert appears([[50, 0]] * 10, of=5000, test=20_000)["verdict"] == "does not"
    assert appears([[50, 500 + seed] for seed in range(5)], of=5000, test=20_000)["verdict"] == "holds here"


def test_unlikely_text_is_counted_beyond_the_test_text_and_not_beyond_generation_0s_own_training_text():
    """The training text here is far likelier under generation 0 than any other: beyond its quantile lies everything."""
    found = beside_real_text(scores_of([[0, 3]], of=100, test=200))
    wide = found.pivot_table(index="generation", columns="metric", values="value")
    assert wide["synthetic/beyond_real_p99"].tolist() == [0, 0.03]
    assert wide["heldout/beyond_real_p99"].tolist() == [0.01, 0.01]
    assert wide.loc[1, "synthetic/beyond_real_p99_error"] == pytest.approx(share_error(0.03, 100))
    assert wide.loc[1, "heldout/beyond_real_p99_error"] >= math.sqrt(0.01 * 0.99 / 200)
    (chain,) = under_generation_0(scores_of([[0, 3]], of=100, test=200))
    assert chain.held_out["perplexity"].max() == 100  # generation 0's scores of it, not a later model's


def test_a_batch_of_chains_that_all_end_alike_says_no_more_than_its_number_of_chains():
    """Each chain keeps one of ten uniform outcomes, so the risk is the same in every seed, to rounding."""
    one = {
        "regime": {"name": "replace", "real_fraction": 0.0}, "start": "scratch", "data": {"training": "a"},
        "fit": {"chains": 3}, "sample": {"rows": 10},
    }  # fmt: skip
    truth = {"one": np.full(10, 0.1)}

    def found(chains: int) -> pd.DataFrame:
        conditions = {"one": {**one, "fit": {"chains": chains}}}
        rows = [
            ("one", seed, at, metric, value + 1e-17 * seed)
            for seed in range(3)
            for metric, values in {"total_variation/mean": (0.3, 0.9), "heterozygosity/mean": (0.8, 0.0)}.items()
            for at, value in enumerate(values)
        ]
        study = numbers(tidy(rows), conditions)
        return profile_of(study, discrete_evidence(study, truth)).set_index("definition")

    assert found(2).loc[[CATASTROPHIC, VARIANCE], "verdict"].str.startswith("cannot tell").all()
    assert found(200).loc[[CATASTROPHIC, VARIANCE], "verdict"].eq("holds here").all()
    assert found(200).loc[VARIANCE, "estimate"] == 1


def test_gaussians_that_lost_their_tail_to_the_last_digit_lost_all_of_it():
    one = {
        "regime": {"name": "replace", "real_fraction": 0.0}, "start": "scratch", "data": {"training": "a"},
        "fit": {"chains": 200, "dimensions": 1, "ddof": 1}, "sample": {"rows": 10, "growth": 0.0},
    }  # fmt: skip
    rows = [("one", seed, at, "tail/median", value) for seed in range(5) for at, value in enumerate((0.01, 0.0))]
    study = numbers(tidy(rows), {"one": one})
    found = profile_of(study, gaussian_evidence(study)).set_index("definition").loc[DISAPPEARS]
    assert (found["estimate"], found["verdict"]) == (1, "holds here")


# one test split


def split_study(d: np.ndarray, scatter: float, seeds: int = 3) -> Numbers:
    """A study whose loss on block b rises by d[b] in every seed without real data, and not at all with it."""
    random, rows, held_out = np.random.default_rng(0), [], {}
    base = random.normal(4, 1, len(d))
    for condition in settings():
        for seed in range(seeds):
            for generation in range(3):
                own = random.normal(0, scatter) if scatter else 0.0
                losses = base + own + (d * generation / 2 if condition == "none" else 0)
                held_out[(condition, seed, generation)] = losses
                rows.append((condition, seed, generation, "test/perplexity", math.exp(losses.mean())))
    return numbers(tidy(rows), settings(), held_out=held_out)


def test_what_seeds_have_in_common_on_a_finite_test_split_is_in_the_interval():
    d = np.random.default_rng(1).normal(0.05, 1.0, 100)
    d += 0.05 - d.mean()  # 0.05 nats on average, by no means sure: the standard error is 0.1
    study = split_study(d, scatter=0.0)
    card = card_of(study)
    for claim in (RISES, KEEPING):
        found = card.loc[claim]
        assert found["verdict"] == "cannot tell with 3 seeds"
        arm = stats.t.ppf(0.975, SHARED_DEGREES) * serial_error(d)
        assert (found["low"], found["high"]) == pytest.approx((0.05 - arm, 0.05 + arm))
        assert found["open_because"] == "test split"
    judged = judge(study, language_claims(study), language_evidence(study), RISKS["language"])
    assert "Even 1,000 seeds would not decide" in judged.power_note()
    assert "A larger test split would help." in judged.power_note()


def test_blocks_are_paired_so_that_hard_ones_make_no_interval_wide():
    """Losses differ by 1 nat between blocks, and rise by 0.05 in each: the rise is sure."""
    card = card_of(split_study(np.full(100, 0.05), scatter=0.001))
    assert card.loc[[RISES, KEEPING], "verdict"].eq("holds here").all()
    assert (card.loc[RISES, "high"] - card.loc[RISES, "low"]) < 0.02


def test_the_test_splits_error_is_that_of_the_seeds_own_generations():
    random = np.random.default_rng(2)
    held_out = {("none", seed, at): random.normal(4, 1, 50) for seed in range(2) for at in range(4)}
    rows = [
        (*key, "test/perplexity", math.exp(losses.mean())) for key, losses in held_out.items() if key != ("none", 1, 3)
    ]
    study = numbers(tidy(rows), {"none": settings()["none"]}, held_out=held_out)
    rise = language_claims(study)[0]
    paired = (
        held_out[("none", 0, 3)] - held_out[("none", 0, 0)] + held_out[("none", 1, 2)] - held_out[("none", 1, 0)]
    ) / 2
    assert rise.shared == pytest.approx(serial_error(paired))
    assert np.mean([*rise.differences.values()]) == pytest.approx(paired.mean())


def test_every_definition_of_risk_has_the_error_of_its_own_combination_of_losses():
    random = np.random.default_rng(3)
    held_out = {("none", seed, at): random.normal(4 + at, 1, 60) for seed in range(3) for at in range(5)}
    rows = [(*key, "test/negative_elbo", losses.mean()) for key, losses in held_out.items()]
    lost = random.normal(9, 1, 60)
    rows += [("none", seed, at, MEAN_IMAGE, lost.mean()) for seed in range(3) for at in range(5)]
    held_out |= {(MEAN_IMAGE, seed, 0): lost for seed in range(3)}
    study = numbers(tidy(rows), {"none": settings()["none"]}, held_out=held_out)
    evidence = vae_evidence(study)
    mean = {at: np.mean([held_out[("none", seed, at)] for seed in range(3)], axis=0) for at in range(5)}
    wanted = {
        ANY: mean[4] - mean[0],
        CATASTROPHIC: mean[4] - (mean[0] + lost) / 2,
        DIVERGING: (mean[4] - mean[2]) / 2 - (mean[2] - mean[0]) / 4,
    }
    for definition, by_image in wanted.items():
        claim = evidence[definition].claim("none")
        assert np.mean([*claim.differences.values()]) == pytest.approx(by_image.mean()), definition
        assert claim.shared == pytest.approx(serial_error(by_image)), definition


def test_the_losses_on_the_test_split_are_taken_row_by_row_from_every_generations_scores():
    scores = scores_of([[0, 1], [0, 1]], of=10, test=20).sample(frac=1, random_state=0)
    found = losses_on_test(scores, "loss")
    assert set(found) == {("none", seed, at) for seed in (0, 1) for at in (0, 1)}
    np.testing.assert_allclose(
        found[("none", 1, 1)], np.log(np.random.default_rng(0).permutation(np.linspace(20, 100, 20)) * 1e3)
    )


@given(st.integers(2, 5), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_the_difference_of_a_claim_is_the_mean_of_its_blocks(seeds: int, blocks: int, seed: int):
    """What the shared error is the error of is what the claim says."""
    random = np.random.default_rng(seed)
    held_out = {
        (name, one, at): random.normal(4, 1, blocks) for name in settings() for one in range(seeds) for at in range(3)
    }
    rows = [(*key, "test/perplexity", math.exp(losses.mean())) for key, losses in held_out.items()]
    study = numbers(tidy(rows), settings(), held_out=held_out)
    claim = {one.text: one for one in language_claims(study)}[KEEPING]
    rises = {
        name: np.mean([held_out[(name, one, 2)] - held_out[(name, one, 0)] for one in range(seeds)], axis=0)
        for name in settings()
    }
    paired = rises["none"] - rises["keep"]
    assert np.mean([*claim.differences.values()]) == pytest.approx(paired.mean(), abs=1e-9)
    assert claim.shared == pytest.approx(serial_error(paired))


# diverging


@pytest.mark.parametrize(
    "curve", [(100, 80, 70, 66, 64), (100, 80, 64, 64, 64), (100, 120, 119, 118, 117), (100, 150, 160, 162, 163)]
)
def test_a_risk_that_falls_or_levels_off_does_not_diverge(curve: tuple[int, ...]):
    random = np.random.default_rng(0)
    values = [[one * math.exp(random.normal(0, 1e-4)) for one in curve] for _ in range(5)]
    found = profile(of_one({"test/perplexity": values}, 5), language_evidence)
    assert not found.loc[DIVERGING, "verdict"].startswith("holds")


@pytest.mark.parametrize("curve", [(100, 120, 140, 160, 180), (100, 90, 80, 100, 120), (100, 100, 100, 120, 150)])
def test_a_risk_that_still_rises_diverges_also_where_it_fell_at_first(curve: tuple[int, ...]):
    random = np.random.default_rng(0)
    values = [[one * math.exp(random.normal(0, 1e-4)) for one in curve] for _ in range(5)]
    found = profile(of_one({"test/perplexity": values}, 5), language_evidence)
    assert found.loc[DIVERGING, "verdict"] == "holds here"


# the tail of real data


def rare(values: list[list[float]]) -> dict[str, list[list[float]]]:
    """Rare mass of samples, and of held-out text, whose one per cent is known to a tenth."""
    same = [[1.0] * len(values[0])] * len(values)
    scaled = {"heldout/rare_token_mass": 0.00995, "heldout/rare_token_mass_error": 0.001}
    fixed = {metric: (np.array(same) * value).tolist() for metric, value in scaled.items()}
    return {"synthetic/rare_token_mass": values, **fixed}


def test_the_tail_that_generation_0_had_lost_already_is_lost():
    """Rare mass of 0 in every generation, against 0.00995 in real text: total loss, a share of 1."""
    found = profile(of_one(rare([[0.0, 0.0]] * 3)), language_evidence).loc[DISAPPEARS]
    assert found["estimate"] == 1
    assert found["seeds"] == 3
    assert found["verdict"] == "holds here"
    assert found["missing"] == ""
    assert 0.5 < found["low"] < found["high"] == 1  # no share lost is larger than the whole


def test_what_is_lost_is_held_against_real_text_and_not_against_generation_0():
    found = profile(of_one(rare([[0.001, 0.001 + 1e-5 * seed] for seed in range(3)])), language_evidence).loc[
        DISAPPEARS
    ]
    assert found["estimate"] == pytest.approx(1 - 0.00101 / 0.00995)
    entropy = {"synthetic/entropy_1": [[5.0, 4.5]] * 3, "heldout/entropy_1": [[6.0, 6.0]] * 3}
    first = card_of(of_one(rare([[0.0, 0.002 + 1e-5 * seed] for seed in range(3)]) | entropy)).loc[FIRST]
    assert first["estimate"] == pytest.approx(4.5 / 6 - 0.00201 / 0.00995)
    assert first["generations"] == "1"


def test_the_error_of_a_reference_is_shared_and_of_samples_each_seeds_own():
    values = rare([[0.01, 0.005 + 1e-6 * seed] for seed in range(3)])
    noisy = values | {"synthetic/rare_token_mass_error": [[0.0005, 0.0004]] * 3}
    claim = language_evidence(of_one(noisy))[DISAPPEARS].claim("none")
    assert [*claim.noise.values()] == pytest.approx([0.0004 / 0.00995] * 3)
    assert claim.shared == pytest.approx(0.001 / 0.00995)


def test_a_study_from_before_held_out_measures_says_that_it_lacks_them():
    study = of_one({
        "synthetic/rare_token_mass": [[0.01, 0.002]] * 2, "synthetic/entropy_1": [[6.0, 5.0]] * 2,
        "synthetic/beyond_real_p99": [[0.01, 0.2]] * 2,
    })  # fmt: skip
    card, found = card_of(study), profile(study, language_evidence)
    assert (card.loc[FIRST, "verdict"], card.loc[APPEARS, "verdict"]) == (NOT_ASKED, NOT_ASKED)
    assert card.loc[FIRST, "missing"] == "not measured in this study: heldout/rare_token_mass, heldout/entropy_1"
    assert "not measured in this study: heldout/rare_token_mass" in found.loc[DISAPPEARS, "why_not"]
    assert "not measured in this study: heldout/beyond_real_p99" in found.loc[HALLUCINATED, "why_not"]


def test_the_most_collapsed_seed_of_a_study_of_images_is_counted():
    """One seed's generation 0 has no outer latents: it lost all that real images have."""
    random = np.random.default_rng(0)
    outer = [[0.05, 0.002], [0.04, 0.001], [0.0, 0.0]]
    values = {
        "synthetic/outer_latents": outer,
        "synthetic/outer_latents_error": [[share_error(one, 1600) for one in row] for row in outer],
        "heldout/outer_latents": [[0.1, 0.1]] * 3,
        "heldout/outer_latents_error": [[share_error(0.1, 1600)] * 2] * 3,
        "synthetic/distinct_modes": [[5.0, 1.0 + random.uniform(0, 0.1)] for _ in range(3)],
        "heldout/distinct_modes": [[8.0, 8.0]] * 3,
    }
    found = profile(of_one(values), vae_evidence)
    assert found.loc[DISAPPEARS, "seeds"] == 3
    assert found.loc[DISAPPEARS, "estimate"] == pytest.approx(1 - 0.001 / 0.1)
    assert found.loc[DISAPPEARS, "verdict"] == "holds here"
    assert found.loc[MODES, "estimate"] == pytest.approx(1 - 1.05 / 8, abs=0.01)


def test_a_seed_whose_ratio_has_no_number_is_named_with_the_reason():
    found = profile(of_one({"synthetic/entropy_2": [[5.0, 4.0], [0.0, 0.0], [5.0, 4.1]]}), language_evidence).loc[
        VARIANCE
    ]
    assert found["seeds"] == 2
    assert found["missing"].startswith("seed 1 has no number: synthetic/entropy_2 is 0 in generation 1")
