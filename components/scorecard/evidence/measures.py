"""What stands for a definition of collapse in several families: risks, a law over sample sizes, shares that are lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.scorecard.claims.claim import ONE_PER_CENT, Claim, claim_of
from components.scorecard.claims.shares import Share, beyond_real, lost_of_real, lost_of_truth, lost_since_first
from components.scorecard.noise import of_chains
from components.scorecard.numbers import Generation, Numbers, Term, logarithm
from components.scorecard.profile import ANY, CATASTROPHIC, DIVERGING, Asked

FLATTER = 0.05
"""The least change of an exponent worth speaking of."""
LATER = "generation 0 and a later one"
SOME = "a generation 0 that has some of it, and a later one"
HELD_OUT = "the same measure of held-out real data, which older studies lack, and a generation after 0"


@dataclass(frozen=True)
class PopulationRisk:
    """What a family loses on real data in expectation, the less the better.

    `smallest`: the least rise worth speaking of, in `unit`. `ruin`: the risk at which a condition's
    models are of no use, out of generation 0's; `ruined` that in words; `of_ruin` the part of it
    that is loss on the test split. `of`: the risk out of the metric. `by_ratio`: two risks are
    compared by the logarithm of their ratio: so a few wild chains do not decide the mean.
    `of_chains`: it is a mean over a batch of chains, each between 0 and 1.
    """

    name: str
    unit: str
    smallest: float
    metric: str
    ruin: Callable[[str, pd.Series], pd.Series]
    ruined: str
    of: Callable[[pd.Series], pd.Series] = lambda metric: metric
    of_ruin: Callable[[str], Sequence[Term]] = lambda name: ()
    by_ratio: bool = False
    of_chains: bool = False

    def at(self, study: Numbers, name: str, generation: Generation | None = None) -> pd.Series:
        return self.of(study.at(name, self.metric, generation))

    def compared(
        self, study: Numbers, name: str, how: str, after: pd.Series, before: pd.Series, terms: Sequence[Term]
    ) -> Claim:
        """That a risk is above another."""
        if self.by_ratio:
            ratio = logarithm(after / before)
            return self.claim(study, name, f"logarithm of the {how}", ratio, terms, "log ratio", ONE_PER_CENT)
        return self.claim(study, name, how, after - before, terms, self.unit, self.smallest)

    def claim(
        self,
        study: Numbers,
        name: str,
        how: str,
        differences: pd.Series,
        terms: Sequence[Term],
        unit: str,
        smallest: float,
    ) -> Claim:
        """That a difference of risks is above 0; `terms` are the losses in it."""
        return claim_of(
            study,
            "",
            [name],
            how,
            unit,
            smallest,
            differences,
            study.last(name),
            [(name, self.metric if condition == name else condition, at) for _, condition, at in terms],
            noise=[of_chains(study, name, differences)] if self.of_chains else [],
            shared=study.test_error(differences, *terms),
        )


def of_risk(study: Numbers, risk: PopulationRisk) -> dict[str, Asked]:
    """The three definitions that are about how much the risk rises, and whether it levels off."""

    def catastrophic(name: str) -> Claim:
        how, last = f"{risk.name}, last generation's minus {risk.ruined}", study.last(name)
        after, ruin = risk.at(study, name), risk.ruin(name, risk.at(study, name, 0))
        return risk.compared(study, name, how, after, ruin, [(1, name, last), *risk.of_ruin(name)])

    def increase(name: str) -> Claim:
        how = f"{risk.name}, last generation's minus generation 0's"
        ends: list[Term] = [(1, name, study.last(name)), (-1, name, 0)]
        return risk.compared(study, name, how, risk.at(study, name), risk.at(study, name, 0), ends)

    return {
        CATASTROPHIC: Asked(catastrophic, LATER),
        ANY: Asked(increase, LATER),
        DIVERGING: Asked(lambda name: _diverging(study, name, risk), "generations 0 to 2"),
    }


def _diverging(study: Numbers, name: str, risk: PopulationRisk) -> Claim:
    """That the risk still rises, and at least half as fast as it did at first, if it did rise at first.

    The two halves are each seed's own.
    """
    last = study.last(name)
    last = last[last > 1]
    middle = last // 2
    first, half, end = (risk.at(study, name, at) for at in (last * 0, middle, last))
    early, late = (half - first) / middle, (end - half) / (last - middle)
    rose = early.mean() > 0
    how = (
        f"rise of the {risk.name} per generation in the second half of the generations"
        + (", minus half of that in the first" if rose else ", which did not rise in the first")
        + ": that it does not level off, which is as much as a finite study can show"
    )
    earlier = 0.5 if rose else 0.0
    ahead, behind = 1 / (last - middle), earlier / middle
    terms: list[Term] = [(ahead, name, last), (-ahead - behind, name, middle), (behind, name, 0)]
    smallest = risk.smallest / last.max() if len(last) else risk.smallest
    return risk.claim(study, name, how, late - earlier * early, terms, f"{risk.unit} per generation", smallest)


def of_sample_sizes(study: Numbers, metric: str) -> Asked:
    """The scaling law, where conditions have samples of several sizes: the exponent of a distance over the size."""

    def claim(name: str) -> Claim:
        alike = [other for other in study.settings if _alike(study, name, other) and len(study.last(other))]
        sizes = [study.settings[other]["sample"]["rows"] for other in alike]
        several = len(set(sizes)) > 1
        last = study.last(*alike) if several else study.last(name)[:0]
        before, after = (
            _exponent(sizes, [study.at(other, metric, at) for other in alike]) if several else last.astype(float)
            for at in (last * 0, last)
        )
        return claim_of(
            study,
            "",
            alike if several else [name],
            f"exponent of {metric} over the sample's size, last generation's minus generation 0's: more data helps "
            "less",
            "exponent",
            FLATTER,
            after - before,
            last,
            [(other, metric, at) for other in alike for at in (last, 0)],
        )

    return Asked(claim, "conditions that differ in the size of the sample alone")


def share_lost(
    study: Numbers,
    metric: str,
    what: str,
    where: Callable[[str], bool] = lambda name: True,
    needs: str = SOME,
) -> Asked:
    """The share of something that is lost since generation 0; asked of conditions `where` that has a meaning."""

    def claim(name: str) -> Claim:
        how = f"share of {what} that is lost since generation 0"
        return _share(study, name, how, lost_since_first(study, name, metric), where(name))

    return Asked(claim, needs)


def share_of_truth_lost(
    study: Numbers,
    metric: str,
    what: str,
    of_truth: Callable[[str], float],
    where: Callable[[str], bool] = lambda name: True,
    needs: str = LATER,
) -> Asked:
    """The share of something in the known truth that the last generation's chains lack; asked of conditions `where`.

    `of_truth`: the metric of a condition's truth.
    """

    def claim(name: str) -> Claim:
        how = f"share of the truth's {what} that is lost"
        return _share(study, name, how, lost_of_truth(study, name, metric, of_truth(name)), where(name))

    return Asked(claim, needs)


def share_missing(study: Numbers, measure: str, what: str) -> Asked:
    """The share of something in held-out real data that the last generation's samples lack."""

    def claim(name: str) -> Claim:
        return _share(study, name, f"share of {what} that the samples lack", lost_of_real(study, name, measure))

    return Asked(claim, HELD_OUT)


