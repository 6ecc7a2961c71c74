"""The scorecard finds what was put into a study's numbers, says what it cannot tell, and what was not run."""

import math

import numpy as np
import pandas as pd
import pytest

from components.figures.table import verdicts_table
from components.measures.risk import RISKS
from components.scorecard import (
    NOT_ASKED,
    Judgement,
    judge,
    language_claims,
    language_evidence,
    numbers,
    scorecard,
)

SEEDS, GENERATIONS = range(4), range(4)
RISES = "Perplexity on real data rises with the generations"
LIKELIER = "Under generation 0 the bulk of what is written becomes more likely"
TAIL = "Text appears that generation 0 would hardly have written"
FIRST = "The tail goes before the bulk"
KEEPING = "Keeping 10% real data lessens the rise"
PENALTY = "A repetition penalty makes the rise worse"


def settings(fraction: float = 0.0, penalty: float = 1.0, epochs: int = 3, start: str = "pretrained") -> dict:
    return {
        "regime": {"name": "replace", "real_fraction": fraction},
        "start": start,
        "data": {"training": "a"},
        "fit": {"epochs": epochs},
        "sample": {"num_beams": 5, "repetition_penalty": penalty},
    }


ERRORS = {"synthetic/beyond_real_p99": 1e-3, "synthetic/rare_token_mass": 1e-4, "synthetic/entropy_1": 0.01}
HELD_OUT = {"heldout/beyond_real_p99": 0.01, "heldout/rare_token_mass": 0.01, "heldout/entropy_1": 6.0}


def study(conditions: dict[str, dict], rises: dict[str, float], noise: float = 0.01, seeds=SEEDS) -> pd.DataFrame:
    """Tidy metrics: log perplexity rises per generation, half as much under generation 0; rare tokens halve."""
    random, rows = np.random.default_rng(0), []
    for condition in conditions:
        for seed in seeds:
            for generation in GENERATIONS:
                median = np.exp(2 - rises[condition] * generation / 2)
                found = {
                    "test/perplexity": np.exp(3 + rises[condition] * generation + random.normal(0, noise)),
                    "synthetic/perplexity_under_generation0_median": median,
                    "synthetic/perplexity_under_generation0_median_error": 0.01 * median,
                    "synthetic/beyond_real_p99": 0.01 + 0.02 * generation + random.normal(0, 0.001),
                    "synthetic/rare_token_mass": 0.01 * 0.5**generation,
                    "synthetic/entropy_1": 6 - 0.1 * generation,
                    **{f"{metric}_error": error for metric, error in ERRORS.items()},
                    **HELD_OUT,
                }
                rows += [(condition, seed, generation, *one) for one in found.items()]
    return pd.DataFrame(rows, columns=["condition", "seed", "generation", "metric", "value"])


def card_of(metrics: pd.DataFrame, conditions: dict[str, dict]) -> pd.DataFrame:
    return scorecard(language_claims(numbers(metrics, conditions))).set_index("claim")


@pytest.fixture
def paper() -> dict[str, dict]:
    return {"none": settings(), "keep": settings(0.1, epochs=6), "fined": settings(penalty=2.0)}


def test_what_the_paper_says_is_found_where_it_was_put(paper):
    card = card_of(study(paper, {"none": 0.2, "keep": 0.05, "fined": 0.4}), paper)
    of_none = card[card["conditions"] == "none"]
    assert (card["verdict"] == "holds here").all()
    assert of_none.loc[RISES, "estimate"] == pytest.approx(0.6, abs=0.02)
    assert of_none.loc[LIKELIER, "estimate"] == pytest.approx(0.3)
    assert of_none.loc[TAIL, "estimate"] == pytest.approx(0.06, abs=0.002)
    assert of_none.loc[FIRST, "estimate"] == pytest.approx(0.5 - 0.1 / 6)
    keeping, fined = card.loc[KEEPING], card.loc[PENALTY]
    assert (keeping["conditions"], fined["conditions"]) == ("none, keep", "none, fined")
    assert keeping["estimate"] == pytest.approx(0.45, abs=0.02)
    assert fined["estimate"] == pytest.approx(0.6, abs=0.02)
    assert keeping["low"] < keeping["estimate"] < keeping["high"]
    assert "they differ in epochs 3 and 6 too" in keeping["definition"]
    assert "differ" not in fined["definition"]
    assert card["agree"].eq(4).all()


