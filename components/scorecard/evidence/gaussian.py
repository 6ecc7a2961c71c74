"""What of a study of Gaussians addresses each definition of collapse."""

from components.families.gaussian.family import TAIL
from components.measures.risk import RISKS
from components.scorecard import profile
from components.scorecard.claims.claim import ONE_PER_CENT
from components.scorecard.claims.gaussian import DEVIATION
from components.scorecard.evidence.measures import (
    PopulationRisk,
    chains_beyond,
    of_risk,
    of_sample_sizes,
    share_of_truth_lost,
)
from components.scorecard.numbers import Numbers


def gaussian_evidence(study: Numbers) -> profile.Evidence:
    """The risk is the mean squared Wasserstein distance to the truth, whose own variance is 1 a dimension."""
    metric = RISKS["gaussian"].metric
    risk = PopulationRisk(
        name="mean squared Wasserstein-2 distance to the truth",
        unit="variances",
        smallest=ONE_PER_CENT,
        metric=metric,
        ruin=lambda name, first: first * 0 + study.settings[name]["fit"]["dimensions"],
        ruined="that of a point in the truth's middle",
        by_ratio=True,
    )
    return {
        **of_risk(study, risk),
        profile.SCALING: of_sample_sizes(study, metric),
        profile.VARIANCE: share_of_truth_lost(study, DEVIATION, "deviation, in the median,", lambda name: 1.0),
        profile.MODES: "a Gaussian has one mode",
        profile.TAIL: share_of_truth_lost(
            study, "tail/median", "outer 1 %, by a model's mass there, in the median,", lambda name: TAIL
        ),
        profile.HALLUCINATED: chains_beyond(
            study, "tail/mean", "the mass of all chains' models where the truth has its outer 1 %", TAIL
        ),
    }
