"""What happened, in words: effect first, then how sure; every number is one of the study's metrics."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.measures.diversity import distinct_texts
from components.measures.risk import RISKS
from components.report.page import write_report
from components.scorecard import Judgement, judge, language_claims, language_evidence, numbers
from components.scorecard.finding import number
from tests.simulated import settings

SEEDS = 3


def told(
    courses: Mapping[str, list[float]],
    distinct: Mapping[str, list[float]] | None = None,
    seeds: int = SEEDS,
    scatter: float = 1e-4,
    stopped: Mapping[tuple[str, int], int] | None = None,
) -> tuple[Judgement, pd.DataFrame]:
    """A study whose perplexities by generation are `courses`, but for the seeds; `distinct`: shares of different texts."""
    random, rows = np.random.default_rng(0), []
    for name, means in courses.items():
        for seed in range(seeds):
            last = (stopped or {}).get((name, seed), len(means) - 1)
            for at in range(last + 1):
                rows.append((name, seed, at, "test/perplexity", means[at] * math.exp(random.normal(0, scatter))))
                for measure, of in (("synthetic/distinct_texts", distinct or {}), ("measure/blocks", {})):
                    value = of[name][at] if name in of else 256
                    if measure != "synthetic/distinct_texts" or name in of:
                        rows.append((name, seed, at, measure, value))
    metrics = pd.DataFrame(rows, columns=["condition", "seed", "generation", "metric", "value"])
    generations = max(map(len, courses.values())) - 1
    of_conditions = {name: one for name, one in settings().items() if name in courses}
    study = numbers(metrics, of_conditions, range(seeds), generations)
    return judge(study, language_claims(study), language_evidence(study), RISKS["language"]), metrics


def test_the_papers_story_is_told_effect_first_then_how_sure():
    courses = {"none": [85, 200, 240, 262], "keep": [82, 110, 125, 132]}
    judged, _ = told(courses, {"none": [1.0, 0.9, 0.6, 0.5], "keep": [1, 1, 1, 1]})
    effect, progress, distinct, sure, *rest = judged.finding
    assert effect == (
        "Without real data, perplexity on real text rose 3.08-fold (85 to 262); "
        "with 10% of the real data kept, it rose by 61% (82 to 132)."
    )
    assert progress == "The first generation of recursion did 76% of that, and it still rose in generation 3."
    assert distinct == "Of 256 texts, generation 0 wrote 256 different ones, generation 3 wrote 128."
    assert sure.startswith("Three seeds, corrected for 2 claims: significant: perplexity on real data rises with ")
    assert "keeping 10% real data lessens the rise" in sure
    assert rest == []


def test_every_number_is_one_of_the_studys_metrics():
    judged, metrics = told({"none": [85, 200, 240, 262], "keep": [82, 110, 125, 132]}, {"none": [1, 0.9, 0.6, 0.5]})
    means = metrics[metrics["metric"] == "test/perplexity"].groupby(["condition", "generation"])["value"].mean()
    said = " ".join(judged.finding)
    for condition in ("none", "keep"):
        assert f"({number(means[condition, 0])} to {number(means[condition, 3])})" in said
    ratio = means["none", 3] / means["none", 0]
    assert f"{number(ratio)}-fold" in said
    rise = judged.headline["collapse/none"]
    logs = np.log(
        metrics[metrics["metric"] == "test/perplexity"].set_index(["condition", "seed", "generation"])["value"]
    )
    assert rise == pytest.approx(np.mean([logs["none", seed, 3] - logs["none", seed, 0] for seed in range(SEEDS)]))
    assert judged.headline["collapse/none_low"] < rise < judged.headline["collapse/none_high"]
    assert judged.headline["distinct_texts/none"] == 0.5


@pytest.mark.parametrize(
    ("course", "words"),
    [
        ([85, 85, 85, 85], "stayed as it was"),
        ([85, 80, 75, 70], "fell by 18%"),
        ([85, 95, 105, 120], "rose by 41%"),
        ([85, 200, 262, 262], "It levelled off: the last generation changed it by less than 1%."),
        ([85, 200, 262, 240], "It was highest in generation 2 (262) and came down from there."),
        ([85, 90, 140, 262], "It rose to the end, in generation 3 too."),
    ],
)
def test_there_are_words_for_every_course(course: list[float], words: str):
    judged, _ = told({"none": course}, scatter=1e-5)
    assert words in " ".join(judged.finding)


def test_seeds_that_disagree_and_seeds_that_agree_without_a_verdict_are_told_apart():
    disagree, _ = told({"none": [85, 86, 85, 80]}, scatter=0.1)
    assert re.search(r"Seeds disagree: it rose in [12] of 3\.", " ".join(disagree.finding))
    agree, _ = told({"none": [85, 120, 140, 160], "keep": [85, 88, 90, 93]}, seeds=2, scatter=0.12)
    assert "Two seeds, corrected for 2 claims: no claim is significant." in agree.finding
    assert any(
        sentence.startswith("All seeds agree, and only the corrected test does not decide: perplexity on real data")
        for sentence in agree.finding
    )


def test_one_seed_is_no_certainty_and_failed_chains_are_named():
    one, _ = told({"none": [85, 200]}, seeds=1)
    assert one.finding[-1] == "One seed gives numbers and no certainty: give seeds=3 or more."
    failed, _ = told({"none": [85, 200, 240]}, stopped={("none", 1): 1})
    assert failed.finding[0].startswith("Without real data, perplexity on real text rose 2.35-fold (85 to 200)")
    assert failed.finding[-1] == "Missing: none seed 1 stopped after generation 1 of 2."


def test_a_perplexity_without_bound_is_told_as_such():
    judged, _ = told({"none": [85, 200, math.inf]})
    assert "grew without bound (85 to infinity)" in judged.finding[0]


def test_a_study_of_generation_0_alone_has_no_finding():
    judged, _ = told({"none": [85]})
    assert judged.finding == []


def test_distinct_texts_are_different_texts_over_texts():
    blocks = np.array([[1, 2], [1, 2], [3, 4], [4, 3]])
    assert distinct_texts(blocks) == 0.75
    assert math.isnan(distinct_texts(blocks[:0]))


def test_the_page_begins_with_what_happened_and_escapes_it(tmp_path: Path):
    sentences = ["In <b>mine</b>, perplexity rose 2-fold (1 to 2)."]
    page = write_report(tmp_path / "page.html", "A study", {}, pd.DataFrame(), [], {}, finding=sentences).read_text()
    assert "In &lt;b&gt;mine&lt;/b&gt;, perplexity rose" in page
    assert page.index("What happened") < page.index("What was run")
