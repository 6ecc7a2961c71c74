"""The paper's claims about discrete distributions that are resampled, and whether they come at the rate of theory.

A seed's number is a mean over its batch of chains.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from components.families.discrete import theory
from components.measures.risk import RISKS
from components.scorecard.claims.claim import A_FIFTH, ONE_PER_CENT, Claim
from components.scorecard.claims.pairs import keeping_real_data
from components.scorecard.numbers import Numbers, by_seed, logarithm

RISK = RISKS["discrete"]
SUPPORT, HETEROZYGOSITY, ABSORBED = "support/mean", "heterozygosity/mean", "absorbed"
ENOUGH_ROWS = 100
"""The theory of absorption is of first order in 1/M: it is asked of samples of this size and more."""
ENOUGH_TIMES = 4
"""... and of studies so many times as long as the mean: else chains that are not absorbed would be left out of it."""
SHARE = "share of theory's"

Truths = Mapping[str, np.ndarray]
"""By condition, the probabilities (K,) of its real data."""


def discrete_claims(study: Numbers, truths: Truths) -> list[Claim]:
    """Every claim, for every condition or pair of conditions that can be asked."""
    return [
        *(claim for name in study.without_real_data() for claim in _of_one(study, name, truths[name])),
        *keeping_real_data(
            study, RISK, f"the logarithm of the mean {RISK.name}", "log ratio", ONE_PER_CENT, {"chains"}
        ),
    ]


def has_tail(truth: np.ndarray) -> bool:
    """Whether some outcomes are rarer than others."""
    return not np.allclose(truth, truth[0])


def _of_one(study: Numbers, name: str, truth: np.ndarray) -> Iterator[Claim]:
    rows = study.settings[name]["sample"]["rows"]
    if has_tail(truth):
        yield Claim(
            "The tail goes before the bulk",
            name,
            "share of the outcomes that can still occur which generation 1 has lost of generation 0's, minus the same share of "
            "the probability that two draws differ",
            "share",
            ONE_PER_CENT,
            by_seed(study.share_lost(name, SUPPORT, 1) - study.share_lost(name, HETEROZYGOSITY, 1)),
        )
    yield Claim(
        "The probability that two draws differ falls at the rate of theory",
        name,
        "fall of its logarithm since generation 0, divided by that of (1 - 1/M)^n, minus 1; when half of it is gone, or at the last "
        "generation",
        SHARE,
        A_FIFTH,
        _fall_beside_theory(study.of(name, HETEROZYGOSITY), rows),
        equality=True,
    )
    yield Claim(
        "One outcome is left, after the time that theory says",
        name,
        "mean number of fits until a single outcome is left, divided by -2 M sum (1 - p) log(1 - p), minus 1; asked of samples of "
        f"{ENOUGH_ROWS} and more, in studies {ENOUGH_TIMES} times as long",
        SHARE,
        A_FIFTH,
        _absorption_beside_theory(study.of(name, ABSORBED), rows, truth),
        equality=True,
    )


def _fall_beside_theory(heterozygosity: pd.DataFrame, rows: int) -> Mapping[int, float]:
    if heterozygosity.empty:
        return {}
    asked = min(max(round(rows * np.log(2)), 1), int(heterozygosity.index[-1]))
    fall = logarithm(heterozygosity.loc[asked] / heterozygosity.loc[0])
    return by_seed(fall / (asked * np.log1p(-1 / rows)) - 1)


def _absorption_beside_theory(absorbed: pd.DataFrame, rows: int, truth: np.ndarray) -> Mapping[int, float]:
    expected = theory.absorption_time(truth, rows)
    if rows < ENOUGH_ROWS or len(absorbed) < ENOUGH_TIMES * expected:
        return {}
    return by_seed((1 + (1 - absorbed).sum()) / expected - 1)  # the real data is not absorbed; then a fit a generation
