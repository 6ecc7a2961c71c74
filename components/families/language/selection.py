"""Which of the blocks that a generation wrote are passed on: verification, filters by surprise, and de-duplication.

A block's surprise is its mean loss in nats a token by itself, without the prompt: the logarithm of the perplexity that
figure 11 counts.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_array

from components.measures.diversity import ngram_codes

Judge = Literal["generation0", "own"]
GRAM = 5
BLOCKS_AT_ONCE = 512


@dataclass(frozen=True)
class Selection:
    """What is passed on.

    `best_of`: of so many blocks written after a prompt, the one that generation 0 finds likeliest (a verifier: Feng et al.
    2024, arXiv 2406.07515). `drop_least_surprising`, `drop_most_surprising`: shares of the blocks that are dropped (Gambetta
    et al. 2024, arXiv 2410.12341, and Marion et al. 2023, arXiv 2309.04564), by the surprise of `judge`'s model: generation
    0's, or the `own` one. `drop_duplicates`: a block is dropped whose 5-grams are to this share those of one before it.
    """

    best_of: int = 1
    drop_least_surprising: float = 0.0
    drop_most_surprising: float = 0.0
    judge: Judge = "generation0"
    drop_duplicates: float | None = None

    @property
    def by_surprise(self) -> bool:
        return self.drop_least_surprising > 0 or self.drop_most_surprising > 0

    @property
    def how(self) -> list[str]:
        """In words, one a remedy."""
        dropped = {"least": self.drop_least_surprising, "most": self.drop_most_surprising}
        found = [f"best of {self.best_of}"] if self.best_of > 1 else []
        found += [
            f"without the {share:.0%} {side} surprising ({self.judge})" for side, share in dropped.items() if share
        ]
        return found + ([f"without duplicates ({self.drop_duplicates:g})"] if self.drop_duplicates is not None else [])

    @property
    def settings(self) -> dict[str, Any]:
        """What is not as it would be without any selection."""
        unlike = {name: value for name, value in vars(self).items() if value != getattr(Selection, name)}
        if not self.by_surprise:
            unlike.pop("judge", None)
        return unlike


def kept_by_surprise(surprise: np.ndarray, least: float, most: float) -> np.ndarray:
    """Which blocks stay, bool (n,): all but `round(least * n)` of the least and `round(most * n)` of the most surprising."""
    count = len(surprise)
    order = np.argsort(surprise, kind="stable")
    kept = np.ones(count, bool)
    kept[order[: round(least * count)]] = False
    kept[order[count - round(most * count) :]] = False
    return kept


def kept_as_new(blocks: np.ndarray, threshold: float) -> np.ndarray:
    """Which blocks stay, bool (n,): those unlike each one before them that stays.

    Two blocks are alike where the Jaccard index of their sets of 5-grams is at least `threshold`: the near-duplicates of
    Lee et al. 2022 (arXiv 2107.06499), who estimate the index by MinHash; here every pair is counted.

    Args:
        blocks: integers (n, length), 5 tokens or longer.
    """
    count, codes = len(blocks), ngram_codes(blocks, GRAM)
    _, columns = np.unique(codes, return_inverse=True)
    rows = np.repeat(np.arange(count), codes.shape[1])
    holds = csr_array(
        (np.ones(rows.size, np.int32), (rows, columns.ravel())), shape=(count, columns.max(initial=0) + 1)
    )
    holds.sum_duplicates()
    holds.data[:] = 1  # a set: however often a block has it
    sizes = np.diff(holds.indptr)
    kept = np.ones(count, bool)
    for start in range(0, count, BLOCKS_AT_ONCE):
        part = slice(start, start + BLOCKS_AT_ONCE)
        shared = (holds[part] @ holds[: part.stop].T).tocoo()
        one, other = shared.coords[0] + start, shared.coords[1]
        alike = (other < one) & (shared.data >= threshold * (sizes[one] + sizes[other] - shared.data))
        one, other = one[alike], other[alike]
        for block in range(start, min(part.stop, count)):  # in order: what one decides, a later one asks
            like = other[np.searchsorted(one, block) : np.searchsorted(one, block, "right")]
            kept[block] = not kept[like].any()
    return kept
