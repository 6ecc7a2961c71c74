"""The scorecard: all claims of a study judged together, a row each."""

import math
from collections.abc import Sequence

import pandas as pd

from components.scorecard.claims import Claim
from components.scorecard.verdict import Estimate, Verdict, above_nought, nought, seeds_needed, verdicts

NOT_ASKED = "cannot be asked here"
"""The study did not run what it takes, or its numbers have no such ratio."""


def scorecard(claims: Sequence[Claim]) -> pd.DataFrame:
    """A row a claim: claim, conditions, seeds, agree, estimate, low, high, unit, verdict, seeds_needed, definition.

    `agree`: seeds whose own difference is as the claim says: above nought, or within the margin. `low` and `high`: the 95 %
    interval of the mean over seeds, not corrected for the number of claims, as the verdict is; nan with one seed.
    `seeds_needed`: what would make a verdict of "cannot tell" into a firm one (nan otherwise, and where that cannot be said).
    """
    asked = [claim for claim in claims if claim.differences]
    found = [
        (nought if claim.equality else above_nought)([*claim.differences.values()], claim.smallest) for claim in asked
    ]
    tests = max(sum(one.seeds > 1 for one in found), 1)
    judged = iter(zip(found, verdicts(found), strict=True))
    return pd.DataFrame(
        [_row(claim, *next(judged), tests) if claim.differences else _not_asked(claim) for claim in claims]
    )


def _not_asked(claim: Claim) -> dict[str, object]:
    numbers = {"estimate": math.nan, "low": math.nan, "high": math.nan, "seeds_needed": math.nan}
    return {**_said(claim), "seeds": 0, "agree": 0, **numbers, "verdict": NOT_ASKED}


def _row(claim: Claim, found: Estimate, verdict: Verdict, tests: int) -> dict[str, object]:
    open_ = verdict is Verdict.UNKNOWN
    needed = seeds_needed(found, tests) if open_ else None
    return {
        **_said(claim),
        "seeds": found.seeds,
        "agree": sum(
            abs(value) < claim.smallest if claim.equality else value > 0 for value in claim.differences.values()
        ),
        "estimate": found.mean,
        "low": found.low,
        "high": found.high,
        "seeds_needed": math.nan if needed is None else needed,
        "verdict": f"{verdict} with {found.seeds} seed{'s' * (found.seeds > 1)}" if open_ else str(verdict),
    }


def _said(claim: Claim) -> dict[str, object]:
    return {"claim": claim.text, "conditions": claim.conditions, "unit": claim.unit, "definition": claim.definition}
