"""Regimes: what the next generation is trained on, as index arithmetic over a pool of data sets.

The paper's mixture `alpha p_model_i + beta p_i + gamma p_0` (section 3): own samples, the predecessor's data, the real
data. The pool holds the real data (source -1) and the samples of every generation so far (source 0, 1, ...); a
composition names rows of it and never touches what is in them, so the same code serves every family.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

REAL = -1


@dataclass(frozen=True)
class Regime:
    """How a training set is drawn: `replace` (keeping `real_fraction` real), `subsample` or `accumulate`."""

    name: Literal["replace", "subsample", "accumulate"]
    real_fraction: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.real_fraction <= 1:
            raise ValueError(f"real_fraction {self.real_fraction} is not within 0..1")

    @property
    def picks_rows(self) -> bool:
        """Whether a training set holds some rows of a data set and not others, which later ones may hold again."""
        return self.name == "subsample" or self.real_fraction > 0


@dataclass(frozen=True)
class Composition:
    """The rows of a training set: `source` (n,) int16, -1 for real data; `row` (n,) int32 within that source."""

    source: np.ndarray
    row: np.ndarray

    def weights(self, generation: int) -> tuple[float, float, float]:
        """(alpha, beta, gamma) as they came out: shares of the predecessor's samples, of older samples, of real data."""
        own = self.source == generation - 1
        real = self.source == REAL
        own &= ~real
        return float(own.mean()), float((~own & ~real).mean()), float(real.mean())


def expected_weights(regime: Regime, generation: int) -> tuple[float, float, float]:
    """(alpha, beta, gamma) that a regime gives a generation on average, where all data sets are of one size."""
    if generation == 0:
        return 0.0, 0.0, 1.0
    if regime.name == "replace":
        return 1 - regime.real_fraction, 0.0, regime.real_fraction
    sets = generation + 1
    return 1 / sets, (sets - 2) / sets, 1 / sets


def compose(regime: Regime, sizes: list[int], random: np.random.Generator) -> Composition:
    """Draw the training set of a generation.

    Args:
        regime: how to draw it.
        sizes: rows of the pool's data sets: the real data first, then the samples of generations 0, 1, ...; the
            generation composed for is `len(sizes) - 1`.
        random: decides which rows are kept; the composition depends on nothing else.

    Returns:
        For generation 0 the real data in order. `replace`: one row a position, `round(real_fraction * n)` of them
        real, the others the predecessor's sample of that position (its prompt's successor, in the language family).
        `subsample`: n rows of the whole pool, without replacement. `accumulate`: the whole pool.

    Raises:
        ValueError: `replace` with data sets of unequal size.
    """
    real = sizes[0]
    if len(sizes) == 1:
        return Composition(np.full(real, REAL, np.int16), np.arange(real, dtype=np.int32))
    pool_source = np.repeat(np.arange(-1, len(sizes) - 1, dtype=np.int16), sizes)
    pool_row = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
    match regime.name:
        case "accumulate":
            return Composition(pool_source, pool_row)
        case "subsample":
            chosen = np.sort(random.choice(len(pool_row), size=real, replace=False))
            return Composition(pool_source[chosen], pool_row[chosen])
        case "replace":
            if sizes[-1] != real:
                raise ValueError(
                    f"replace exchanges row for row, but {sizes[-1]} samples stand against {real} real rows"
                )
            source = np.full(real, len(sizes) - 2, np.int16)
            source[random.choice(real, size=round(regime.real_fraction * real), replace=False)] = REAL
            return Composition(source, np.arange(real, dtype=np.int32))


def gather(composition: Composition, pool: Mapping[int, np.ndarray]) -> np.ndarray:
    """The rows that a composition names, out of the data sets it draws on by source; (n, ...) in their dtype."""
    first = next(iter(pool.values()))
    training = np.empty((len(composition.row), *first.shape[1:]), first.dtype)
    for source, data in pool.items():
        chosen = composition.source == source
        training[chosen] = data[composition.row[chosen]]
    return training


def distinct(population: int, rows: int, chains: int, random: np.random.Generator) -> np.ndarray:
    """`rows` different numbers below `population` for each chain, every such set as likely as any other; (chains, rows).

    Draws with replacement and draws again what came twice: no number is treated unlike another, so no set is either.
    """
    if 2 * rows > population:  # what is left out is the smaller set
        left_out = distinct(population, population - rows, chains, random)
        kept = np.ones((chains, population), bool)
        np.put_along_axis(kept, left_out, False, axis=1)
        return np.nonzero(kept)[1].reshape(chains, rows)
    drawn = np.sort(random.integers(population, size=(chains, rows)), axis=1)
    again = np.arange(chains)
    while again.size:
        twice = np.zeros((again.size, rows), bool)
        twice[:, 1:] = drawn[again, 1:] == drawn[again, :-1]
        unfinished = twice.any(axis=1)
        again, twice = again[unfinished], twice[unfinished]
        part = drawn[again]
        part[twice] = random.integers(population, size=int(twice.sum()))
        part.sort(axis=1)
        drawn[again] = part
    return drawn
