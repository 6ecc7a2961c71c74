"""A study judged: its scorecard, its profile, what its intervals do not cover, what would decide what is open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from components.measures.risk import Risk
from components.scorecard.card import scorecard
from components.scorecard.claims import Claim
from components.scorecard.finding import finding, headline
from components.scorecard.numbers import Numbers
from components.scorecard.profile import Evidence, profile
from components.scorecard.verdict import MOST_SEEDS, Open, Verdict

NOT_BY_SEEDS = {
    Open.TEST_SPLIT: "the error of the test split is too large. A larger test split would help.",
    Open.THRESHOLD: "the difference is too close to the threshold.",
    Open.INFINITE: "a seed's number is infinite, which speaks against the verdict of the others.",
    Open.TIE: "the seeds agree exactly, and the sampling error of their number is not known.",
}
"""Why more seeds would not decide an open verdict."""


@dataclass(frozen=True)
class Judgement:
    """A table of claims, one of definitions of collapse, and what their intervals do not cover.

    `finding`: what happened, in a few sentences; `headline`: in a few numbers.
    """

    scorecard: pd.DataFrame
    profile: pd.DataFrame
    conditional_on: str = ""
    finding: Sequence[str] = ()
    headline: Mapping[str, float] = field(default_factory=dict)

    @property
    def _rows(self) -> pd.DataFrame:
        return pd.concat([self.scorecard, self.profile], ignore_index=True)

    def counts(self) -> str:
        """How many verdicts of each kind there are in both tables; empty where nothing was asked."""
        asked = self._rows[self._rows["seeds"] > 0]
        if asked.empty:
            return ""
        kinds = [f"{asked['verdict'].str.startswith(kind).sum()} {kind}" for kind in Verdict]
        return f"{len(asked)} verdicts: {', '.join(kinds)}."

    def missing(self) -> list[str]:
        """Each chain that stopped early and each seed without a number, once."""
        return [*dict.fromkeys(one for text in self._rows["missing"] for one in text.split("; ") if one)]

    def power_note(self) -> str:
        """How many seeds would decide the verdicts that are open; empty where none is."""
        asked = self._rows[self._rows["seeds"] > 0]
        open_ = asked[asked["verdict"].str.startswith(Verdict.UNKNOWN)]
        if open_.empty:
            return ""
        if (open_["seeds"] == 1).all():
            return "One seed gives numbers, but no interval and no verdict: give seeds=3 or more."
        needed = open_["seeds_needed"].dropna().astype(int)
        said = [f"{len(open_)} of {len(asked)} verdicts {'is' if len(open_) == 1 else 'are'} open."]
        if len(needed):
            half = int(needed.median())
            said.append(
                f"About {needed.max()} seeds would decide {_of(len(needed), len(open_))}"
                + (f", {half} half of these" if half < needed.max() and len(needed) > 1 else "")
                + ": in four studies of five, if differences and their scatter are what they were here."
            )
        for because, why in NOT_BY_SEEDS.items():
            if undecided := int((open_["open_because"] == because).sum()):
                said.append(f"Even {MOST_SEEDS:,} seeds would not decide {_of(undecided, len(open_))}: {why}")
        return " ".join(said)

    def description(self) -> str:
        """The judgement in a few lines of text: what happened, what it is conditional on, what would decide more."""
        parts = (" ".join(self.finding), self.counts(), self.conditional_on, self.power_note())
        return "\n\n".join(text for text in parts if text)


def judge(study: Numbers, claims: Sequence[Claim], evidence: Evidence, risk: Risk) -> Judgement:
    """Hold a study against a family's claims, and against the definitions of collapse; say what happened.

    Args:
        risk: the family's error on real data.
    """
    conditional_on = study.conditional_on
    judged = Judgement(scorecard(claims, conditional_on), profile(study, evidence), conditional_on)
    return replace(
        judged, finding=finding(study, judged.scorecard, judged.missing(), risk), headline=headline(study, risk)
    )


def _of(some: int, of: int) -> str:
    return "it" if some == of == 1 else "all of them" if some == of else f"{some} of them"
