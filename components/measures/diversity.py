"""How varied generated text still is, as exact counts over blocks of token ids.

Perplexity hides what diversity tells: a model that repeats one phrase can have any perplexity (in the replication of
the paper's main experiment perplexity came back down while distinct-3 fell from 0.55 to 0.24).
Every number here depends on its definition and on the number of tokens counted: compare only sets of the same size.
"""

import numpy as np
from numpy.typing import NDArray


def distinct_n(blocks: NDArray[np.integer], n: int) -> float:
    """Number of different n-grams divided by the number of n-grams, pooled over all sequences.

    `blocks` are token ids (sequences, tokens); an n-gram lies within one sequence. 1 means that no n-gram occurs
    twice; nan where the blocks hold no n-gram (fewer than n tokens). Source: Li et al. 2016 (arXiv 1510.03055), who
    divide by the number of tokens instead; the mean of per-sequence values is another, far larger number.
    """
    codes = _ngram_codes(blocks, n)
    return float(np.unique(codes).size / codes.size) if codes.size else float("nan")


def repetition_4(blocks: NDArray[np.integer]) -> float:
    """Share of a sequence's 4-grams that occurred earlier in the same sequence, averaged over sequences.

    `blocks` are token ids (sequences, tokens). For one sequence 1 - (different 4-grams) / (4-grams): seq-rep-4 of
    Welleck et al. 2020 (arXiv 1908.04319). 0 means that no sequence repeats itself; nan where a
    sequence has fewer than 4 tokens.
    """
    codes = np.sort(_ngram_codes(blocks, 4), axis=1)
    repeated = codes[:, 1:] == codes[:, :-1]  # sorted, an n-gram that is not the first of its kind equals its neighbour
    return float(repeated.sum() / codes.size) if codes.size else float("nan")


def vocabulary_coverage(synthetic: NDArray[np.integer], real: NDArray[np.integer]) -> float:
    """Share of the different token ids in `real` that occur in `synthetic` at all (token ids of any shape).

    The tail of the vocabulary is what early collapse loses first (the paper's section on what model collapse is).
    nan where `real` is empty.
    """
    known = np.unique(real)
    return float(np.isin(known, synthetic).mean()) if known.size else float("nan")


def _ngram_codes(blocks: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """One int64 an n-gram, (sequences, tokens - n + 1): equal codes if and only if equal n-grams.

    Numbers in base (largest id + 1); where the next digit would not fit, codes are first replaced by their ranks.
    """
    if blocks.ndim != 2 or n < 1:
        raise ValueError(f"n-grams of length {n} need blocks (sequences, tokens), got shape {blocks.shape}")
    if blocks.size and blocks.min() < 0:
        raise ValueError(f"token ids are not negative, got {blocks.min()}")
    ids = blocks.astype(np.int64)
    positions = max(ids.shape[1] - n + 1, 0)
    if not ids.shape[0] or not positions:
        return np.empty((ids.shape[0], positions), dtype=np.int64)
    base = int(ids.max()) + 1
    codes, size = ids[:, :positions], base
    for shift in range(1, n):
        if size > np.iinfo(np.int64).max // base:
            values, ranks = np.unique(codes, return_inverse=True)
            codes, size = ranks.reshape(codes.shape).astype(np.int64), values.size
        codes, size = codes * base + ids[:, shift : shift + positions], size * base
    return codes
