"""Shares that are lost or gained, by seed, each with the error of its own counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.scorecard.noise import of_chains, of_none, of_ratio, together
from components.scorecard.numbers import Generation, Numbers, Source, by_seed


@dataclass(frozen=True)
class Share:
    """A share, by seed.

    `noise`: the standard error of each seed's own counts. `common`: by seed, the standard error
    that comes of what all seeds have in common. `sources`: what it was computed from.
    """

    values: pd.Series
    noise: pd.Series
    common: pd.Series
    sources: Sequence[Source]

    def minus(self, other: "Share") -> "Share":
        """The difference of two shares, their errors taken for independent."""
        noise, common = together(self.noise, other.noise), together(self.common, other.common)
        return Share(self.values - other.values, noise, common, [*self.sources, *other.sources])

    @property
    def shared(self) -> float:
        """The common error of the mean over the seeds that have a number."""
        seeds = list(by_seed(self.values))
        return float(self.common.loc[seeds].mean(skipna=False)) if seeds else 0.0


def lost_since_first(study: Numbers, condition: str, metric: str, generation: Generation | None = None) -> Share:
    """What each seed's last generation (or another) lacks of what generation 0 has of a metric."""
    at = study.last(condition) if generation is None else generation
    now, first = (study.at(condition, metric, one) for one in (at, 0))
    first = _nonzero(first)
    noise = together(*of_ratio(now, study.error(condition, metric, at), first, study.error(condition, metric, 0)))
    return Share(1 - now / first, noise, noise * 0, [(condition, metric, at), (condition, metric, 0)])


def lost_of_truth(
    study: Numbers, condition: str, metric: str, truth: float, generation: Generation | None = None
) -> Share:
    """What each seed's last generation (or another) lacks of what the known truth has of a metric.

    The metric is a mean or median over a batch of chains, which does not show what happens in fewer
    than one of them.
    """
    at = study.last(condition) if generation is None else generation
    now = study.at(condition, metric, at)
    values = 1 - now / _nonzero(pd.Series(truth, now.index))
    return Share(values, of_chains(study, condition, values), values * 0, [(condition, metric, at)])


def lost_of_real(study: Numbers, condition: str, measure: str, generation: Generation | None = None) -> Share:
    """What the samples of each seed's last generation (or another) lack of what held-out real data has of a measure.

    Where the samples have none of it, all of it is lost: a share of 1, also if generation 0 had
    lost it already. The error of the reference is taken as if nothing were lost, since that is what
    has to be ruled out: at the ratio found it is too small just where the reference came out too
    large.
    """
    at = study.last(condition) if generation is None else generation
    written, held_out = f"synthetic/{measure}", f"heldout/{measure}"
    now, real = (study.at(condition, metric, at) for metric in (written, held_out))
    real = _nonzero(real)
    of_real = study.error(condition, held_out, at)
    error = study.error(condition, written, at)
    error = error.where((error > 0) | (now != 0), of_none(real, of_real))
    noise, _ = of_ratio(now, error, real, of_real)
    common = (now / real).clip(lower=1) * of_real / real
    return Share(1 - now / real, noise, common, [(condition, written, at), (condition, held_out, at)])


def beyond_real(study: Numbers, condition: str, measure: str, real: float) -> Share:
    """The share of each seed's last samples beyond a quantile of held-out real data, minus `real`, that data's own.

    Both errors count: how many samples there are, and how well the quantile is known.
    """
    written, held_out = f"synthetic/{measure}", f"heldout/{measure}"
    noise, common = study.error(condition, written), study.error(condition, held_out)
    sources = [(condition, metric, study.last(condition)) for metric in (written, held_out)]
    reference = study.at(condition, held_out)  # a study that lacks it was held against another reference
    values = (study.at(condition, written) - real).where(np.isfinite(reference))
    return Share(values, noise, common, sources)


def _nonzero(reference: pd.Series) -> pd.Series:
    """The reference by seed, nan where it is 0: no share of nothing can be lost, so that seed has no number."""
    return reference.where(reference != 0)
