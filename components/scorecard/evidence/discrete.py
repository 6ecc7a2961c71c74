"""What of a study of discrete distributions addresses each definition of collapse."""

from components.measures.risk import RISKS
from components.scorecard import profile
from components.scorecard.claims.claim import ONE_PER_CENT
from components.scorecard.claims.discrete import (
    HETEROZYGOSITY,
    SUPPORT,
    Truths,
    has_tail,
    heterozygosity_of,
    support_of,
)
from components.scorecard.evidence.measures import PopulationRisk, of_risk, of_sample_sizes, share_of_truth_lost
from components.scorecard.numbers import Numbers


def discrete_evidence(study: Numbers, truths: Truths) -> profile.Evidence:
    """The risk is the mean total variation to the truth: the mass that lies where it should not.

    Where one outcome is left, the i-th with probability p_i, it is 1 - sum p_i^2.
    """
    metric = RISKS["discrete"].metric
    risk = PopulationRisk(
        name="mean total variation to the truth",
        unit="of the mass",
        smallest=ONE_PER_CENT,
        metric=metric,
        ruin=lambda name, first: first * 0 + heterozygosity_of(truths[name]) / 2,
        ruined="half of that of a single outcome",
        of_chains=True,
    )
    return {
        **of_risk(study, risk),
        profile.DIVERGING: "total variation cannot be more than 1",
        profile.SCALING: of_sample_sizes(study, metric),
        profile.VARIANCE: share_of_truth_lost(
            study,
            HETEROZYGOSITY,
            "probability that two draws differ",
            lambda name: heterozygosity_of(truths[name]),
            lambda name: heterozygosity_of(truths[name]) > 0,
        ),
        profile.MODES: "outcomes lie neither near to nor far from one another",
        profile.TAIL: share_of_truth_lost(
            study,
            SUPPORT,
            "outcomes, some rarer than others,",
            lambda name: support_of(truths[name]),
            lambda name: has_tail(truths[name]),
            "a distribution of which some outcomes are rarer than others",
        ),
        profile.HALLUCINATED: "an outcome that the real data has not cannot be drawn",
    }
