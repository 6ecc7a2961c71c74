"""The collapse profile: a study held against each of the eight definitions of model collapse that the literature uses.

Schaeffer et al. 2025, "Position: Model Collapse Does Not Mean What You Think" (arXiv 2503.03150), count eight and ask for
such a profile, so that nobody has to argue about the word. The names are those in published plotting code for a figure of
the definitions, which reads as the authors' own; whose it is could not be checked. The paper's text could not be had here, so the meanings are our reading of the names, and what of a
study addresses each is our choice; a list that cites the paper has "disappearance or entanglement" as the sixth.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from components.scorecard.card import scorecard
from components.scorecard.claims.claim import Claim
from components.scorecard.numbers import Numbers

SOURCE = "Schaeffer et al. 2025, arXiv 2503.03150"
CATASTROPHIC = "Catastrophic increase of population risk"
ANY = "Any increase of population risk"
DIVERGING = "Asymptotically diverging population risk"
SCALING = "Change in scaling law"
VARIANCE = "Collapsing variance"
MODES = "Entanglement of real data modes"
TAIL = "Disappearance of real tail data"
HALLUCINATED = "Appearance of hallucinated data"
MEANINGS = {
    CATASTROPHIC: "models become so much worse on real data that they are of no use",
    ANY: "models become worse on real data, by however little",
    DIVERGING: "the error on real data grows without bound as the generations go on",
    SCALING: "more data no longer helps as much as it does while data is real",
    VARIANCE: "what models produce varies less and less",
    MODES: "what is apart in the real data no longer is: modes run into one another",
    TAIL: "what is rare in the real data is no longer produced",
    HALLUCINATED: "what the real data hardly has, or not at all, is produced",
}


@dataclass(frozen=True)
class Asked:
    """How a family is asked a definition: as a claim, of a condition, that it collapsed so; `needs`: what that takes."""

    claim: Callable[[str], Claim]
    needs: str


Evidence = Mapping[str, Asked | str]
"""By definition how it is asked, or why it cannot be."""


def profile(study: Numbers, evidence: Evidence) -> pd.DataFrame:
    """A row a definition: its meaning and source, and the columns of a scorecard, with `addressed_by` and `why_not`.

    A definition is asked of one condition: the first without real data that has the numbers for it, or of all conditions
    where each keeps some. The eight are judged together, apart from the claims of the scorecard. `addressed_by` says what of
    the study stands for the definition, `why_not` why nothing does.
    """
    names = study.without_real_data() or list(study.settings)
    found = [_asked(definition, evidence[definition], names) for definition in MEANINGS]
    card = scorecard([claim for claim, _ in found], study.conditional_on)
    table = card.rename(columns={"definition": "addressed_by", "claim": "definition"})
    table.insert(1, "meaning", list(MEANINGS.values()))
    table.insert(2, "source", SOURCE)
    return table.assign(why_not=[why_not for _, why_not in found])


def _asked(definition: str, asked: Asked | str, names: list[str]) -> tuple[Claim, str]:
    if isinstance(asked, str):
        return Claim(definition, "", "", "", 0.0), asked
    claims = [replace(asked.claim(name), text=definition) for name in names]
    for claim in claims:
        if claim.differences:
            return claim, ""
    return replace(claims[0], conditions=""), "; ".join([f"needs {asked.needs}", *claims[0].missing])
