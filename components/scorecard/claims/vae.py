"""The paper's claims about variational autoencoders trained on the last one's images (its figure 9).

Modes and spread are those of the images' latents under generation 0's encoder (`families/vae/latents.py`).
"""

from collections.abc import Iterator

from components.measures.risk import RISKS
from components.scorecard.claims.claim import ONE_PER_CENT, Claim, claim_of
from components.scorecard.claims.pairs import keeping_real_data
from components.scorecard.numbers import Numbers

RISK = RISKS["vae"]
SPREAD, MODES = "synthetic/latent_spread", "synthetic/distinct_modes"
NATS = "nats an image"
A_TENTH = 0.1


def vae_claims(study: Numbers) -> list[Claim]:
    """Every claim, for every condition or pair of conditions that can be asked."""
    return [
        *(claim for name in study.without_real_data() for claim in _of_one(study, name)),
        *keeping_real_data(study, RISK, f"the {RISK.name}", NATS, A_TENTH),
    ]


def _of_one(study: Numbers, name: str) -> Iterator[Claim]:
    yield _fall(
        study,
        "The modes entangle",
        name,
        "logarithm of the number of the real images' modes that the latents of the images tell apart, generation 0's minus the "
        "last one's",
        MODES,
    )
    yield _fall(
        study,
        "The images fall together",
        name,
        "logarithm of the standard deviation of the images' latents, generation 0's minus the last one's",
        SPREAD,
    )


def _fall(study: Numbers, text: str, name: str, definition: str, metric: str) -> Claim:
    last = study.last(name)
    return claim_of(
        study,
        text,
        [name],
        definition,
        "log ratio",
        ONE_PER_CENT,
        -study.change(name, metric),
        last,
        [(name, metric, last), (name, metric, 0)],
        noise=[study.error(name, metric, at) / study.at(name, metric, at) for at in (last, 0)],
    )
