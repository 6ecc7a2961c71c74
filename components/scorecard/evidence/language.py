"""What of a study of language models addresses each definition of collapse."""

import numpy as np

from components.measures.risk import RISKS
from components.measures.tails import BEYOND
from components.scorecard import profile
from components.scorecard.claims.claim import ONE_PER_CENT
from components.scorecard.claims.language import NATS, RARE
from components.scorecard.claims.language import TAIL as BEYOND_REAL
from components.scorecard.evidence.measures import PopulationRisk, of_risk, share_beyond, share_lost, share_missing
from components.scorecard.numbers import Numbers, logarithm


def language_evidence(study: Numbers) -> profile.Evidence:
    """The risk is the mean loss on real text, the logarithm of its perplexity."""
    risk = PopulationRisk(
        name="loss on real test text",
        unit=NATS,
        smallest=ONE_PER_CENT,
        metric=RISKS["language"].metric,
        of=logarithm,
        ruin=lambda name, first: first + np.log(2),
        ruined="that of twice generation 0's perplexity",
        of_ruin=lambda name: [(-1, name, 0)],
    )
    return {
        **of_risk(study, risk),
        profile.SCALING: "one size of training set and of model a study",
        profile.VARIANCE: share_lost(study, "synthetic/entropy_2", "the entropy of the bigrams of what is written"),
        profile.MODES: "modes of text are not measured",
        profile.TAIL: share_missing(study, RARE, "the mass of rare tokens in held-out real text"),
        profile.HALLUCINATED: share_beyond(
            study,
            BEYOND_REAL,
            "sequences that generation 0 finds less likely than 99 of 100 real test ones",
            1 - BEYOND,
        ),
    }
