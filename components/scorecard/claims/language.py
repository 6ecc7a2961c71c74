"""The paper's claims about language models.

Perplexities are compared by their logarithms (nats a token), so that a difference is a ratio of perplexities.
"""

from collections.abc import Iterator

from components.measures.risk import RISKS
from components.measures.tails import BEYOND
from components.scorecard.claims.claim import ONE_PER_CENT, Claim, claim_of
from components.scorecard.claims.pairs import Settings, alike, keeping_real_data, rises_of_pairs
from components.scorecard.claims.shares import beyond_real, lost_of_real
from components.scorecard.numbers import Numbers

RISK = RISKS["language"]
MEDIAN = "synthetic/perplexity_under_generation0_median"
TAIL, RARE, ENTROPY = "beyond_real_p99", "rare_token_mass", "entropy_1"
"""Measures, of the samples (`synthetic/...`) and of held-out real text (`heldout/...`)."""
RISING = "the logarithm of the test perplexity"
NATS = "nats a token"
PENALTY = "repetition_penalty"


def language_claims(study: Numbers) -> list[Claim]:
    """Every claim, for every condition or pair of conditions that can be asked.

    Conditions without real data that write otherwise than by beam search, or select, are remedies: they are held against the
    first condition that does as the paper did, and asked what it was asked only where the study has nothing but them.
    """
    alone = study.without_real_data()
    asked = [name for name in alone if _as_the_paper_writes(study.settings[name])] or alone
    fined = [
        (name, other)
        for name in alone
        for other in study.settings
        if _is_penalised(study.settings[name], study.settings[other])
    ]
    rivals = [(asked[0], other) for other in study.settings if asked and _is_remedy(study, asked[0], other)]
    return [
        *(claim for name in asked for claim in _of_one(study, name)),
        *keeping_real_data(study, RISK, RISING, NATS, ONE_PER_CENT, may_differ=None),
        *rises_of_pairs(
            study,
            RISK,
            fined,
            lambda _: "A repetition penalty makes the rise worse",
            f"rise of {RISING} with the penalty minus the rise without",
            1,
            NATS,
            ONE_PER_CENT,
            "no condition with a penalty beside one without",
        ),
        *(claim for first, other in rivals for claim in _of_remedy(study, first, other)),
    ]


def _of_one(study: Numbers, name: str) -> Iterator[Claim]:
    last = study.last(name)
    rise = study.rise(name, RISK)
    yield claim_of(
        study,
        "Perplexity on real data rises with the generations",
        [name],
        "logarithm of the test perplexity, last generation minus generation 0",
        NATS,
        ONE_PER_CENT,
        rise,
        last,
        [(name, RISK.metric, last), (name, RISK.metric, 0)],
        shared=study.test_error(rise, (1, name, last), (-1, name, 0)),
    )
    yield claim_of(
        study,
        "Under generation 0 the bulk of what is written becomes more likely",
        [name],
        "logarithm of the median perplexity of the samples under generation 0, generation 0's minus the last one's",
        NATS,
        ONE_PER_CENT,
        -study.change(name, MEDIAN),
        last,
        [(name, MEDIAN, last), (name, MEDIAN, 0)],
        noise=[study.error(name, MEDIAN, at) / study.at(name, MEDIAN, at) for at in (last, 0)],
    )
    tail = beyond_real(study, name, TAIL, 1 - BEYOND)
    yield claim_of(
        study,
        "Text appears that generation 0 would hardly have written",
        [name],
        f"share of the last generation's samples beyond the {BEYOND:.0%} quantile of the real test text, both under "
        f"generation 0, minus the {1 - BEYOND:.0%} that real text has there",
        "share of the samples",
        (1 - BEYOND) / 10,
        tail.values,
        last,
        tail.sources,
        noise=[tail.noise],
        shared=tail.shared,
    )
    first = lost_of_real(study, name, RARE, 1).minus(lost_of_real(study, name, ENTROPY, 1))
    yield claim_of(
        study,
        "The tail goes before the bulk",
        [name],
        "share of the mass of rare tokens of held-out real text that generation 1 lacks, minus the same share of the "
        "entropy",
        "share",
        ONE_PER_CENT,
        first.values,
        last.clip(upper=1),
        first.sources,
        noise=[first.noise],
        shared=first.shared,
    )


def _as_the_paper_writes(of: Settings) -> bool:
    return of["sample"].get("num_beams", 0) > 1 and "selection" not in of["sample"]


def _of_remedy(study: Numbers, first: str, other: str) -> Iterator[Claim]:
    definition = f"rise of {RISING} as the paper writes minus the rise with the remedy"
    yield from rises_of_pairs(
        study,
        RISK,
        [(first, other)],
        lambda _: f"Remedy {other} lessens the rise",
        definition,
        -1,
        NATS,
        ONE_PER_CENT,
        "",
    )


def _is_remedy(study: Numbers, first: str, other: str) -> bool:
    """Whether a condition passes on other data and is else the same; real data and penalties have claims of their own."""
    one, two = study.settings[first], study.settings[other]
    penalised = two["sample"][PENALTY] != one["sample"][PENALTY]
    unlike = one["sample"] != two["sample"] and not penalised
    return other in study.without_real_data() and unlike and alike(one, two, "start", "data", "fit")


def _is_penalised(one: Settings, other: Settings) -> bool:
    unlike = {
        name for name in {**one["sample"], **other["sample"]} if one["sample"].get(name) != other["sample"].get(name)
    }
    return (
        alike(one, other, "regime", "start", "data")
        and unlike == {PENALTY}
        and other["sample"][PENALTY] > one["sample"][PENALTY] == 1.0
    )
