"""Where expectation maximisation starts: responsibilities (chains, K, n) as scikit-learn's `init_params` gives them.

`kmeans` is scikit-learn's default: greedy k-means++ seeding (Arthur and Vassilvitskii 2007), then Lloyd's algorithm until
nothing moves; each row belongs wholly to its cluster. `k-means++` and `random_from_data` give each component one row.
"""

import math
from typing import Literal

import numpy as np

Initial = Literal["kmeans", "k-means++", "random_from_data"]

MOST_LLOYD_STEPS = 300
LLOYD_TOLERANCE = 1e-4
"""Of scikit-learn's KMeans: squared shift of the centres, against the mean variance of the coordinates."""


def responsibilities(rows: np.ndarray, components: int, how: Initial, random: np.random.Generator) -> np.ndarray:
    """One-hot over components for the rows (chains, n, d) that a component starts from; (chains, K, n)."""
    chains, n, _ = rows.shape
    given = np.zeros((chains, components, n))
    if how == "kmeans":
        labels = _lloyd(rows, _plus_plus(rows, components, random))
        np.put_along_axis(given, labels[:, None], 1.0, axis=1)
        return given
    if how == "k-means++":
        chosen = _plus_plus(rows, components, random)
    else:
        chosen = random.random((chains, n)).argpartition(components - 1, axis=1)[:, :components]
    np.put_along_axis(given, chosen[..., None], 1.0, axis=2)
    return given


def _plus_plus(rows: np.ndarray, components: int, random: np.random.Generator) -> np.ndarray:
    """Indices (chains, K) of rows far apart: each next one is drawn by its squared distance to the nearest so far, the
    best of 2 + log K tries."""
    chains, n, _ = rows.shape
    tries, chain = 2 + int(math.log(components)), np.arange(chains)
    chosen = np.empty((chains, components), np.int64)
    chosen[:, 0] = random.integers(n, size=chains)
    nearest = _squared_distance(rows, rows[chain, chosen[:, 0]])
    for component in range(1, components):
        mass = np.cumsum(nearest, axis=1)
        at = random.random((tries, chains)) * mass[:, -1]
        candidates = np.minimum([(mass < value[:, None]).sum(axis=1) for value in at], n - 1)
        distances = [np.minimum(nearest, _squared_distance(rows, rows[chain, one])) for one in candidates]
        best = np.argmin([distance.sum(axis=1) for distance in distances], axis=0)
        chosen[:, component] = candidates[best, chain]
        nearest = np.stack(distances)[best, chain]
    return chosen


def _lloyd(rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Labels (chains, n) of k-means from the rows `chosen` (chains, K)."""
    labels = np.zeros(rows.shape[:2], np.int64)
    centres = np.take_along_axis(rows, chosen[..., None], axis=1)
    tolerance = LLOYD_TOLERANCE * rows.var(axis=1).mean(axis=1)
    active = np.arange(len(rows))
    for _ in range(MOST_LLOYD_STEPS):
        part, before = rows[active], centres[active]
        nearest = _nearest(part, before)
        moved = np.stack([_mean_where(part, nearest == k, before[:, k]) for k in range(before.shape[1])], axis=1)
        same = (nearest == labels[active]).all(axis=1)
        labels[active], centres[active] = nearest, moved
        still = ~same & (((moved - before) ** 2).sum(axis=(1, 2)) > tolerance[active])
        active = active[still]
        if not len(active):
            break
    return _nearest(rows, centres)


def _nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    scores = rows @ centres.transpose(0, 2, 1) - (centres**2).sum(axis=-1)[:, None] / 2
    return scores.argmax(axis=-1)


def _mean_where(rows: np.ndarray, chosen: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    count = chosen.sum(axis=1)[:, None]
    total = np.einsum("cn,cnd->cd", chosen.astype(float), rows)
    return np.where(count > 0, total / np.maximum(count, 1), otherwise)


def _squared_distance(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    return ((rows - points[:, None]) ** 2).sum(axis=-1)
