"""What happened in a study, in a few sentences: effect first, then how sure it is.

The same sentences stand at the end of the terminal, at the top of the page and above the study's
run in MLflow. Every number in them comes from the study's metrics.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.measures.risk import Risk
from components.scorecard.numbers import Numbers
from components.scorecard.verdict import Verdict, above_zero

NO_CHANGE = 0.01
"""Less than this share of a risk is no change worth speaking of; in nats, less than this."""
DISTINCT, BLOCKS = "distinct_texts", "measure/blocks"
FOLD = 2.0
"""From this ratio on a rise is told as a multiple, below it in percent."""
MOST_CONDITIONS = 3
"""Conditions that are told one by one; of more the first, the least and the most."""
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Course:
    """The risk of one condition by generation, (generations,), as means over the seeds that all of them reached."""

    condition: str
    means: np.ndarray
    seeds: int
    in_nats: bool

    @property
    def change(self) -> float:
        """How much the risk rose, as a share of its start; in nats where it is a log already."""
        start, end = self.means[0], self.means[-1]
        return float(end - start) if self.in_nats else float(end / start - 1)

    def told(self) -> str:
        """Such as "rose 3.1-fold (85 to 262)"."""
        ends = f"({number(self.means[0])} to {number(self.means[-1])})"
        size = abs(self.change)
        if not math.isfinite(self.change):
            return f"grew without bound {ends}"
        if size < NO_CHANGE:
            return f"stayed as it was {ends}"
        verb = "rose" if self.change > 0 else "fell"
        if self.in_nats:
            return f"{verb} by {number(size)} nats {ends}"
        if self.change >= FOLD - 1:
            return f"{verb} {number(1 + size)}-fold {ends}"
        return f"{verb} by {size:.0%} {ends}"


def finding(study: Numbers, scorecard: pd.DataFrame, missing: Sequence[str], risk: Risk) -> list[str]:
    """The sentences of a study; empty where no condition has a later generation than 0.

    Args:
        scorecard: the study's claims, judged.
        missing: a sentence for each chain that stopped early and each seed without a number.
        risk: the family's error on real data.
    """
    courses = [course for name in study.settings if (course := _course(study, name, risk))]
    if not courses:
        return []
    return [
        *_effects(study, courses, risk),
        *_progress(courses[0]),
        *_distinct(study, courses[0].condition),
        *_sureness(study, courses[0], risk, scorecard),
        *([f"Missing: {'; '.join(failed)}."] if (failed := [one for one in missing if "seed" in one]) else []),
    ]


def headline(study: Numbers, risk: Risk) -> dict[str, float]:
    """The same as numbers of the study's run, by condition.

    `collapse/<condition>`: rise of the risk as a logarithm (or in nats), with `_low` and `_high`, the ends of its
    95 % interval over seeds; `distinct_texts/<condition>`: share of different texts in the last generation.
    """
    found: dict[str, float] = {}
    for name in study.settings:
        rises, last = study.rise(name, risk), study.last(name)
        values = [value for value in rises if not math.isnan(value)]
        if values:
            shared = study.test_error(rises, (1, name, last), (-1, name, 0))
            rise = above_zero(values, NO_CHANGE, shared=shared, degrees=study.test_degrees)
            found |= {f"collapse/{name}": rise.mean}
            found |= {f"collapse/{name}_low": rise.low, f"collapse/{name}_high": rise.high}
            found[f"{DISTINCT}/{name}"] = float(study.at(name, f"synthetic/{DISTINCT}").mean())
    return {name: value for name, value in found.items() if math.isfinite(value)}


def number(value: float) -> str:
    """Three digits, as many as the scatter of a few seeds deserves; thousands with commas."""
    if not math.isfinite(value):
        return "infinity"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _course(study: Numbers, name: str, risk: Risk) -> Course | None:
    table = study.of(name, risk.metric)
    whole = table.dropna()
    if len(whole) < 2 or whole.index[0] != 0:
        return None
    return Course(name, whole.mean(axis=1).to_numpy(), whole.shape[1], risk.in_nats)


def _effects(study: Numbers, courses: Sequence[Course], risk: Risk) -> Iterator[str]:
    shown = courses if len(courses) <= MOST_CONDITIONS else _ends(courses)
    first, *others = shown
    told = [f"{_how(study, first.condition)}, {risk.plain} {first.told()}"]
    told += [f"{_how(study, one.condition)}, it {one.told()}" for one in others]
    sentence = "; ".join(told)
    yield sentence[0].upper() + sentence[1:] + "."
    if len(shown) < len(courses):
        yield f"The other {len(courses) - len(shown)} conditions lie between the last two."


def _ends(courses: Sequence[Course]) -> list[Course]:
    """The first condition, and of the others the one that changed least and the one that changed most."""
    others = sorted(courses[1:], key=lambda one: one.change)
    return [courses[0], others[0], others[-1]]


def _how(study: Numbers, name: str) -> str:
    """What a condition is, in words where it is one of the paper's two."""
    regime = study.settings[name]["regime"]
    if name in study.without_real_data() and len(study.without_real_data()) == 1:
        return "without real data"
    kept = regime.get("real_fraction", 0.0)
    alone = [one for one, of in study.settings.items() if of["regime"].get("real_fraction", 0.0) == kept]
    if regime["name"] == "replace" and kept and len(alone) == 1:
        return f"with {kept:.0%} of the real data kept"
    return f"in {name}"


