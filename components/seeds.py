"""Which real rows each seed trains on: a set of its own, so that an interval over seeds holds for more than one set.

The real rows of a study are its pool. A fixed permutation of the pool is cut into sets of equal size, and a
seed takes one of them.
"""

import numpy as np

MOST_SETS = 8
"""Disjoint sets at most: blocks of a text that are in no set pretrain the base model."""


def number_of_sets(rows: int, size: int) -> int:
    """How many disjoint sets of `size` rows a pool out of `rows` rows has; 1 where there are too few for two."""
    return max(1, min(MOST_SETS, rows // size))


def rows_of_seed(pool: int, size: int, seed: int) -> np.ndarray:
    """Rows of the pool that a seed trains on, int64 (size,), ascending.

    Seeds 0 to k - 1 have disjoint sets, where k = pool // size. The next k seeds take the sets of another
    permutation, and so on: any seed has a set, and it does not depend on which other seeds there are.
    """
    turn, place = divmod(seed, pool // size)
    order = np.random.default_rng(turn).permutation(pool)
    return np.sort(order[place * size : (place + 1) * size])
