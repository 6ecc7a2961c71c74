"""Where expectation maximisation starts: responsibilities (chains, K, n) as scikit-learn's `init_params` gives them.

`kmeans` is scikit-learn's default: greedy k-means++ seeding (Arthur and Vassilvitskii 2007), then Lloyd's algorithm until
nothing moves; each row belongs wholly to its cluster. `k-means++` and `random_from_data` give each component one row.
"""

import math
from typing import Literal

import numpy as np

Initial = Literal["kmeans", "k-means++", "random_from_data"]

LABEL = np.int16
MOST_LLOYD_STEPS = 300
LLOYD_TOLERANCE = 1e-4
"""Of scikit-learn's KMeans: squared shift of the centres, against the mean variance of the coordinates."""


def responsibilities(rows: np.ndarray, components: int, how: Initial, random: np.random.Generator) -> np.ndarray:
    """One-hot over components for the rows (chains, n, d) that a component starts from; (chains, K, n)."""
    chains, n, _ = rows.shape
    columns = np.ascontiguousarray(rows.transpose(0, 2, 1))  # numpy sums along memory many times as fast as across it
    given = np.zeros((chains, components, n))
    if how == "kmeans":
        labels = _lloyd(columns, _plus_plus(columns, components, random))
        np.put_along_axis(given, labels[:, None].astype(np.int64), 1.0, axis=1)
        return given
    if how == "k-means++":
        chosen = _plus_plus(columns, components, random)
    else:
        chosen = random.random((chains, n)).argpartition(components - 1, axis=1)[:, :components]
    np.put_along_axis(given, chosen[..., None], 1.0, axis=2)
    return given


def _plus_plus(columns: np.ndarray, components: int, random: np.random.Generator) -> np.ndarray:
    """Indices (chains, K) of rows far apart: each next one is drawn by its squared distance to the nearest so far, the
    best of 2 + log K tries."""
    chains, _, n = columns.shape
    tries, chain = 2 + int(math.log(components)), np.arange(chains)
    chosen = np.empty((chains, components), np.int64)
    chosen[:, 0] = random.integers(n, size=chains)
    nearest = _squared_distance(columns, columns[chain, :, chosen[:, 0]])
    for component in range(1, components):
        mass = np.cumsum(nearest, axis=1)
        at = random.random((tries, chains)) * mass[:, -1]
        candidates = np.minimum([(mass < value[:, None]).sum(axis=1) for value in at], n - 1)
        distances = [np.minimum(nearest, _squared_distance(columns, columns[chain, :, one])) for one in candidates]
        best = np.argmin([distance.sum(axis=1) for distance in distances], axis=0)
        chosen[:, component] = candidates[best, chain]
        nearest = np.stack(distances)[best, chain]
    return chosen


def _lloyd(columns: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Labels (chains, n) of k-means from the rows `chosen` (chains, K)."""
    chains, _, n = columns.shape
    labels = np.zeros((chains, n), LABEL)
    centres = np.take_along_axis(columns, chosen[:, None], axis=2).transpose(0, 2, 1).copy()
    tolerance = LLOYD_TOLERANCE * columns.var(axis=2).mean(axis=1)
    active, part, total = np.arange(chains), columns, columns.sum(axis=2)
    for _ in range(MOST_LLOYD_STEPS):
        before = centres[active]
        nearest = _nearest(part, before)
        moved = _means(part, total[active], nearest, before)
        same = (nearest == labels[active]).all(axis=1)
        labels[active], centres[active] = nearest, moved
        still = ~same & (((moved - before) ** 2).sum(axis=(1, 2)) > tolerance[active])
        if not still.all():
            active, part = active[still], part[still]
        if not len(active):
            break
    return _nearest(columns, centres)


def _nearest(columns: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the nearest centre, (chains, n); among equals the first."""
    heights = (centres**2).sum(axis=-1) / 2
    best = _projected(columns, centres[:, 0]) - heights[:, :1]
    labels = np.zeros(best.shape, LABEL)
    for component in range(1, centres.shape[1]):
        other = _projected(columns, centres[:, component]) - heights[:, component, None]
        np.maximum(labels, (other > best) * LABEL(component), out=labels)  # a masked assignment takes ten times as long
        np.maximum(best, other, out=best)
    return labels


def _means(columns: np.ndarray, total: np.ndarray, labels: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Mean (chains, K, d) of the rows of each label; of a label without rows, `otherwise`. The first has what is left."""
    means = otherwise.copy()
    count, left = np.full(len(columns), columns.shape[2]), total.copy()
    for component in range(means.shape[1] - 1, 0, -1):
        chosen = (labels == component).astype(float)
        own, part = chosen.sum(axis=1), (chosen[:, None] @ columns.transpose(0, 2, 1))[:, 0]
        count, left = count - own, left - part
        np.divide(part, own[:, None], out=means[:, component], where=own[:, None] > 0)
    np.divide(left, count[:, None], out=means[:, 0], where=count[:, None] > 0)
    return means


def _projected(columns: np.ndarray, directions: np.ndarray) -> np.ndarray:
    return (directions[:, None] @ columns)[:, 0]


def _squared_distance(columns: np.ndarray, points: np.ndarray) -> np.ndarray:
    squared = np.square(columns[:, 0] - points[:, 0, None])
    for axis in range(1, columns.shape[1]):
        squared += np.square(columns[:, axis] - points[:, axis, None])
    return squared
