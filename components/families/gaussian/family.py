"""The Gaussian family: mean and covariance fitted to a sample, and sampled again (the paper's three ways to sample).

A batch of chains advances together as arrays, chains last. Where a regime trains on whole samples, only their sufficient
statistics are drawn (`statistics`); where it picks rows, those rows are computed (`rows`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from components.families.gaussian import statistics
from components.families.gaussian.rows import standard_normal
from components.families.gaussian.statistics import Statistics
from components.measures.spread import spread
from components.recursion.family import Arrays, Origin, Pool, Step
from components.recursion.rows import appended
from components.regimes import Regime, distinct

VALUES_AT_ONCE = 2**17
"""Rows computed together: their arrays stay in a core's second-level cache."""

TAIL = 0.01
"""The truth's mass on either side of its middle 99 %, together."""

FORMAT = 3
"""To be raised with any change of the code that changes a chain's numbers: what an older version left is not taken then."""


@dataclass(frozen=True)
class GaussianFamily:
    """`chains` chains whose real data are `rows` draws of the standard normal in `dimensions` dimensions.

    Generation i is fitted on round(rows (i + 1)^growth) rows: `growth` 0 is constant, 1 linear, more superlinear.
    """

    chains: int
    rows: int
    dimensions: int = 1
    ddof: int = 1
    growth: float = 0.0
    shown: tuple[int, ...] = ()

    name = "gaussian"
    in_memory = True
    data_folder = None

    @property
    def settings(self) -> Mapping[str, Any]:
        fit = {"chains": self.chains, "dimensions": self.dimensions, "ddof": self.ddof}
        return {
            "fit": fit,
            "sample": {"rows": self.rows, "growth": self.growth},
            "measure": {"shown": self.shown, "format": FORMAT},
        }

    def digests(self) -> Mapping[str, str]:
        return {"training": "standard normal", "evaluation": "standard normal"}

    def base(self) -> None:
        return None

    def rows_of(self, generation: int) -> int:
        """How many rows the generation is fitted on, where the regime does not add to them."""
        return round(self.rows * (generation + 1) ** self.growth)

    def compose(self, regime: Regime, pool: Pool[Arrays], out: Arrays, step: Step) -> dict[str, float]:
        """Statistics (see `statistics`) of what every chain is trained on next."""
        random = np.random.default_rng(step.random)
        if regime.name == "subsample":
            composed = self._subsample(pool, out, step, random)
        elif regime.real_fraction:
            composed = self._keep_real(regime.real_fraction, pool, out, step, random)
        elif pool.sampled:
            newest = pool.sampled[-1]
            composed = statistics.draw(newest["mean"], newest["factor"], pool.rows[-1], random)
            if regime.name == "accumulate":
                assert pool.trained is not None
                composed = statistics.merge(Statistics.of(pool.trained), composed)
        else:
            composed = statistics.draw(*self._truth(), self.rows_of(0), random)
        out |= composed.arrays()
        return {"data/rows": composed.rows}

    def fit(
        self, composed: Arrays, pool: Pool[Arrays], start: Arrays | None, out: Arrays, step: Step
    ) -> dict[str, float]:
        """Mean (d, chains) and factor (d, d, chains) of the covariance."""
        out["mean"], out["factor"] = statistics.fit(Statistics.of(composed), self.ddof)
        return {}

    def sample(self, fitted: Arrays, origin: Origin[Arrays], out: Arrays, step: Step) -> dict[str, float]:
        """Which distribution the samples are from, and how many: they are drawn where they are used."""
        out |= fitted
        return {"synthetic/rows": self.rows_of(step.generation + 1)}

    def measure(
        self, fitted: Arrays, sampled: Arrays, origin: Origin[Arrays], out: Arrays, step: Step
    ) -> dict[str, float]:
        """Distance of every chain's model to the truth, over chains (figures of the section).

        As mean and quantiles `mean_error` |mu - mu_hat|, `deviation_error` |sigma - sigma_hat| and `deviation` sigma_hat,
        in more dimensions the norm of the principal deviations' errors and their geometric mean. As mean and median, in
        one dimension, `tail`, a model's mass where the truth has its outer 1 %. As mean alone
        `wasserstein2_squared`, both errors' squares, which is W2^2 to the standard normal; `variance_of_samples` Var(X^n)
        over all chains.
        """
        mean, factor = fitted["mean"], fitted["factor"]
        principal = np.abs(factor[0]) if self.dimensions == 1 else _singular_values(factor)
        mean_error, deviation_error = _norm(mean), _norm(principal - 1)
        risk = mean_error**2 + deviation_error**2
        deviation = principal[0] if self.dimensions == 1 else principal.prod(axis=0) ** (1 / self.dimensions)
        return {
            **spread("mean_error", mean_error),
            **spread("deviation_error", deviation_error),
            **spread("deviation", deviation),
            "wasserstein2_squared/mean": float(risk.mean()),
            "wasserstein2_squared/standard_error": float(risk.std(ddof=1) / np.sqrt(self.chains)),
            "variance_of_samples": float(((principal**2).sum(axis=0) + mean_error**2).mean() / self.dimensions),
            **(self._of_tail(mean[0], deviation) if self.dimensions == 1 else {}),
        }

    def _of_tail(self, mean: np.ndarray, deviation: np.ndarray) -> dict[str, float]:
        tail = tail_mass(mean, deviation)
        return {"tail/mean": float(tail.mean()), "tail/median": float(np.median(tail))}

    def _keep_real(
        self, fraction: float, pool: Pool[Arrays], out: Arrays, step: Step, random: np.random.Generator
    ) -> Statistics:
        """Some of the real rows, and new samples for the rest; the real rows are the same few thousand every time."""
        out["key"] = pool.trained["key"] if pool.trained else step.random.generate_state(1, np.uint64)
        out["means"], out["factors"] = (array[..., None] for array in self._truth())
        out["ends"] = np.array([self.rows])
        kept = round(fraction * self.rows) if pool.sampled else self.rows
        if not kept:
            return statistics.draw(pool.sampled[-1]["mean"], pool.sampled[-1]["factor"], self.rows, random)
        real = self._rows(out, self.rows, kept, random)
        if kept == self.rows:
            return real
        newest = pool.sampled[-1]
        return statistics.merge(real, statistics.draw(newest["mean"], newest["factor"], self.rows - kept, random))

    def _subsample(self, pool: Pool[Arrays], out: Arrays, step: Step, random: np.random.Generator) -> Statistics:
        """Rows of all data so far, none twice. `out` gains where they come from: the models of the pool's data sets."""
        if pool.trained is None:
            out["key"] = step.random.generate_state(1, np.uint64)
            out["means"], out["factors"] = (array[..., None] for array in self._truth())
            out["ends"] = np.array([self.rows_of(0)])
        else:
            newest, trained = pool.sampled[-1], pool.trained
            out["key"] = trained["key"]
            out["means"] = appended(trained["means"], newest["mean"][..., None], len(trained["ends"]))
            out["factors"] = appended(trained["factors"], newest["factor"][..., None], len(trained["ends"]))
            out["ends"] = np.append(trained["ends"], trained["ends"][-1] + pool.rows[-1])
        return self._rows(out, int(out["ends"][-1]), self.rows_of(step.generation), random)

    def _rows(self, source: Arrays, population: int, rows: int, random: np.random.Generator) -> Statistics:
        """Statistics of `rows` different rows below `population`, drawn for each chain."""
        parts = []
        for chains in self._batches(rows):
            chosen = distinct(population, rows, len(chains), random)
            parts.append(statistics.of_rows(self._values(source, chains, chosen)))
        mean = np.concatenate([part.mean for part in parts], axis=-1)
        return Statistics(rows, mean, np.concatenate([part.factor for part in parts], axis=-1))

    def _values(self, source: Arrays, chains: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """The rows `chosen` (chains, n) of the pool: (d, chains, n)."""
        origin = np.searchsorted(source["ends"], chosen, side="right")
        counter = (chosen * self.chains + chains[:, None]).astype(np.uint64) * np.uint64(self.dimensions)
        noise = [standard_normal(source["key"][0], counter + np.uint64(i)) for i in range(self.dimensions)]
        values = np.empty((self.dimensions, *chosen.shape))
        for i in range(self.dimensions):
            values[i] = np.take_along_axis(source["means"][i, chains], origin, axis=1)
            for j in range(i + 1):
                values[i] += np.take_along_axis(source["factors"][i, j, chains], origin, axis=1) * noise[j]
        return values

    def _batches(self, rows: int) -> Iterator[np.ndarray]:
        size = max(1, VALUES_AT_ONCE // rows)
        for first in range(0, self.chains, size):
            yield np.arange(first, min(first + size, self.chains))

    def _truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and factor of the standard normal for every chain."""
        identity = np.repeat(np.eye(self.dimensions)[..., None], self.chains, axis=-1)
        return np.zeros((self.dimensions, self.chains)), identity


def _norm(values: np.ndarray) -> np.ndarray:
    """Of vectors (d, chains)."""
    return np.abs(values[0]) if len(values) == 1 else np.sqrt((values**2).sum(axis=0))


def tail_mass(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Of one-dimensional models (chains,), the mass outside the middle 99 % of the standard normal."""
    edge = ndtri(1 - TAIL / 2)
    with np.errstate(divide="ignore"):  # a deviation of nought: all mass is on one side of an edge
        return ndtr((-edge - mean) / deviation) + ndtr((mean - edge) / deviation)


def _singular_values(factor: np.ndarray) -> np.ndarray:
    """Principal deviations (d, chains) of covariances by their factors (d, d, chains)."""
    return np.linalg.svd(np.moveaxis(factor, -1, 0), compute_uv=False).T
