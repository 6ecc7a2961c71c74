"""The paper's claims, a file per family: each as differences of a study's numbers, one per seed.

A seed's number is its chain's; of families in memory, whose seed is a batch of chains, it is a mean or a quantile over the
batch. What a study has not run cannot be asked of it; such claims are listed without a number.
"""

from components.scorecard.claims.claim import Claim
from components.scorecard.claims.discrete import discrete_claims
from components.scorecard.claims.gaussian import gaussian_claims
from components.scorecard.claims.language import MEDIAN, TAIL, language_claims
from components.scorecard.claims.mixture import mixture_claims
from components.scorecard.claims.vae import vae_claims

__all__ = [
    "MEDIAN",
    "TAIL",
    "Claim",
    "discrete_claims",
    "gaussian_claims",
    "language_claims",
    "mixture_claims",
    "vae_claims",
]
