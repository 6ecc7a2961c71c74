"""A study judged: its scorecard, its collapse profile, and what would make an open verdict firm."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from components.scorecard.card import scorecard
from components.scorecard.claims import Claim
from components.scorecard.numbers import Numbers
from components.scorecard.profile import Evidence, profile
from components.scorecard.verdict import MOST_SEEDS, Verdict


@dataclass(frozen=True)
class Judgement:
    """Tables of a row a claim, and of a row a definition of collapse."""

    scorecard: pd.DataFrame
    profile: pd.DataFrame

    def power_note(self) -> str:
        """How many seeds would close the verdicts that are open; nothing where none is."""
        both = pd.concat([self.scorecard, self.profile], ignore_index=True)
        asked, open_ = both[both["seeds"] > 0], both[both["verdict"].str.startswith(Verdict.UNKNOWN)]
        if open_.empty:
            return ""
        if (open_["seeds"] == 1).all():
            return "One seed gives numbers, but no interval and no verdict: give seeds=3 or more."
        needed = open_["seeds_needed"].dropna().astype(int)
        said = [f"{len(open_)} of {len(asked)} verdicts {'is' if len(open_) == 1 else 'are'} open."]
        if len(needed):
            half = int(needed.median())
            said.append(
                f"About {needed.max()} seeds would close {_of(len(needed), len(open_))}"
                + (f", {half} half of these" if half < needed.max() and len(needed) > 1 else "")
                + ": four times in five, if differences and their scatter are what they were here."
            )
        if further := len(open_) - len(needed):
            said.append(
                f"For {_of(further, len(open_))} {MOST_SEEDS:,} seeds would not do: the difference is too near to what is to be ruled out."
            )
        return " ".join(said)


def judge(study: Numbers, claims: Sequence[Claim], evidence: Evidence) -> Judgement:
    """Hold a study against a family's claims, and against the definitions of collapse."""
    return Judgement(scorecard(claims), profile(study, evidence))


def _of(some: int, of: int) -> str:
    return "it" if some == of == 1 else "all of them" if some == of else f"{some} of them"
