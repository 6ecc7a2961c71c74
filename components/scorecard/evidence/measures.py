"""What stands for a definition of collapse in several families: risks, a law over sample sizes, shares that are lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.scorecard.claims.claim import ONE_PER_CENT, Claim
from components.scorecard.numbers import Numbers, by_seed, logarithm
from components.scorecard.profile import ANY, CATASTROPHIC, DIVERGING, Asked

FLATTER = 0.05
"""The least change of an exponent worth speaking of."""
LATER = "generation 0 and a later one"
SOME = "a generation 0 that has some of it, and a later one"


@dataclass(frozen=True)
class PopulationRisk:
    """What a family loses on real data in expectation, the less the better.

    `smallest`: the least rise worth speaking of, in `unit`. `ruin`: the risk at which a condition's models are of no use, out of
    generation 0's; `ruined` that in words. `of`: the risk out of the metric. `by_ratio`: two risks are compared by the logarithm
    of their ratio, as means over chains of which a few are wild want it.
    """

    name: str
    unit: str
    smallest: float
    metric: str
    ruin: Callable[[str, pd.Series], pd.Series]
    ruined: str
    of: Callable[[pd.Series], pd.Series] = lambda metric: metric
    by_ratio: bool = False

    def at(self, study: Numbers, name: str, generation: int | None = None) -> pd.Series:
        return self.of(study.at(name, self.metric, generation))

    def compared(self, name: str, how: str, after: pd.Series, before: pd.Series) -> Claim:
        """That a risk is above another."""
        if self.by_ratio:
            return _claim(name, f"logarithm of the {how}", "log ratio", ONE_PER_CENT, logarithm(after / before))
        return _claim(name, how, self.unit, self.smallest, after - before)


def of_risk(study: Numbers, risk: PopulationRisk) -> dict[str, Asked]:
    """The three definitions that are about how much the risk rises, and whether it levels off."""

    def catastrophic(name: str) -> Claim:
        how = f"{risk.name}, last generation's minus {risk.ruined}"
        return risk.compared(name, how, risk.at(study, name), risk.ruin(name, risk.at(study, name, 0)))

    def increase(name: str) -> Claim:
        how = f"{risk.name}, last generation's minus generation 0's"
        return risk.compared(name, how, risk.at(study, name), risk.at(study, name, 0))

    def diverging(name: str) -> Claim:
        last = len(study.of(name, risk.metric)) - 1
        middle = last // 2
        how = (
            f"rise of the {risk.name} a generation in the second half of the generations, minus half of that in the first: that "
            f"it does not level off, which is as much as a finite study can show"
        )
        if middle < 1:
            return _claim(name, how, risk.unit, risk.smallest, pd.Series(dtype=float))
        first, half, end = (risk.at(study, name, at) for at in (0, middle, last))
        early, late = (half - first) / middle, (end - half) / (last - middle)
        return _claim(name, how, f"{risk.unit} a generation", risk.smallest / last, late - early / 2)

    return {
        CATASTROPHIC: Asked(catastrophic, LATER),
        ANY: Asked(increase, LATER),
        DIVERGING: Asked(diverging, "generations 0 to 2"),
    }


def of_sample_sizes(study: Numbers, metric: str) -> Asked:
    """The scaling law, where conditions have samples of several sizes: the exponent of a distance over the size."""

    def claim(name: str) -> Claim:
        lasts = {other: len(study.of(other, metric)) - 1 for other in study.settings if _alike(study, name, other)}
        sizes = {other: study.settings[other]["sample"]["rows"] for other, last in lasts.items() if last > 0}
        how = (
            f"exponent of {metric} over the sample's size, last generation's minus generation 0's: more data helps less"
        )
        if len(set(sizes.values())) < 2:
            return _claim(name, how, "exponent", FLATTER, pd.Series(dtype=float))
        last = min(lasts[other] for other in sizes)
        before, after = (
            _exponent([*sizes.values()], [study.at(other, metric, at) for other in sizes]) for at in (0, last)
        )
        return _claim(", ".join(sizes), how, "exponent", FLATTER, after - before)

    return Asked(claim, "conditions that differ in the size of the sample alone")


def share_lost(
    study: Numbers, metric: str, what: str, where: Callable[[str], bool] = lambda name: True, needs: str = SOME
) -> Asked:
    """Of what generation 0 has, the share that the last one has not; asked of conditions `where` that has a meaning."""

    def claim(name: str) -> Claim:
        found = study.share_lost(name, metric) if where(name) else pd.Series(dtype=float)
        return _claim(name, f"share of {what} that is lost since generation 0", "share", ONE_PER_CENT, found)

    return Asked(claim, needs)


def share_beyond(study: Numbers, metric: str, what: str, real: float) -> Asked:
    """The last generation's share of what lies where real data has only the share `real`."""

    def claim(name: str) -> Claim:
        how = f"share of {what}, minus the {real:.0%} that real data has there"
        return _claim(name, how, "share", real / 10, study.at(name, metric) - real)

    return Asked(claim, LATER)


def _claim(name: str, how: str, unit: str, smallest: float, differences: pd.Series) -> Claim:
    return Claim("", name, how, unit, smallest, by_seed(differences))


def _alike(study: Numbers, name: str, other: str) -> bool:
    """Whether two conditions differ in the size of the sample alone; the number of chains is that of repetitions."""
    one, two = (
        {key: {**value} if isinstance(value, Mapping) else value for key, value in study.settings[each].items()}
        for each in (name, other)
    )
    for settings in (one, two):
        settings["sample"].pop("rows", None)
        settings["fit"].pop("chains", None)
        settings.pop("seed", None)
    return one == two


def _exponent(sizes: Sequence[int], risks: Sequence[pd.Series]) -> pd.Series:
    """Slope of log risk over log size, by seed; nan for a seed that one of them lacks."""
    x = np.log(sizes) - np.log(sizes).mean()
    table = pd.DataFrame([logarithm(risk) for risk in risks])
    return table.mul(x, axis=0).sum(skipna=False) / (x @ x)
