"""What of a study of VAEs addresses each definition of collapse."""

from components.measures.risk import RISKS
from components.measures.tails import BEYOND
from components.scorecard import profile
from components.scorecard.claims.vae import A_TENTH, NATS, SPREAD
from components.scorecard.evidence.measures import PopulationRisk, of_risk, share_beyond, share_lost, share_missing
from components.scorecard.numbers import Numbers

MEAN_IMAGE = "test/negative_elbo_of_the_mean_image"
"""A metric; in `Numbers.held_out` it stands for the condition of a model that draws the mean real image always."""


def vae_evidence(study: Numbers) -> profile.Evidence:
    """The risk is the mean negative ELBO of real test images."""
    risk = PopulationRisk(
        name="negative ELBO of real test images",
        unit=NATS,
        smallest=A_TENTH,
        metric=RISKS["vae"].metric,
        ruin=lambda name, first: (first + study.at(name, MEAN_IMAGE, 0)) / 2,
        ruined="that half way from generation 0's to the mean real image's",
        of_ruin=lambda name: [(-0.5, name, 0), (-0.5, MEAN_IMAGE, 0)],
    )
    return {
        **of_risk(study, risk),
        profile.SCALING: "one size of training set and of model a study",
        profile.VARIANCE: share_lost(study, SPREAD, "the standard deviation of the images' latents"),
        profile.MODES: share_missing(study, "distinct_modes", "the modes that held-out real images tell apart"),
        profile.TAIL: share_missing(
            study,
            "outer_latents",
            "the held-out real images whose latents are further out than nine of ten training images'",
        ),
        profile.HALLUCINATED: share_beyond(
            study,
            "beyond_real_p99",
            "images that generation 0 describes worse than 99 of 100 real test images",
            1 - BEYOND,
        ),
    }