def share_beyond(study: Numbers, measure: str, what: str, real: float) -> Asked:
    """The last generation's share of what lies where held-out real data has only the share `real`."""

    def claim(name: str) -> Claim:
        how = f"share of {what}, minus the {real:.0%} that real data has there"
        return _share(study, name, how, beyond_real(study, name, measure, real), smallest=real / 10)

    return Asked(claim, HELD_OUT)


def chains_beyond(study: Numbers, metric: str, what: str, real: float) -> Asked:
    """The same of a mean over a batch of chains, where the share `real` is the known truth's own."""

    def claim(name: str) -> Claim:
        how, last = f"share of {what}, minus the {real:.0%} that real data has there", study.last(name)
        values = study.at(name, metric) - real
        share = Share(values, of_chains(study, name, values), values * 0, [(name, metric, last)])
        return _share(study, name, how, share, smallest=real / 10)

    return Asked(claim, LATER)


def _share(
    study: Numbers, name: str, how: str, share: Share, asked: bool = True, smallest: float = ONE_PER_CENT
) -> Claim:
    if not asked:
        return Claim("", name, how, "share", smallest)
    return claim_of(
        study, "", [name], how, "share", smallest, share.values, study.last(name), share.sources,
        noise=[share.noise], shared=share.shared, most=1.0,
    )  # fmt: skip


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
