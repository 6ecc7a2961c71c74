"""The paper's claims about discrete distributions that are resampled, and whether they come at the rate of theory.

A seed's number is a mean over its batch of chains.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from components.families.discrete import theory
from components.measures.risk import RISKS
from components.scorecard.claims.claim import A_FIFTH, ONE_PER_CENT, Claim, claim_of
from components.scorecard.claims.pairs import keeping_real_data
from components.scorecard.claims.shares import lost_of_truth
from components.scorecard.numbers import Numbers, logarithm

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


def support_of(truth: np.ndarray) -> float:
    """How many outcomes can occur."""
    return float(np.count_nonzero(truth))


def heterozygosity_of(truth: np.ndarray) -> float:
    """The probability that two draws differ."""
    return float(1 - truth @ truth)


def _of_one(study: Numbers, name: str, truth: np.ndarray) -> Iterator[Claim]:
    rows, last = study.settings[name]["sample"]["rows"], study.last(name)
    if has_tail(truth):
        support, bulk = (
            lost_of_truth(study, name, metric, of(truth), 1)
            for metric, of in ((SUPPORT, support_of), (HETEROZYGOSITY, heterozygosity_of))
        )
        lost = support.minus(bulk)
        yield claim_of(
            study,
            "The tail goes before the bulk",
            [name],
            "share of the truth's outcomes that cannot occur in generation 1 any more, minus the share that it has lost of "
            "the truth's probability that two draws differ",
            "share",
            ONE_PER_CENT,
            lost.values,
            last.clip(upper=1),
            lost.sources,
            noise=[lost.noise],
        )
    asked = last.clip(upper=max(round(rows * np.log(2)), 1))
    fall = logarithm(study.at(name, HETEROZYGOSITY, asked) / study.at(name, HETEROZYGOSITY, 0))
    yield claim_of(
        study,
        "The probability that two draws differ falls at the rate of theory",
        [name],
        "fall of its logarithm since generation 0, divided by that of (1 - 1/M)^n, minus 1; when half of it is gone, or at the last "
        "generation",
        SHARE,
        A_FIFTH,
        fall / (asked * np.log1p(-1 / rows)) - 1,
        asked,
        [(name, HETEROZYGOSITY, asked), (name, HETEROZYGOSITY, 0)],
        equality=True,
    )
    long_enough = _long_enough(last, rows, theory.absorption_time(truth, rows))
    yield claim_of(
        study,
        "One outcome is left, after the time that theory says",
        [name],
        "mean number of fits until a single outcome is left, divided by -2 M sum (1 - p) log(1 - p), minus 1; asked of samples of "
        f"{ENOUGH_ROWS} and more, in studies {ENOUGH_TIMES} times as long",
        SHARE,
        A_FIFTH,
        _absorption_time(study, name, long_enough) / theory.absorption_time(truth, rows) - 1,
        long_enough,
        [(name, ABSORBED, long_enough)],
        equality=True,
    )


def _long_enough(last: pd.Series, rows: int, expected: float) -> pd.Series:
    """The last generation by seed, of the seeds that came far enough for nearly all chains to be absorbed."""
    return last[last + 1 >= ENOUGH_TIMES * expected] if rows >= ENOUGH_ROWS else last[:0]


def _absorption_time(study: Numbers, name: str, last: pd.Series) -> pd.Series:
    """Mean number of fits until one outcome is left, by seed.

    The real data counts as one generation that is not absorbed; then there is a fit per generation.
    """
    absorbed = study.of(name, ABSORBED)
    return pd.Series(
        {seed: 1 + (1 - absorbed[seed].loc[:end]).sum(skipna=False) for seed, end in last.items()}, dtype=float
    )
