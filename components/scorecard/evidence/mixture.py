"""What of a study of Gaussian mixtures addresses each definition of collapse."""

import numpy as np

from components.families.mixture.family import TAIL
from components.families.mixture.mixture import Mixture, squared_l2
from components.measures.risk import RISKS
from components.scorecard import profile
from components.scorecard.claims.mixture import APART, DEVIATION, Truths, has_modes
from components.scorecard.claims.shares import lost_of_chains, lost_since_first
from components.scorecard.evidence.measures import PopulationRisk, chains_beyond, of_risk, of_sample_sizes, share_lost
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
        profile.VARIANCE: share_lost(study, DEVIATION, "the whole mixture's deviation, in the median,"),
        profile.MODES: share_lost(
            study,
            APART,
            "the distance of the two nearest means, in deviations of the components,",
            lost_since_first,
            lambda name: has_modes(truths[name]),
            "two components or more on real data of several modes",
        ),
        profile.TAIL: share_lost(
            study, "tail/median", "the samples where the truth has its outer 1 %, in the median,", lost_of_chains
        ),
        profile.HALLUCINATED: chains_beyond(
            study, "tail/mean", "the samples of all chains where the truth has its outer 1 %", TAIL
        ),
    }


def _from_nothing(truth: Mixture) -> float:
    """The integral of the squared density."""
    nothing = Mixture(np.zeros_like(truth.weights), truth.means, truth.covariances)
    return float(squared_l2(truth, nothing)[0])
