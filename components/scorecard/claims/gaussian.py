"""The paper's claims about Gaussians fitted to their own samples, and whether they come at the rate of its theory.

A seed's number is taken over its batch of chains: a median of deviations, a mean of squared Wasserstein distances.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from components.families.gaussian import theory
from components.measures.risk import RISKS
from components.scorecard.claims.claim import A_FIFTH, ONE_PER_CENT, Claim
from components.scorecard.claims.pairs import Settings, keeping_real_data
from components.scorecard.numbers import Numbers, by_seed

RISK = RISKS["gaussian"]
DEVIATION = "deviation/median"
FIRST_ORDER = 0.1
"""The theorem on the risk is of first order in 1/M_0 + ... + 1/M_n: it is asked where that sum is no more than this."""
SHARE = "share of theory's"


def gaussian_claims(study: Numbers) -> list[Claim]:
    """Every claim, for every condition with samples of one size, or pair of conditions, that can be asked."""
    alone = [name for name in study.without_real_data() if not study.settings[name]["sample"]["growth"]]
    return [
        *(claim for name in alone for claim in _of_one(study, name, study.settings[name])),
        *keeping_real_data(
            study, RISK, f"the logarithm of the mean {RISK.name}", "log ratio", ONE_PER_CENT, {"chains"}
        ),
    ]


def _of_one(study: Numbers, name: str, settings: Settings) -> Iterator[Claim]:
    yield Claim(
        "The variance falls to nothing",
        name,
        "logarithm of the median deviation, of the middle generation minus of the last one: it falls, and does not stop falling",
        "log ratio",
        ONE_PER_CENT,
        by_seed(study.late_fall(name, DEVIATION)),
    )
    yield Claim(
        "The variance falls at the rate of theory",
        name,
        "fall of the logarithm of the median deviation since generation 0, divided by theory's (digamma's), minus 1",
        SHARE,
        A_FIFTH,
        _fall_beside_theory(study, name, settings),
        equality=True,
    )
    yield Claim(
        "The risk grows as the theorem says",
        name,
        "mean squared Wasserstein-2 distance to the truth, divided by 3/2 (1/M_0 + ... + 1/M_n), minus 1; at the last "
        f"generation where that sum is at most {FIRST_ORDER}, as the theorem is of first order",
        SHARE,
        A_FIFTH,
        _risk_beside_theory(study, name, settings),
        equality=True,
    )


def _fall_beside_theory(study: Numbers, name: str, settings: Settings) -> Mapping[int, float]:
    if settings["fit"]["dimensions"] > 1:
        return {}
    sizes = _sizes(settings, len(study.of(name, DEVIATION)))
    expected = np.log(theory.median_deviation(sizes, settings["fit"]["ddof"]))
    return by_seed(study.change(name, DEVIATION) / (expected[-1] - expected[0]) - 1) if len(sizes) else {}


def _risk_beside_theory(study: Numbers, name: str, settings: Settings) -> Mapping[int, float]:
    if settings["fit"]["dimensions"] > 1 or settings["fit"]["ddof"] != 1:
        return {}
    sizes = _sizes(settings, len(study.of(name, RISK.metric)))
    within = int((np.cumsum(1 / sizes) <= FIRST_ORDER * (1 + 1e-9)).sum())
    if not within:
        return {}
    return by_seed(study.at(name, RISK.metric, within - 1) / theory.wasserstein2_squared(sizes)[within - 1] - 1)


def _sizes(settings: Settings, generations: int) -> np.ndarray:
    """Rows that generations 0, 1, ... are fitted on."""
    return theory.sample_sizes(settings["sample"]["rows"], settings["sample"]["growth"], generations)
