"""What becomes of rare things: exact counts of tokens and bigrams, generated against real.

The tails go first (the paper's section on what model collapse is). Every number here depends on how
many real tokens say what is rare, and on how many generated ones are counted.
`families/language/measuring.py` therefore measures as many blocks of every generation and of
held-out real text.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import ndtri

from components.measures.diversity import joint_codes
from components.measures.errors import Measured, share_in_blocks

RARE = 0.01
BEYOND = 0.99
SKEW = 0.01


def rare_tokens(real: NDArray[np.integer], mass: float = RARE) -> NDArray[np.integer]:
    """The rarest token ids of `real` (any shape) that together make up at most `mass` of it; of equally rare, the largest first.

    A tail by mass and not by rank, so that it means the same for vocabularies of any size.
    """
    tokens, counts = np.unique(real, return_counts=True)
    rarest = np.lexsort((-tokens, counts))
    within = np.cumsum(counts[rarest]) <= mass * real.size
    return np.sort(tokens[rarest[within]])


def rare_token_mass(blocks: NDArray[np.integer], real: NDArray[np.integer], mass: float = RARE) -> Measured:
    """Share of `blocks` (sequences, tokens) among the rarest tokens of `real` (any shape), those with `mass` of it.

    With its standard error; nan where there are no tokens. Lower: the tail is being
    lost. Other text like `real` does not have `mass` there. It has less, the smaller `real` is,
    since tokens that are rare by chance are among the rarest: for WikiText-2 0.2 % where `real` is
    512 blocks, and 1.2 % where it is 19,000. Compare with held-out text.
    """
    return share_in_blocks(np.isin(blocks, rare_tokens(real, mass)))


def kl_to_real(
    blocks: NDArray[np.integer], real: NDArray[np.integer], n: int, separator: int | None = None, skew: float = SKEW
) -> float:
    """KL(real || (1 - skew) blocks + skew real) of the n-gram distributions, in nats; nan without n-grams.

    Both are token ids (sequences, tokens). n-grams that hold `separator` do not count on either
    side. From 0 to -log(skew), which is 4.6 for one in a hundred: n-grams that were lost count, and
    do not make it infinite. It is convex in the distribution of `blocks`, so fewer blocks of the
    same text are never nearer to `real` on average. Half a count more for each n-gram (Krichevsky
    and Trofimov 1981) would favour small sets, since it makes them near to uniform. Source: Lee
    2001, "On the effectiveness of the skew divergence for statistical language analysis" (AISTATS).

    Raises:
        ValueError: the sequences of the two are not of one length.
    """
    parts = joint_codes(real, blocks, n)
    of_real, of_blocks = (
        codes[_holds_not(ids, n, separator)] for codes, ids in zip(parts, (real, blocks), strict=True)
    )
    if not of_real.size or not of_blocks.size:
        return float("nan")
    found, counts = np.unique(of_real, return_counts=True)
    own, own_counts = np.unique(of_blocks, return_counts=True)
    place = np.minimum(np.searchsorted(own, found), own.size - 1)
    p, q = counts / of_real.size, np.where(own[place] == found, own_counts[place], 0) / of_blocks.size
    return float(np.sum(p * np.log(p / ((1 - skew) * q + skew * p))))


def _holds_not(ids: NDArray[np.integer], n: int, token: int | None) -> NDArray[np.bool_]:
    """Which n-grams of the sequences do not hold a token; (sequences, tokens - n + 1)."""
    if ids.shape[1] < n:
        return np.empty((len(ids), 0), bool)
    other = np.ones(ids.shape, bool) if token is None else ids != token
    windows: NDArray[np.bool_] = np.lib.stride_tricks.sliding_window_view(other, n, axis=1)
    return np.logical_and.reduce(windows, axis=-1)


def quantile(values: NDArray[np.floating], share: float) -> float:
    """The value that a share of such values is expected to lie below, whatever their number; nan without values.

    numpy's `weibull`, (n + 1) share in order of size: of fresh values as much lies beyond as the
    name says. numpy's own choice leaves 1.6 % beyond the 99th percentile of 170 values. With fewer
    than 99 values it is the largest.
    """
    return float(np.quantile(values, share, method="weibull")) if values.size else float("nan")


def share_beyond(synthetic: NDArray[np.floating], real: NDArray[np.floating], share: float = BEYOND) -> float:
    """Share of synthetic sequences whose perplexity is beyond this quantile of the real sequences', both under one model.

    The long tail of figure 11. `real` are sequences that the model was not fitted on: of others
    like them 1 - `share` lie beyond. nan without sequences.
    """
    return float((synthetic > quantile(real, share)).mean()) if synthetic.size and real.size else float("nan")


@dataclass(frozen=True)
class Zipf:
    """An exponent with its 95 % interval."""

    exponent: float
    low: float
    high: float


def zipf_exponent(tokens: NDArray[np.integer]) -> Zipf:
    """Exponent s of P(rank r) proportional to r^-s over the ranks that occur, by maximum likelihood (token ids of any shape).

    Flatter (smaller) means that mass is spread over more tokens. The interval is that of the likelihood's curvature; it
    takes the tokens for independent and the ranks for known, so it is too narrow for text: it says how well the number
    is determined by this sample, not how a law would fit. nan with fewer than two different tokens. Source: Moreno-Sánchez
    et al. 2016 (PLoS ONE 11:e0147073), their first form, cut at the last rank.
    """
    counts = -np.sort(-np.unique(tokens, return_counts=True)[1])
    if len(counts) < 2:
        return Zipf(float("nan"), float("nan"), float("nan"))
    logs = np.log(np.arange(1, len(counts) + 1))
    mean = float(counts @ logs / counts.sum())

    def excess(exponent: float) -> float:
        """Expected minus observed mean of log rank: it falls with the exponent, and is nought at the maximum."""
        return float(_weights(exponent, logs) @ logs) - mean

    exponent = optimize.brentq(excess, -5, 50)
    weights = _weights(exponent, logs)
    spread = float(weights @ logs**2 - (weights @ logs) ** 2)
    half = ndtri(0.975) / np.sqrt(counts.sum() * spread)
    return Zipf(float(exponent), float(exponent - half), float(exponent + half))


def _weights(exponent: float, logs: NDArray[np.float64]) -> NDArray[np.float64]:
    logits = -exponent * logs
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()
