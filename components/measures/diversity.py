"""How varied generated text still is, as exact counts over blocks of token ids.

Perplexity hides what diversity tells: a model that repeats one phrase can have any perplexity (in
the replication of the paper's main experiment perplexity came back down while distinct-3 fell from
0.55 to 0.24). Every number here depends on how many tokens are counted.
`families/language/measuring.py` therefore measures as many blocks of every generation and of
held-out real text.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU
from scipy.special import xlogy

from components.measures.errors import NONE, Measured, jackknife_error

SELF_BLEU_SAMPLE = 64
"""Texts that self-BLEU compares, each with all others: its cost grows with the square (0.4 s for 64 of fifty words)."""


def distinct_n(blocks: NDArray[np.integer], n: int) -> float:
    """Number of different n-grams divided by the number of n-grams, pooled over all sequences.

    `blocks` are token ids (sequences, tokens); an n-gram lies within one sequence. 1 means that no n-gram occurs
    twice; nan where the blocks hold no n-gram (fewer than n tokens). Source: Li et al. 2016 (arXiv 1510.03055), who
    divide by the number of tokens instead; the mean of per-sequence values is another, far larger number.
    """
    codes = ngram_codes(blocks, n)
    return float(different(codes).size / codes.size) if codes.size else float("nan")


def distinct_texts(blocks: NDArray[np.integer]) -> float:
    """Number of different sequences divided by the number of sequences; nan without any.

    `blocks` are token ids (sequences, tokens). 1 means that no text was written twice.
    """
    return len(np.unique(blocks, axis=0)) / len(blocks) if len(blocks) else float("nan")


def distinct_n_per_sequence(blocks: NDArray[np.integer], n: int) -> float:
    """Number of different n-grams divided by the number of n-grams within one sequence, averaged over sequences.

    `blocks` are token ids (sequences, tokens); nan where they hold no n-gram. The other number that goes by the name of
    distinct-n: blind to what sequences have in common.
    """
    codes = np.sort(ngram_codes(blocks, n), axis=1)
    kinds = 1 + (codes[:, 1:] != codes[:, :-1]).sum(axis=1)
    return float((kinds / codes.shape[1]).mean()) if codes.size else float("nan")


def ngram_entropy(blocks: NDArray[np.integer], n: int) -> Measured:
    """Shannon entropy of the n-grams pooled over all sequences, in nats, with its standard error.

    `blocks` are token ids (sequences, tokens); nan where they hold no n-gram. The entropy is that of
    the counts, with no correction for the number of them. The error is the jackknife's, over batches
    of neighbouring sequences: for 256 blocks of WikiText-2 half as much again as over single ones,
    since neighbours speak of one thing.
    """
    codes = ngram_codes(blocks, n)
    if not codes.size:
        return NONE
    _, kinds, counts = np.unique(codes, return_inverse=True, return_counts=True)
    sequences, width = codes.shape
    places = np.arange(sequences)[:, None] * counts.size + kinds.reshape(codes.shape)
    found, own = np.unique(places, return_counts=True)
    sequence, kind = np.divmod(found, counts.size)
    left = counts[kind] - own
    change = np.bincount(sequence, xlogy(left, left) - xlogy(counts[kind], counts[kind]), minlength=sequences)
    whole, rest = float(xlogy(counts, counts).sum()), codes.size - width
    entropy = float(np.log(codes.size) - whole / codes.size)
    left_out = np.log(rest) - (whole + change) / rest if rest else np.empty(0)
    return Measured(entropy, jackknife_error(left_out))


def compression_ratio(texts: Sequence[str]) -> float:
    """Bytes of the texts, a line each, over their bytes after DEFLATE at its best level; nan without text.

    Higher means more redundant. It grows with the length of the texts. Source: Shaib et al. 2024
    (arXiv 2403.00553), who find it the best single number for the diversity of a set of texts of
    one length.
    """
    raw = "\n".join(texts).encode()
    return len(raw) / len(zlib.compress(raw, 9)) if raw else float("nan")


def self_bleu(texts: Sequence[str], sample: int = SELF_BLEU_SAMPLE) -> float:
    """BLEU of each text with the others as its references, averaged; 0 to 1, higher means that they resemble each other.

    Of `sample` texts that lie evenly spread, or all if there are no more; it grows with their
    number. nan with fewer than two. Source: Zhu et al. 2018 (arXiv 1802.01886); BLEU-4 as sacrebleu
    has it (Post 2018, arXiv 1804.08771): its tokens (13a), exponential smoothing, and no higher
    order than a text has n-grams for.
    """
    chosen = [texts[place] for place in np.linspace(0, len(texts) - 1, min(sample, len(texts))).astype(int)]
    if len(chosen) < 2:
        return float("nan")
    bleu = BLEU(effective_order=True)
    scores = [bleu.sentence_score(text, chosen[:i] + chosen[i + 1 :]).score for i, text in enumerate(chosen)]
    return float(np.mean(scores)) / 100


def share_found(synthetic: NDArray[np.integer], reference: NDArray[np.integer], n: int = 8) -> float:
    """Share of the n-grams of `synthetic` that occur in `reference` (both token ids (sequences, tokens), of one length).

    With n = 8 chance hardly finds one: what is found was copied. nan where `synthetic` holds no n-gram.

    Raises:
        ValueError: the sequences of the two are not of one length.
    """
    own, known = (np.sort(part, axis=None) for part in joint_codes(synthetic, reference, n))
    if not own.size or not known.size:
        return 0.0 if own.size else float("nan")
    return float((known[np.minimum(np.searchsorted(known, own), known.size - 1)] == own).mean())


def repetition_4(blocks: NDArray[np.integer]) -> float:
    """Share of a sequence's 4-grams that occurred earlier in the same sequence, averaged over sequences.

    `blocks` are token ids (sequences, tokens). For one sequence 1 - (different 4-grams) / (4-grams): seq-rep-4 of
    Welleck et al. 2020 (arXiv 1908.04319). 0 means that no sequence repeats itself; nan where a
    sequence has fewer than 4 tokens.
    """
    codes = np.sort(ngram_codes(blocks, 4), axis=1)
    repeated = codes[:, 1:] == codes[:, :-1]  # sorted, an n-gram that is not the first of its kind equals its neighbour
    return float(repeated.sum() / codes.size) if codes.size else float("nan")


def vocabulary_coverage(synthetic: NDArray[np.integer], real: NDArray[np.integer]) -> float:
    """Share of the different token ids in `real` that occur in `synthetic` at all (token ids of any shape).

    The tail of the vocabulary is what early collapse loses first (the paper's section on what model collapse is).
    nan where `real` is empty.
    """
    known = np.unique(real)
    return float(np.isin(known, synthetic).mean()) if known.size else float("nan")


def joint_codes(
    first: NDArray[np.integer], second: NDArray[np.integer], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`ngram_codes` of two sets that are to be compared: equal codes in either if and only if equal n-grams.

    Raises:
        ValueError: their sequences are not of one length.
    """
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"sequences of one length are compared, got {first.shape[1]} and {second.shape[1]} tokens")
    codes = ngram_codes(np.concatenate([first, second]), n)
    return codes[: len(first)], codes[len(first) :]


def different(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The different values, ascending: as numpy.unique has them, which hashes first and takes far longer for millions."""
    ordered = np.sort(codes, axis=None)
    return ordered[np.concatenate([ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]])]


def ngram_codes(blocks: NDArray[np.integer], n: int) -> NDArray[np.int64]:
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
