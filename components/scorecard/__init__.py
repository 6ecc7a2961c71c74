"""Which of the paper's claims held in a study: each with its definition, estimate, interval and verdict.

`numbers`: a study's numbers, to be asked. `claims`: the paper's claims as differences of them, one a seed, a file a family.
`verdict`: from differences to `holds here`, `does not` or `cannot tell`. `card`: all claims of a study judged together, as a
table.
"""

from components.scorecard.card import NOT_ASKED, scorecard
from components.scorecard.claims import Claim, language_claims
from components.scorecard.numbers import Numbers, numbers
from components.scorecard.verdict import Verdict

__all__ = ["NOT_ASKED", "Claim", "Numbers", "Verdict", "language_claims", "numbers", "scorecard"]
