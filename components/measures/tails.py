"""What becomes of rare things: exact counts of tokens and bigrams, generated against real.

The tails go first (the paper's section on what model collapse is). Every number here depends on how many tokens were
counted: compare only sets of the same size.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import ndtri

from components.measures.diversity import different, joint_codes

RARE = 0.01
BEYOND = 0.99
SMOOTHING = 0.5


def rare_tokens(real: NDArray[np.integer], mass: float = RARE) -> NDArray[np.integer]:
    """The rarest token ids of `real` (any shape) that together make up at most `mass` of it; of equally rare, the largest first.

    A tail by mass and not by rank, so that it means the same for vocabularies of any size.
    """
    tokens, counts = np.unique(real, return_counts=True)
    rarest = np.lexsort((-tokens, counts))
    within = np.cumsum(counts[rarest]) <= mass * real.size
    return np.sort(tokens[rarest[within]])


def rare_token_mass(synthetic: NDArray[np.integer], real: NDArray[np.integer], mass: float = RARE) -> float:
    """Share of `synthetic` that is among the rarest tokens of `real`, those with `mass` of it; nan where there are no tokens.

    The real data's own value is `mass` or a little less. Lower: the tail is being lost.
    """
    return float(np.isin(synthetic, rare_tokens(real, mass)).mean()) if synthetic.size else float("nan")


def kl_to_real(synthetic: NDArray[np.integer], real: NDArray[np.integer], n: int) -> float:
    """KL(real || synthetic) of the n-gram distributions, in nats, over token ids (sequences, tokens).

    Counts over all n-grams that occur in either, each with half a count more (Krichevsky and Trofimov 1981): without,
    one n-gram that was lost would make it infinite. It grows as `synthetic` loses what `real` has. nan without n-grams.

    Raises:
        ValueError: the sequences of the two are not of one length.
    """
    parts = joint_codes(real, synthetic, n)
    if not all(part.size for part in parts):
        return float("nan")
    of_real, of_synthetic = (np.unique(part, return_counts=True) for part in parts)
    occurring = different(np.concatenate([of_real[0], of_synthetic[0]]))
    p, q = (_smoothed(found, counts, occurring) for found, counts in (of_real, of_synthetic))
    return float(np.sum(p * np.log(p / q)))


def _smoothed(found: NDArray[np.int64], counts: NDArray[np.int64], occurring: NDArray[np.int64]) -> NDArray[np.float64]:
    weights = np.full(len(occurring), SMOOTHING)
    weights[np.searchsorted(occurring, found)] += counts
    return weights / weights.sum()


def share_beyond(synthetic: NDArray[np.floating], real: NDArray[np.floating], quantile: float = BEYOND) -> float:
    """Share of synthetic sequences whose perplexity is beyond this quantile of the real sequences', both under one model.

    The long tail of figure 11; real text's own share is 1 - `quantile`. nan without sequences.
    """
    return float((synthetic > np.quantile(real, quantile)).mean()) if synthetic.size and real.size else float("nan")


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