def test_what_does_not_happen_does_not_hold_and_what_is_noise_cannot_be_told(paper):
    card = card_of(study(paper, {"none": 0.0, "keep": 0.0, "fined": 0.0}, noise=0.0005), paper)
    assert card[card["conditions"] == "none"].loc[RISES, "verdict"] == "does not"
    assert card.loc[KEEPING, "verdict"] == "does not"
    noisy = card_of(study(paper, {"none": 0.02, "keep": 0.02, "fined": 0.02}, noise=0.3), paper)
    assert noisy.loc[KEEPING, "verdict"] == "cannot tell with 4 seeds"


def test_the_seeds_that_would_tell_are_named_with_a_verdict_that_is_open(paper):
    card = card_of(study(paper, {"none": 0.1, "keep": 0.02, "fined": 0.1}, noise=0.2), paper)
    open_ = card[card["verdict"].str.startswith("cannot tell")]
    assert len(open_)
    assert (open_["seeds_needed"].dropna() > 4).all()
    assert card.loc[~card["verdict"].str.startswith("cannot tell"), "seeds_needed"].isna().all()


def test_with_one_seed_nothing_can_be_told_and_the_numbers_stand_alone(paper):
    card = card_of(study(paper, {"none": 0.2, "keep": 0.05, "fined": 0.4}, seeds=[7]), paper)
    assert set(card["verdict"]) == {"cannot tell with 1 seed"}
    assert card["low"].isna().all()
    assert card["estimate"].notna().all()


def test_claims_that_the_study_did_not_run_are_listed_without_a_number():
    alone = {"none": settings()}
    card = card_of(study(alone, {"none": 0.2}), alone)
    for claim in ("Keeping real data lessens the rise", PENALTY):
        assert card.loc[claim, "verdict"] == NOT_ASKED
        assert math.isnan(card.loc[claim, "estimate"])
    kept = {"keep": settings(0.1)}
    assert set(card_of(study(kept, {"keep": 0.2}), kept)["verdict"]) == {NOT_ASKED}


def test_conditions_that_differ_in_where_they_start_are_no_pair():
    conditions = {"none": settings(), "keep": settings(0.1, start="previous")}
    card = card_of(study(conditions, {"none": 0.2, "keep": 0.1}), conditions)
    assert card.loc["Keeping real data lessens the rise", "verdict"] == NOT_ASKED


def test_what_has_no_number_in_generation_0_or_1_cannot_be_asked_of_another_in_its_place(paper):
    metrics = study(paper, {"none": 0.2, "keep": 0.05, "fined": 0.4})
    for metric, generation, claim in (
        ("synthetic/entropy_1", 1, FIRST),
        ("synthetic/perplexity_under_generation0_median", 0, LIKELIER),
    ):
        gone = (metrics["metric"] == metric) & (metrics["generation"] == generation)
        card = card_of(metrics[~gone], paper)
        assert card[card["conditions"] == "none"].loc[claim, "verdict"] == NOT_ASKED


def test_the_table_for_people_has_the_interval_the_verdict_and_what_would_be_firmer(paper):
    table = verdicts_table(
        scorecard(language_claims(numbers(study(paper, dict.fromkeys(paper, 0.1), noise=0.2), paper)))
    )
    rises = table[(table["claim"] == RISES)].iloc[0]
    assert rises["difference (95 % interval)"].endswith(" nats a token")
    assert table["firmer"].str.endswith("seeds would tell").any()


# power


def judgement_of(metrics: pd.DataFrame, conditions: dict[str, dict]) -> Judgement:
    study = numbers(metrics, conditions)
    return judge(study, language_claims(study), language_evidence(study), RISKS["language"])


def test_a_study_of_one_seed_is_told_so_in_a_sentence(paper):
    judged = judgement_of(study(paper, {"none": 0.2, "keep": 0.05, "fined": 0.4}, seeds=[7]), paper)
    assert judged.power_note() == "One seed gives numbers, but no interval and no verdict: give seeds=3 or more."


def test_what_would_close_the_verdicts_that_are_open_is_said_of_every_one(paper):
    judged = judgement_of(study(paper, {"none": 0.02, "keep": 0.02, "fined": 0.1}, noise=0.2), paper)
    table = verdicts_table(judged.scorecard)
    assert (table["verdict"].str.startswith("cannot tell") == table["firmer"].ne("")).all()
    verdicts = pd.concat([table["verdict"], judged.profile["verdict"]])
    open_, asked = verdicts.str.startswith("cannot tell").sum(), (verdicts != NOT_ASKED).sum()
    note = judged.power_note()
    assert note.startswith(f"{open_} of {asked} verdicts {'is' if open_ == 1 else 'are'} open.")
    assert "four studies of five" in note


