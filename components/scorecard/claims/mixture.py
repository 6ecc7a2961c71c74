"""The paper's claims about mixtures of Gaussians fitted to their own samples (its figure 7).

A seed's number is a median over its batch of chains: a few chains that shrink to a point have distances without bound.
"""

from collections.abc import Iterator, Mapping

from components.families.mixture.mixture import Mixture
from components.measures.risk import RISKS
from components.scorecard.claims.claim import ONE_PER_CENT, Claim, claim_of
from components.scorecard.claims.pairs import keeping_real_data
from components.scorecard.numbers import Numbers

RISK = RISKS["mixture"]
APART, DEVIATION = "apart/median", "deviation/median"

Truths = Mapping[str, Mixture]
"""By condition, what its real data is drawn from."""


def mixture_claims(study: Numbers, truths: Truths) -> list[Claim]:
    """Every claim, for every condition or pair of conditions that can be asked."""
    return [
        *(
            claim
            for name in study.without_real_data()
            for claim in _of_one(study, name, has_modes(truths[name]) and study.settings[name]["fit"]["components"] > 1)
        ),
        *keeping_real_data(
            study, RISK, f"the logarithm of the median {RISK.name}", "log ratio", ONE_PER_CENT, {"chains"}
        ),
    ]


def has_modes(truth: Mixture) -> bool:
    """Whether the real data has several, that could entangle."""
    return truth.means.shape[1] > 1


def _of_one(study: Numbers, name: str, could_entangle: bool) -> Iterator[Claim]:
    last = study.last(name)
    if could_entangle:
        yield claim_of(
            study,
            "The modes entangle",
            [name],
            "logarithm of the distance of the two nearest means, in deviations of the components, generation 0's minus the last one's",
            "log ratio",
            ONE_PER_CENT,
            -study.change(name, APART),
            last,
            [(name, APART, last), (name, APART, 0)],
        )
    yield claim_of(
        study,
        "The variance falls to nothing",
        [name],
        "logarithm of the whole mixture's deviation, of the middle generation minus of the last one: it falls, and does not stop "
        "falling",
        "log ratio",
        ONE_PER_CENT,
        study.late_fall(name, DEVIATION),
        last,
        [(name, DEVIATION, last // 2), (name, DEVIATION, last)],
    )
