"""What of a study addresses each definition of collapse, a file a family; and why nothing does, where nothing does."""

from components.scorecard.evidence.discrete import discrete_evidence
from components.scorecard.evidence.gaussian import gaussian_evidence
from components.scorecard.evidence.language import language_evidence
from components.scorecard.evidence.mixture import mixture_evidence
from components.scorecard.evidence.vae import vae_evidence

__all__ = ["discrete_evidence", "gaussian_evidence", "language_evidence", "mixture_evidence", "vae_evidence"]
