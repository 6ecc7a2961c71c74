"""MAUVE: how close generated text is to real text, by what both look like to some model that embeds them.

Written from the papers: the published package is under the GPL, is bound to faiss, and embeds by models of two names only.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

EXPLAINED = 0.9
STARTS, TURNS, SEED = 5, 500, 25
POINTS, SCALE = 25, 5


def mauve(real: NDArray[np.floating], written: NDArray[np.floating]) -> float:
    """MAUVE of two sets of embedded texts, (n, d) and (m, d): from 0, nothing in common, to 1; nan with fewer than two of either.

    Embeddings of length one, reduced by PCA to 90 % of their variance, are cut into min(n, m) / 10
    clusters by k-means; MAUVE is the area under the frontier of the two histograms. It goes by n
    and by the model that embeds. Source: Pillutla et al. 2021 (arXiv 2102.01454), section 3 and its
    settings, where n is 5,000.
    """
    from sklearn.cluster import KMeans  # half a second, which only those pay who ask for this
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    if min(len(real), len(written)) < 2:
        return float("nan")
    clusters = max(2, round(min(len(real), len(written)) / 10))
    together = normalize(np.concatenate([real, written]).astype(np.float64))
    reduced = PCA(random_state=SEED).fit(together)
    kept = 1 + int(np.argmax(np.cumsum(reduced.explained_variance_ratio_) >= EXPLAINED))
    means = KMeans(clusters, n_init=STARTS, max_iter=TURNS, random_state=SEED)
    places = means.fit_predict(reduced.transform(together)[:, :kept])
    of_real, of_written = (np.bincount(part, minlength=clusters) for part in np.split(places, [len(real)]))
    return frontier_area(of_real / len(real), of_written / len(written))


def frontier_area(real: NDArray[np.floating], written: NDArray[np.floating]) -> float:
    """Area under the curve (exp(-5 KL(written | mixture)), exp(-5 KL(real | mixture))) of two histograms, over their mixtures.

    Of equal histograms 1, of disjoint ones 5 B(6, 5) = 0.004, but for the trapezoids between 25 mixtures.
    """
    share = np.linspace(1e-6, 1 - 1e-6, POINTS)[:, None]
    mixtures = share * real + (1 - share) * written
    along = np.exp(-SCALE * rel_entr(written, mixtures).sum(1))
    up = np.exp(-SCALE * rel_entr(real, mixtures).sum(1))
    # From the mixture that is all `written` to the one that is all `real` the curve only falls; its ends are on the axes.
    x, y = np.concatenate([[1.0], along, [0.0]]), np.concatenate([[0.0], up, [1.0]])
    return float(np.trapezoid(y, -x))
