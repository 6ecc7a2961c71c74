"""The paper's claims about Gaussians fitted to their own samples, and whether they come at the rate of its theory.

A seed's number is taken over its batch of chains: a median of deviations, a mean of squared Wasserstein distances.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from components.families.gaussian import theory
from components.measures.risk import RISKS
from components.scorecard.claims.claim import A_FIFTH, ONE_PER_CENT, Claim, claim_of
from components.scorecard.claims.pairs import Settings, keeping_real_data
from components.scorecard.numbers import Numbers, logarithm

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
    last = study.last(name)
    yield claim_of(
        study,
        "The variance falls to nothing",
        [name],
        "logarithm of the median deviation, of the middle generation minus of the last one: it falls, and does not stop falling",
        "log ratio",
        ONE_PER_CENT,
        study.late_fall(name, DEVIATION),
        last,
        [(name, DEVIATION, last // 2), (name, DEVIATION, last)],
    )
    plain = settings["fit"]["dimensions"] == 1
    asked = last if plain else last[:0]
    yield claim_of(
        study,
        "The variance falls at the rate of theory",
        [name],
        "fall of the logarithm of the median deviation since generation 0, divided by theory's (digamma's), minus 1",
        SHARE,
        A_FIFTH,
        _fall_beside_theory(study, name, settings, asked),
        asked,
        [(name, DEVIATION, asked), (name, DEVIATION, 0)],
        equality=True,
    )
    asked = _where_first_order(settings, last) if plain and settings["fit"]["ddof"] == 1 else last[:0]
    yield claim_of(
        study,
        "The risk grows as the theorem says",
        [name],
        "mean squared Wasserstein-2 distance to the truth, divided by 3/2 (1/M_0 + ... + 1/M_n), minus 1; at the last "
        f"generation where that sum is at most {FIRST_ORDER}, as the theorem is of first order",
        SHARE,
        A_FIFTH,
        study.at(name, RISK.metric, asked) / _of_theory(theory.wasserstein2_squared, settings, asked) - 1,
        asked,
        [(name, RISK.metric, asked)],
        equality=True,
    )


def _fall_beside_theory(study: Numbers, name: str, settings: Settings, last: pd.Series) -> pd.Series:
    """Each seed's fall up to its own last generation, beside theory's up to there."""
    before, after = (study.at(name, DEVIATION, at) for at in (last * 0, last))
    ddof = settings["fit"]["ddof"]
    first, end = (
        np.log(_of_theory(lambda sizes: theory.median_deviation(sizes, ddof), settings, at)) for at in (last * 0, last)
    )
    return logarithm(after / before) / (end - first) - 1


def _where_first_order(settings: Settings, last: pd.Series) -> pd.Series:
    """By seed, the last generation that it has and that the theorem is asked at; without seeds that have none."""
    within = int((np.cumsum(1 / _sizes(settings, last)) <= FIRST_ORDER * (1 + 1e-9)).sum()) if len(last) else 0
    return last.clip(upper=within - 1) if within else last[:0]


def _of_theory(law: Callable[[np.ndarray], np.ndarray], settings: Settings, generations: pd.Series) -> pd.Series:
    """What a law says of each seed's own generation."""
    if not len(generations):
        return generations.astype(float)
    return pd.Series(law(_sizes(settings, generations))[generations], index=generations.index)


def _sizes(settings: Settings, generations: pd.Series) -> np.ndarray:
    """Rows that generations 0 to the last of these are fitted on."""
    return theory.sample_sizes(settings["sample"]["rows"], settings["sample"]["growth"], int(generations.max()) + 1)
