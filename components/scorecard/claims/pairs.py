"""Claims of two conditions: their chains of one seed are a pair, which share the real data and the randomness."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from components.measures.risk import Risk
from components.scorecard.claims.claim import Claim, claim_of
from components.scorecard.numbers import Numbers, Term

Settings = Mapping[str, Any]
Pairs = Sequence[tuple[str, str]]


def keeping_real_data(
    study: Numbers, risk: Risk, rising: str, unit: str, smallest: float, may_differ: Collection[str] | None = ()
) -> Iterator[Claim]:
    """That a condition which keeps real data rises less than one alike in all else which keeps none, of each such pair.

    Args:
        rising: what rises, in words.
        may_differ: what the two may be fitted with that is not the same, anything if None; the definition says it.
    """
    alone = study.without_real_data()
    pairs = [
        (name, other)
        for name in alone
        for other in study.settings
        if other not in alone and _alike(study.settings[name], study.settings[other], may_differ)
    ]
    definition = f"rise of {rising} without real data minus the rise with it"
    missing = "no condition that keeps real data beside one that is else the same"
    yield from rises_of_pairs(study, risk, pairs, _keeping, definition, -1, unit, smallest, missing)


def rises_of_pairs(
    study: Numbers,
    risk: Risk,
    pairs: Pairs,
    text: Callable[[Settings | None], str],
    definition: str,
    sign: int,
    unit: str,
    smallest: float,
    missing: str,
) -> Iterator[Claim]:
    """That the second condition's risk rises more (`sign` 1) or less (-1) than the first's, of each pair.

    Each seed's rises go to the last generation that both of its chains have. `text` says the claim
    of the second condition's settings; `missing` what the study would have to have where it has no
    pair.
    """
    if not pairs:
        yield Claim(text(None), missing, definition, unit, smallest)
    for first, second in pairs:
        last = study.last(first, second)
        differences = sign * (study.rise(second, risk, last) - study.rise(first, risk, last))
        ends: list[Term] = [(sign, second, last), (-sign, second, 0), (-sign, first, last), (sign, first, 0)]
        yield claim_of(
            study,
            text(study.settings[second]),
            [first, second],
            definition + _also(study, first, second),
            unit,
            smallest,
            differences,
            last,
            [(name, risk.metric, at) for _, name, at in ends],
            shared=study.test_error(differences, *ends),
        )


def alike(one: Settings, other: Settings, *parts: str) -> bool:
    return all(one[part] == other[part] for part in parts)


def _alike(one: Settings, other: Settings, may_differ: Collection[str] | None) -> bool:
    fits = one["fit"], other["fit"]
    same = may_differ is None or all(fits[0][name] == fits[1][name] for name in fits[0] if name not in may_differ)
    return same and alike(one, other, "sample", "start", "data")


def _keeping(kept: Settings | None) -> str:
    regime = kept["regime"] if kept else {"name": "replace"}
    if regime["name"] == "accumulate":
        return "Training on all data so far lessens the rise"
    if regime["name"] == "subsample":
        return "Drawing from all data so far lessens the rise"
    if regime.get("fresh_real"):
        return f"Fresh real data, {regime['fresh_real']:.0%}, lessens the rise"
    share = f"{regime['real_fraction']:.0%} " if kept else ""
    return f"Keeping {share}real data lessens the rise"


def _also(study: Numbers, one: str, other: str) -> str:
    """What of the training differs besides, as in the paper's two settings."""
    first, second = study.settings[one]["fit"], study.settings[other]["fit"]
    found = [f"{name} {first[name]} and {second[name]}" for name in first if first[name] != second[name]]
    return f"; they differ in {', '.join(found)} too" if found else ""
