"""A study's numbers as claims ask for them: by condition and metric, seed by seed.

A chain can stop early. A claim about one condition takes each seed's own last generation; a claim
about a pair takes, seed by seed, the last generation that both chains of that seed have. So two
chains are never compared over different numbers of generations, and no seed is left out without a
word (`stopped`, `without_number`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from components.measures.errors import BATCHES, serial_error
from components.measures.risk import Risk

Generation = int | pd.Series
"""One for all seeds, or each seed's own (int, by seed)."""
HeldOut = Mapping[tuple[str, int, int], np.ndarray]
"""By condition, seed and generation the loss on every block or image of the test split, (n,), in one order."""
Source = tuple[str, str, Generation]
"""A condition, a metric and a generation: where a claim's number comes from."""
Term = tuple[float | pd.Series, str, Generation]
"""A factor (one, or by seed), a condition and a generation: a part of a difference of losses on the test split."""


@dataclass(frozen=True)
class Numbers:
    """A study's numbers, by chain and generation.

    `table`: rows (condition, seed, generation), a column per metric. `settings`: each condition's,
    as its chains have them. `seeds` and `generations`: the seeds and the last generation that were
    planned. `held_out`: losses whose mean is the family's risk (of text the logarithm of the
    perplexity); empty where the risk is exact or they are not at hand. `conditional_on`: what the
    study's intervals do not cover, in words.
    """

    table: pd.DataFrame
    settings: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int] = ()
    generations: int = 0
    held_out: HeldOut = field(default_factory=dict)
    conditional_on: str = ""

    def last(self, *conditions: str) -> pd.Series:
        """The last generation that the chains of all these conditions have, by seed; without seeds that only began."""
        if conditions not in self._lasts:
            ends = [self._chains.get(name, _NONE).ends for name in conditions]
            seeds = [seed for seed in ends[0] if all(one.get(seed, 0) > 0 for one in ends)]
            self._lasts[conditions] = pd.Series([min(one[seed] for one in ends) for seed in seeds], seeds, int)
        return self._lasts[conditions]

    def at(self, condition: str, metric: str, generation: Generation | None = None) -> pd.Series:
        """The metric by seed: in each seed's last generation, in one, or in each seed's own; nan if missing."""
        wanted = self.last(condition) if generation is None or isinstance(generation, int) else generation
        chains, column = self._chains.get(condition, _NONE), self._columns.get(metric)
        found = [
            math.nan
            if column is None
            else chains.value(seed, generation if isinstance(generation, int) else at, column)
            for seed, at in wanted.items()
        ]
        return pd.Series(found, index=wanted.index, dtype=float)

    def error(self, condition: str, metric: str, generation: Generation | None = None) -> pd.Series:
        """The metric's own standard error, `<metric>_error`, by seed; 0 where it is not known."""
        return self.at(condition, f"{metric}_error", generation).fillna(0.0)

    def of(self, condition: str, metric: str) -> pd.DataFrame:
        """The metric, generations down, seeds across; nan where a seed has not come so far or the metric is missing."""
        chains, column = self._chains.get(condition, _NONE), self._columns.get(metric)
        values = chains.values[:, :, 0] * math.nan if column is None else chains.values[:, :, column]
        return pd.DataFrame(values, columns=list(chains.ends)).rename_axis(index="generation", columns="seed")

    def change(self, condition: str, metric: str) -> pd.Series:
        """Change of the metric's logarithm from generation 0 to each seed's last one."""
        return logarithm(self.at(condition, metric) / self.at(condition, metric, 0))

    def rise(self, condition: str, risk: Risk, generation: pd.Series | None = None) -> pd.Series:
        """How much worse each seed's last generation (or another) is than generation 0, as a logarithm."""
        generation = self.last(condition) if generation is None else generation
        after, before = (self.at(condition, risk.metric, at) for at in (generation, generation * 0))
        lost = [risk.lost(float(was), float(now)) for was, now in zip(before, after, strict=True)]
        return pd.Series(lost, index=after.index, dtype=float)

    def late_fall(self, condition: str, metric: str) -> pd.Series:
        """Fall of the metric's logarithm from the middle of each seed's generations to its last one.

        Without bound where the metric is 0 at the end.
        """
        last = self.last(condition)
        middle, end = self.at(condition, metric, last // 2), self.at(condition, metric, last)
        return logarithm(middle / end).mask(end == 0, math.inf)

    def test_error(self, differences: pd.Series, *terms: Term) -> float:
        """Standard error that the mean over seeds of these differences has because the test split is finite.

        Block by block (or image by image) the difference is the weighted sum of the losses that
        `terms` name, averaged over the seeds that have a number; so what blocks have in common
        cancels. Its error is taken over batches of neighbouring blocks, which come from one
        document. 0 where there are no losses by block; nan where there is one block only.
        """
        seeds = [seed for seed, value in by_seed(differences).items() if math.isfinite(value)]
        if not self.held_out or not seeds:
            return 0.0
        if not self.test_degrees:
            return math.nan
        parts = [
            _of_seed(factor, seed) * self.held_out[(condition, seed, int(_of_seed(at, seed)))]
            for factor, condition, at in terms
            for seed in seeds
        ]
        return serial_error(np.sum(parts, axis=0) / len(seeds))

    @property
    def test_degrees(self) -> int:
        """Degrees of freedom of the test split's error: of the batches that its blocks are cut into."""
        return min(BATCHES, *map(len, self.held_out.values())) - 1 if self.held_out else BATCHES - 1

    def without_real_data(self) -> list[str]:
        """Conditions whose generations are trained on the last one's samples and nothing else."""
        return [name for name, of in self.settings.items() if _replaces_all(of["regime"])]

    def stopped(self, *conditions: str) -> list[str]:
        """A sentence for each planned chain of these conditions that has no generation or stopped early."""
        found = []
        for name in conditions if all(name in self.settings for name in conditions) else ():
            ends = self._chains.get(name, _NONE).ends
            for seed in self._planned_seeds:
                if seed not in ends:
                    found.append(f"{name} seed {seed} has no finished generation")
                elif ends[seed] < self._planned_last:
                    found.append(f"{name} seed {seed} stopped after generation {ends[seed]} of {self._planned_last}")
        return found

    def without_number(self, differences: pd.Series, sources: Sequence[Source]) -> list[str]:
        """A sentence for each seed that has the generations but no number: what of `sources` is missing or 0."""
        unmeasured = dict.fromkeys(metric for _, metric, _ in sources if metric not in self._columns)
        if unmeasured:
            return [f"not measured in this study: {', '.join(unmeasured)}"]
        return [
            f"seed {seed} has no number: {self._why_not(seed, sources)}"
            for seed, value in differences.items()
            if math.isnan(value)
        ]

    def _why_not(self, seed: Any, sources: Sequence[Source]) -> str:
        """What is missing; where nothing is, what is 0, by which nothing can be divided."""
        missing, zero = [], []
        for condition, metric, generation in sources:
            at = int(_of_seed(generation, seed))
            value = self._chains[condition].value(seed, at, self._columns[metric])
            if math.isnan(value):
                missing.append(f"{metric} is missing in generation {at}")
            elif not value > 0:
                zero.append(f"{metric} is {value:g} in generation {at}")
        return " and ".join(dict.fromkeys(missing or zero)) or "it is not finite"

    @cached_property
    def _lasts(self) -> dict[tuple[str, ...], pd.Series]:
        """What `last` found: claims ask for it again and again."""
        return {}

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {str(metric): place for place, metric in enumerate(self.table.columns)}

    @cached_property
    def _chains(self) -> dict[str, "_Chains"]:
        """Each condition's numbers as an array, since claims ask for single ones a thousand times."""
        condition, seed = (self.table.index.get_level_values(level) for level in range(2))
        generation, numbers = self.table.index.get_level_values(2).to_numpy(), self.table.to_numpy(float)
        found = {}
        for name in condition.unique():
            rows = np.flatnonzero(condition == name)
            codes, seeds = pd.factorize(seed[rows], sort=True)
            values = np.full((generation[rows].max() + 1, len(seeds), numbers.shape[1]), np.nan)
            values[generation[rows], codes] = numbers[rows]
            ends = {int(one): int(generation[rows][codes == place].max()) for place, one in enumerate(seeds)}
            found[str(name)] = _Chains(ends, values)
        return found

    @property
    def _planned_seeds(self) -> Sequence[int]:
        return self.seeds or sorted({seed for chains in self._chains.values() for seed in chains.ends})

    @property
    def _planned_last(self) -> int:
        return max([self.generations, *(end for chains in self._chains.values() for end in chains.ends.values())])


@dataclass(frozen=True)
class _Chains:
    """One condition's chains. `ends`: the last generation by seed. `values`: (generations, seeds, metrics)."""

    ends: Mapping[int, int]
    values: np.ndarray

    @cached_property
    def _places(self) -> dict[int, int]:
        return {seed: place for place, seed in enumerate(self.ends)}

    def value(self, seed: Any, generation: Any, column: int) -> float:
        within = seed in self.ends and 0 <= generation < len(self.values)
        return float(self.values[int(generation), self._places[seed], column]) if within else math.nan


_NONE = _Chains({}, np.empty((0, 0, 1)))


def _of_seed(value: float | pd.Series, seed: int) -> float:
    return float(value[seed]) if isinstance(value, pd.Series) else value


def _replaces_all(regime: Mapping[str, Any]) -> bool:
    return regime["name"] == "replace" and not any(value for key, value in regime.items() if key != "name")


def numbers(
    metrics: pd.DataFrame,
    settings: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int] = (),
    generations: int = 0,
    held_out: HeldOut | None = None,
    conditional_on: str = "",
) -> Numbers:
    """Make `Numbers` of tidy metrics (condition, seed, generation, metric, value); the others as `Numbers` has them.

    Without `seeds` and `generations` those that some chain has count as planned: a seed that never
    started in any condition is then not missed.
    """
    table = metrics.pivot_table(index=["condition", "seed", "generation"], columns="metric", values="value")
    return Numbers(table, settings, seeds, generations, held_out or {}, conditional_on)


def logarithm(values: pd.Series) -> pd.Series:
    """The logarithm; -inf of 0, nan of what is below it."""
    return np.log(values.where(values > 0)).mask(values == 0, -math.inf)


def by_seed(values: pd.Series) -> dict[int, float]:
    """The values that are numbers, infinite ones too, by seed."""
    return {int(str(seed)): float(value) for seed, value in values.items() if not math.isnan(value)}
