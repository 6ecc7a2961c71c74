"""How many modes of the real data samples still tell apart: without labels, from where both lie in some space.

Late collapse entangles the modes of the original distribution (the paper's section on what model collapse is): one generated
digit looks like several (its figure 9).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax, xlogy
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from components.measures.errors import mean_error

MODES = 10
"""Of real data whose modes nobody has counted: as many as there are digits."""

LEAST_VARIANCE = 1e-12
"""Of modes whose points are one point."""


@dataclass(frozen=True)
class Modes:
    """Real data as a mixture of equally likely balls: `centres` (count, d), and the variance of a coordinate within one."""

    centres: NDArray[np.float64]
    variance: float


def find_modes(points: NDArray[np.floating], count: int = MODES) -> Modes:
    """The modes of real data (n, d), by k-means: the same for the same points; fewer where they would have no two points each."""
    with threadpool_limits(1):  # of a few thousand points, threads that wait for each other cost seconds
        found = KMeans(max(min(count, len(points) // 2), 1), n_init=4, random_state=0).fit(points)
    variance = float(found.inertia_) / points.size
    return Modes(np.asarray(found.cluster_centers_, np.float64), max(variance, LEAST_VARIANCE))


def distinct_modes(points: NDArray[np.floating], modes: Modes) -> float:
    """Effective number of modes that points (n, d) tell apart, from 1 to how many there are; nan without points.

    exp of the mutual information of a point and its mode, the mode being as likely as `modes` says. It falls as points
    come to lie between modes (they entangle), and as modes lose their points (they disappear). It is the Inception Score
    (Salimans et al. 2016, arXiv 1606.03498) with modes that were found in the place of classes that were labelled.
    """
    return float(np.exp(_information(points, modes).mean())) if len(points) else float("nan")


def distinct_modes_error(points: NDArray[np.floating], modes: Modes) -> float:
    """Standard error of `distinct_modes` over independent points (n, d); nan without points.

    By the delta method: to first order the information is a mean over points.
    """
    if not len(points):
        return float("nan")
    information = _information(points, modes)
    return float(np.exp(information.mean())) * mean_error(information)


def _information(points: NDArray[np.floating], modes: Modes) -> NDArray[np.float64]:
    """By point, (n,), the divergence of its modes' probabilities from those of all points together, in nats."""
    squared = ((points[:, None] - modes.centres) ** 2).sum(axis=-1)
    likely = softmax(-squared / (2 * modes.variance), axis=1)
    together = likely.mean(axis=0)
    return np.asarray(xlogy(likely, likely).sum(axis=1) - xlogy(likely, together).sum(axis=1))
