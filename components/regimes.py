"""Regimes: what the next generation is trained on, as index arithmetic over a pool of data sets.

The paper's mixture `alpha p_model_i + beta p_i + gamma p_0` (section 3): own samples, the predecessor's data, the real
data. The pool holds the real data (source -1), the samples of every generation so far (source 0, 1, ...), and real data
that no generation has seen yet (source -2); a composition names rows of it and never touches what is in them, so the same
code serves every family.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

REAL = -1
FRESH = -2


@dataclass(frozen=True)
class Regime:
    """How a training set is drawn: `replace`, `subsample` or `accumulate`.

    Of `replace`, `real_fraction` is the share that stays real, drawn anew from generation 0's data in every generation, and
    `fresh_real` the share that is real and has not been seen before (fresh data, Alemohammad et al. 2023, arXiv 2307.01850).
    """

    name: Literal["replace", "subsample", "accumulate"]
    real_fraction: float = 0.0
    fresh_real: float = 0.0

    def __post_init__(self) -> None:
        for share in (self.real_fraction, self.fresh_real, self.real_fraction + self.fresh_real):
            if not 0 <= share <= 1:
                raise ValueError(f"real_fraction {self.real_fraction}, fresh_real {self.fresh_real}: not within 0..1")

    @property
    def settings(self) -> dict[str, str | float]:
        """What determines a composition; what is not asked for is not in it."""
        fresh = {"fresh_real": self.fresh_real} if self.fresh_real else {}
        return {"name": self.name, "real_fraction": self.real_fraction, **fresh}

    @property
    def picks_rows(self) -> bool:
        """Whether a training set holds some rows of a data set and not others, which later ones may hold again."""
        return self.name == "subsample" or self.real_fraction > 0


@dataclass(frozen=True)
class Composition:
    """The rows of a training set: `source` (n,) int16, -1 and -2 for real data; `row` (n,) int32 within that source."""

    source: np.ndarray
    row: np.ndarray

    def weights(self, generation: int) -> tuple[float, float, float]:
        """(alpha, beta, gamma) as they came out: shares of the predecessor's samples, of older samples, of real data."""
        real = self.source < 0
        own = (self.source == generation - 1) & ~real
        return float(own.mean()), float((~own & ~real).mean()), float(real.mean())


def expected_weights(regime: Regime, generation: int) -> tuple[float, float, float]:
    """(alpha, beta, gamma) that a regime gives a generation on average, where all data sets are of one size."""
    if generation == 0:
        return 0.0, 0.0, 1.0
    if regime.name == "replace":
        real = regime.real_fraction + regime.fresh_real
        return 1 - real, 0.0, real
    sets = generation + 1
    return 1 / sets, (sets - 2) / sets, 1 / sets


def compose(
    regime: Regime, sizes: list[int], random: np.random.Generator, rows: int | None = None, reserve: int = 0
) -> Composition:
    """Draw the training set of a generation.

    Args:
        regime: how to draw it.
        sizes: rows of the pool's data sets: the real data first, then the samples of generations 0, 1, ...; the
            generation composed for is `len(sizes) - 1`.
        random: decides which rows are kept; the composition depends on nothing else.
        rows: n, the training set's size; as many as the real data has if not given.
        reserve: rows of real data set aside for `fresh_real`; every generation takes the next ones.

    Returns:
        For generation 0 the real data in order. `replace`: one row a position, `round(real_fraction * n)` of them real and
        `round(fresh_real * n)` fresh, the others the predecessor's sample of that position (its prompt's successor, in the
        language family). Where it has not n samples, these are taken equally often, as far as that goes, and which real
        rows stay is drawn too. `subsample`: n rows of the whole pool, without replacement. `accumulate`: the whole pool.

    Raises:
        ValueError: more rows asked for than there are.
    """
    real, newest = sizes[0], len(sizes) - 2
    rows = real if rows is None else rows
    if len(sizes) == 1:
        return Composition(np.full(real, REAL, np.int16), np.arange(real, dtype=np.int32))
    pool_source = np.repeat(np.arange(-1, len(sizes) - 1, dtype=np.int16), sizes)
    pool_row = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
    match regime.name:
        case "accumulate":
            return Composition(pool_source, pool_row)
        case "subsample":
            chosen = np.sort(random.choice(len(pool_row), size=rows, replace=False))
            return Composition(pool_source[chosen], pool_row[chosen])
        case "replace":
            source, row = np.full(rows, newest, np.int16), np.arange(rows, dtype=np.int32)
            kept = random.choice(rows, size=round(regime.real_fraction * rows), replace=False)
            source[kept] = REAL
            if rows != real:
                row[kept] = random.choice(real, size=len(kept), replace=False)
            if count := round(regime.fresh_real * rows):
                source[random.choice(np.flatnonzero(source == newest), size=count, replace=False)] = FRESH
                row[source == FRESH] = _unseen(newest * count, count, reserve)
            written = source == newest
            if sizes[-1] != rows:
                row[written] = equally_often(sizes[-1], int(written.sum()), random)
            return Composition(source, row)


def _unseen(seen: int, count: int, reserve: int) -> np.ndarray:
    if seen + count > reserve:
        raise ValueError(f"{seen} rows of the reserve are seen, {count} more are wanted, and it has {reserve}")
    return np.arange(seen, seen + count, dtype=np.int32)


def equally_often(there: int, wanted: int, random: np.random.Generator) -> np.ndarray:
    """`wanted` of `there` rows, in order: each as often as any other, or once more."""
    more = random.choice(there, size=wanted % there, replace=False)
    return np.sort(np.concatenate([np.tile(np.arange(there), wanted // there), more])).astype(np.int32)


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
