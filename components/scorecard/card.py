"""The scorecard: all claims of a study judged together, a row each."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from components.scorecard.claims import Claim
from components.scorecard.verdict import Estimate, Verdict, above_zero, equals_zero, seeds_needed, verdicts

NOT_ASKED = "cannot be asked here"
"""The study did not run what it takes, or its numbers have no such ratio."""


def scorecard(claims: Sequence[Claim], conditional_on: str = "") -> pd.DataFrame:
    """Judge claims together; return a row per claim.

    Columns: claim, conditions, generations, missing, unit, definition, seeds, agree, estimate, low,
    high, seeds_needed, open_because, verdict, conditional_on.

    `generations`: the generation that each seed was taken at, such as "9" or "9; seed 1: 2".
    `missing`: chains that stopped early and seeds without a number. `agree`: seeds whose own
    difference is as the claim says: above 0, or within the margin. `low` and `high`: the 95 %
    interval of the mean over seeds, not corrected for the number of claims, as the verdict is; nan
    with one seed, and where seeds agree exactly and no error is known. `seeds_needed`: how many
    seeds would make a verdict of "cannot tell" firm, nan where none would or the verdict is firm.
    `open_because`: what keeps an open verdict open. `conditional_on`: what the intervals do not
    cover, the same in every row.
    """
    found = {place: _estimate(claim) for place, claim in enumerate(claims) if claim.differences}
    tests = max(sum(one.seeds > 1 for one in found.values()), 1)
    judged = dict(zip(found, verdicts([*found.values()]), strict=True))
    rows = [
        {**_said(claim), **(_row(claim, found[place], judged[place], tests) if place in found else _not_asked())}
        for place, claim in enumerate(claims)
    ]
    return pd.DataFrame(rows).assign(conditional_on=conditional_on)


def _estimate(claim: Claim) -> Estimate:
    noise = [claim.noise.get(seed, 0.0) for seed in claim.differences]
    test = equals_zero if claim.equality else above_zero
    return test([*claim.differences.values()], claim.smallest, noise, claim.shared, claim.degrees)


def _not_asked() -> dict[str, object]:
    numbers = {"estimate": math.nan, "low": math.nan, "high": math.nan, "seeds_needed": math.nan}
    return {"seeds": 0, "agree": 0, **numbers, "open_because": "", "verdict": NOT_ASKED}


def _row(claim: Claim, found: Estimate, verdict: Verdict, tests: int) -> dict[str, object]:
    open_ = verdict is Verdict.UNKNOWN
    needed, because = seeds_needed(found, tests) if open_ else (None, "")
    return {
        "seeds": found.seeds,
        "agree": sum(
            abs(value) < claim.smallest if claim.equality else value > 0 for value in claim.differences.values()
        ),
        "estimate": found.mean,
        "low": found.low,
        "high": min(found.high, claim.most),
        "seeds_needed": math.nan if needed is None else needed,
        "open_because": str(because),
        "verdict": f"{verdict} with {found.seeds} seed{'s' * (found.seeds > 1)}" if open_ else str(verdict),
    }


def _said(claim: Claim) -> dict[str, object]:
    return {
        "claim": claim.text,
        "conditions": claim.conditions,
        "generations": _in_words(claim.generations),
        "missing": "; ".join(claim.missing),
        "unit": claim.unit,
        "definition": claim.definition,
    }


def _in_words(generations: Mapping[int, int]) -> str:
    """The generation that most seeds were taken at, the highest of several such, then the seeds taken at another."""
    if not generations:
        return ""
    counts = Counter(generations.values())
    most = max(counts, key=lambda one: (counts[one], one))
    others = [f"seed {seed}: {one}" for seed, one in generations.items() if one != most]
    return "; ".join([str(most), *others])