def _progress(course: Course) -> Iterator[str]:
    """Whether the rise went on after generation 1, of the first condition."""
    if course.change < NO_CHANGE or len(course.means) < 3:
        return
    values = course.means if course.in_nats else np.log(course.means)
    share = (values[1] - values[0]) / (values[-1] - values[0])
    peak, last = int(np.argmax(values)), len(values) - 1
    if peak < last and values[peak] - values[last] > NO_CHANGE:
        yield f"It was highest in generation {peak} ({number(course.means[peak])}) and came down from there."
    elif values[last] - values[last - 1] < NO_CHANGE:
        yield f"It levelled off: the last generation changed it by less than {NO_CHANGE:.0%}."
    elif share > 0.5:
        yield f"The first generation of recursion did {share:.0%} of that, and it still rose in generation {last}."
    else:
        yield f"It rose to the end, in generation {last} too."


def _distinct(study: Numbers, name: str) -> Iterator[str]:
    """How many different texts the first and the last generation wrote."""
    table = study.of(name, f"synthetic/{DISTINCT}").dropna()
    if len(table) < 2:
        return
    blocks = study.of(name, BLOCKS).iloc[0].iloc[0]
    first, last = (round(float(table.loc[at].mean() * blocks)) for at in (table.index[0], table.index[-1]))
    yield (
        f"Of {blocks:.0f} texts, generation {table.index[0]} wrote {first} different ones, "
        f"generation {table.index[-1]} wrote {last}."
    )


def _sureness(study: Numbers, course: Course, risk: Risk, scorecard: pd.DataFrame) -> Iterator[str]:
    """How sure that is: which claims are firm, which are open though all seeds agree, and where seeds disagree."""
    seeds = course.seeds
    counted = COUNTS[seeds] if seeds < len(COUNTS) else str(seeds)
    if seeds == 1:
        yield "One seed gives numbers and no certainty: give seeds=3 or more."
        return
    rises = study.rise(course.condition, risk)
    up = int((rises > 0).sum())
    if 0 < up < len(rises):
        yield f"Seeds disagree: it rose in {up} of {len(rises)}."
    asked = scorecard[scorecard["seeds"] > 1]
    holds = _claims(asked[asked["verdict"].str.startswith(Verdict.HOLDS)])
    fails = _claims(asked[asked["verdict"].str.startswith(Verdict.NOT)])
    open_ = asked[asked["verdict"].str.startswith(Verdict.UNKNOWN)]
    agree = _claims(open_[open_["agree"] == open_["seeds"]])
    tests = f"{counted.capitalize()} seeds, corrected for {len(asked)} claims"
    yield f"{tests}: {'significant: ' + holds if holds else 'no claim is significant'}."
    if agree:
        yield f"All seeds agree, and only the corrected test does not decide: {agree}."
    if fails:
        yield f"Ruled out: {fails}."


def _claims(rows: pd.DataFrame) -> str:
    texts = dict.fromkeys(rows["claim"])
    return "; ".join(text[0].lower() + text[1:] for text in texts)
