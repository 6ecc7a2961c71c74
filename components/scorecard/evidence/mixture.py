"""What of a study of Gaussian mixtures addresses each definition of collapse."""

import numpy as np

from components.families.mixture.family import TAIL, tail_of_truth
from components.families.mixture.mixture import Mixture, moments, squared_l2
from components.measures.risk import RISKS
from components.scorecard import profile
from components.scorecard.claims.mixture import APART, DEVIATION, Truths, has_modes
from components.scorecard.evidence.measures import (
    PopulationRisk,
    chains_beyond,
    of_risk,
    of_sample_sizes,
    share_lost,
    share_of_truth_lost,
)
from components.scorecard.numbers import Numbers

SMALLEST = 0.001
"""A few hundredths of the distance of a mixture of unit Gaussians from nothing."""


def mixture_evidence(study: Numbers, truths: Truths) -> profile.Evidence:
    """The risk is the median squared L2 distance of the density to the truth's."""
    metric = RISKS["mixture"].metric
    risk = PopulationRisk(
        name="median squared L2 distance to the truth",
        unit="in squared L2",
        smallest=SMALLEST,
        metric=metric,
        ruin=lambda name, first: first * 0 + _from_nothing(truths[name]),
        ruined="that of no density at all",
        by_ratio=True,
    )
    return {
        **of_risk(study, risk),
        profile.SCALING: of_sample_sizes(study, metric),
        profile.VARIANCE: share_of_truth_lost(
            study, DEVIATION, "deviation, as of one whole, in the median,", lambda name: _deviation(truths[name])
        ),
        profile.MODES: share_lost(
            study,
            APART,
            "the distance of the two nearest means, in deviations of the components,",
            lambda name: has_modes(truths[name]),
            "two components or more on real data of several modes",
        ),
        profile.TAIL: share_of_truth_lost(
            study,
            "tail/median",
            "outer 1 %, by the samples there, in the median,",
            lambda name: tail_of_truth(truths[name].means[0]),
        ),
        profile.HALLUCINATED: chains_beyond(
            study, "tail/mean", "the samples of all chains where the truth has its outer 1 %", TAIL
        ),
    }


def _deviation(truth: Mixture) -> float:
    """The geometric mean of the whole truth's principal deviations."""
    covariance = moments(truth)[1][0]
    return float(np.linalg.det(covariance) ** (1 / (2 * len(covariance))))


def _from_nothing(truth: Mixture) -> float:
    """The integral of the squared density."""
    nothing = Mixture(np.zeros_like(truth.weights), truth.means, truth.covariances)
    return float(squared_l2(truth, nothing)[0])