def test_where_no_number_of_seeds_would_do_that_is_said(paper):
    metrics = study(paper, {"none": 0.2, "keep": 0.05, "fined": 0.4}, seeds=range(2))
    rising = (metrics["metric"] == "test/perplexity") & (metrics["generation"] == 3) & (metrics["condition"] == "none")
    start = metrics.loc[(metrics["metric"] == "test/perplexity") & (metrics["generation"] == 0), "value"].iloc[:2]
    metrics.loc[rising, "value"] = start.to_numpy() * np.exp([1.0, -1.0 + 1e-6])
    judged = judgement_of(metrics, paper)
    card = verdicts_table(judged.scorecard).set_index(["claim", "conditions"])
    assert card.loc[(RISES, "none"), "firmer"] == "not by more seeds"
    assert "Even 1,000 seeds would not decide" in judged.power_note()
    assert "too close to the threshold" in judged.power_note()


def test_nothing_is_said_of_power_where_no_verdict_is_open(paper):
    judged = judgement_of(study(paper, {"none": 0.2, "keep": 0.05, "fined": 0.4}, noise=1e-4), paper)
    assert judged.power_note() == ""


def test_the_profile_of_a_study_of_language_models_finds_what_was_put_there(paper):
    profile = judgement_of(study(paper, {"none": 0.3, "keep": 0.05, "fined": 0.4}), paper).profile.set_index(
        "definition"
    )
    assert profile.loc["Any increase of population risk", "estimate"] == pytest.approx(0.9, abs=0.02)
    assert profile.loc["Catastrophic increase of population risk", "estimate"] == pytest.approx(
        0.9 - np.log(2), abs=0.02
    )
    assert profile.loc["Asymptotically diverging population risk", "estimate"] == pytest.approx(0.15, abs=0.02)
    assert profile.loc["Disappearance of real tail data", "estimate"] == pytest.approx(7 / 8)
    assert profile.loc["Appearance of hallucinated data", "estimate"] == pytest.approx(0.06, abs=0.002)
    asked = profile[profile["verdict"] != NOT_ASKED]
    assert (asked["conditions"] == "none").all()
    assert (asked["verdict"] == "holds here").all()
    why_not = profile.loc["Collapsing variance", "why_not"]
    assert why_not.startswith("needs a generation 0 that has some of it, and a later one")
    assert why_not.endswith("not measured in this study: synthetic/entropy_2")
    assert profile.loc["Change in scaling law", "why_not"] == "one size of training set and of model a study"


def test_remedies_are_not_asked_what_the_paper_says_of_beam_search():
    sampled = settings()
    sampled["sample"] = {"sampling": {"temperature": 1.0}, "repetition_penalty": 1.0}
    greedy, chosen = settings(), settings()
    greedy["sample"], chosen["sample"] = (
        {**greedy["sample"], "num_beams": 1},
        {**chosen["sample"], "selection": {"best_of": 4}},
    )
    conditions = {"none": settings(), "sampled": sampled, "greedy": greedy, "chosen": chosen}
    metrics = study(conditions, dict.fromkeys(conditions, 0.2))
    asked = card_of(metrics, conditions)["conditions"]
    assert {name for name in asked if "," not in name} & set(conditions) == {"none"}
    card = card_of(metrics, conditions)
    remedies = card[card.index.str.startswith("Remedy")]
    assert remedies["conditions"].tolist() == ["none, sampled", "none, greedy", "none, chosen"]
    lessened = card_of(study(conditions, {**dict.fromkeys(conditions, 0.2), "greedy": 0.1}), conditions)
    assert lessened.loc["Remedy greedy lessens the rise", "estimate"] == pytest.approx(0.3, abs=0.03)
    assert lessened.loc["Remedy greedy lessens the rise", "verdict"] == "holds here"
    alone = {"sampled": sampled}
    assert card_of(study(alone, {"sampled": 0.2}), alone).loc[RISES, "conditions"] == "sampled"


def test_fresh_data_and_data_of_all_generations_are_named_as_what_keeps_real_data():
    fresh, pooled = settings(), settings()
    fresh["regime"] = {"name": "replace", "real_fraction": 0.0, "fresh_real": 0.1}
    pooled["regime"] = {"name": "accumulate", "real_fraction": 0.0}
    conditions = {"none": settings(), "fresh": fresh, "pooled": pooled}
    card = card_of(study(conditions, {"none": 0.2, "fresh": 0.1, "pooled": 0.0}), conditions)
    assert card.loc["Fresh real data, 10%, lessens the rise", "estimate"] == pytest.approx(0.3, abs=0.03)
    assert card.loc["Training on all data so far lessens the rise", "estimate"] == pytest.approx(0.6, abs=0.03)
