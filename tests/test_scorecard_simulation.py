"""Whole simulated studies, whose truth is known: false firm verdicts are as seldom as stated, large effects are found.

With no effect a verdict of `holds here` is false. Where every effect is the smallest worth speaking
of, `does not` is false. Chains fail, seeds tie and counts are 0 (`tests/simulated.py`), and numbers
go the way that a real study's go: `numbers`, the claims, the profile, the card. Of 600 studies of
each kind and number of seeds, 0 to 1.2 % had a false firm verdict.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from components.scorecard.profile import CATASTROPHIC, DIVERGING
from components.scorecard.verdict import Verdict
from tests.simulated import NONE, SMALLEST, Effect, judged, study

STUDIES = 50
SEEDS = (2, 3, 5, 10)
AT_MOST = 0.05
NOT_SMALLEST = (CATASTROPHIC, DIVERGING)
"""A rise by the smallest amount, all of it in generation 1, is no catastrophe and levels off: "does not" is true."""


def firm(effect: Effect, seeds: int, wrong: Verdict, leave_out: tuple[str, ...] = ()) -> Iterator[bool]:
    """Study by study, whether any verdict of its scorecard and profile is the wrong one."""
    random = np.random.default_rng([seeds, wrong is Verdict.HOLDS])
    for _ in range(STUDIES):
        found = judged(study(random, seeds, effect))
        profile = found.profile[~found.profile["definition"].isin(leave_out)]
        yield bool((found.scorecard["verdict"] == wrong).any() or (profile["verdict"] == wrong).any())


@pytest.mark.parametrize(
    ("effect", "wrong", "leave_out"),
    [(NONE, Verdict.HOLDS, ()), (SMALLEST, Verdict.NOT, NOT_SMALLEST)],
    ids=["none", "smallest"],
)
def test_of_studies_with_2_3_5_and_10_seeds_at_most_one_in_twenty_has_a_false_firm_verdict(
    effect: Effect, wrong: Verdict, leave_out: tuple[str, ...]
):
    """The bound is one that a rate of exactly 5 % exceeds in one test run of a thousand."""
    counts = {seeds: sum(firm(effect, seeds, wrong, leave_out)) for seeds in SEEDS}
    assert sum(counts.values()) <= stats.binom.ppf(0.999, STUDIES * len(SEEDS), AT_MOST), counts
    for seeds, count in counts.items():
        assert count <= stats.binom.ppf(0.999, STUDIES, AT_MOST), seeds


def test_a_large_effect_is_found_with_three_seeds():
    """A rise by half a nat, a tenth of the rare tokens left and a fifth of the entropy gone, in nearly every study."""
    random, found = np.random.default_rng(3), []
    large = Effect(rise=1.0, likelier=0.5, tail=0.4, lost=0.9, flatter=0.2)
    for _ in range(20):
        card = judged(study(random, 3, large, failing=0, tied=0)).scorecard.set_index("claim")["verdict"]
        found.append(card.loc["Perplexity on real data rises with the generations"] == Verdict.HOLDS)
    assert np.mean(found) >= 0.8
