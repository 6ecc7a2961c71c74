"""Which of the paper's claims held in a study, and by which of the definitions of collapse its models collapsed.

`numbers`: a study's numbers, to be asked. `claims`: the paper's claims as differences of them, one
per seed, a file per family. `noise`: the error of a seed's own counts. `verdict`: from differences
to `holds here`, `does not` or `cannot tell`. `card`: all claims of a study judged together, as a
table. `profile`: the eight definitions of collapse, judged in the same way by what `evidence` a
family has for each. `conditional`: what intervals do not cover. docs/statistics.md explains it by
an example.
"""

from components.scorecard.card import NOT_ASKED, scorecard
from components.scorecard.claims import (
    Claim,
    discrete_claims,
    gaussian_claims,
    language_claims,
    mixture_claims,
    vae_claims,
)
from components.scorecard.conditional import Facts, conditional_on
from components.scorecard.evidence import (
    discrete_evidence,
    gaussian_evidence,
    language_evidence,
    mixture_evidence,
    vae_evidence,
)
from components.scorecard.judgement import Judgement, judge
from components.scorecard.numbers import HeldOut, Numbers, numbers
from components.scorecard.profile import profile
from components.scorecard.verdict import Verdict

__all__ = [
    "NOT_ASKED",
    "Claim",
    "Facts",
    "HeldOut",
    "Judgement",
    "Numbers",
    "Verdict",
    "conditional_on",
    "discrete_claims",
    "discrete_evidence",
    "gaussian_claims",
    "gaussian_evidence",
    "judge",
    "language_claims",
    "language_evidence",
    "mixture_claims",
    "mixture_evidence",
    "numbers",
    "profile",
    "scorecard",
    "vae_claims",
    "vae_evidence",
]
