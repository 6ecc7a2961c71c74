"""A number with the standard error that its own finite set of blocks gives it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Estimate:
    """A measure of a set of blocks, and its standard error over blocks; nan where it cannot be known."""

    value: float
    error: float


NONE = Estimate(float("nan"), float("nan"))


def share_in_blocks(counted: NDArray[np.bool_]) -> Estimate:
    """Share of true entries among all, and its standard error over blocks; `counted` is (blocks, entries).

    Entries of one block belong together, so the error is that of a mean over blocks and not a
    binomial one. It is 0 where no block differs from another, such as where no entry is true: how
    certain that is, the blocks do not say.
    """
    if not counted.size:
        return NONE
    blocks = counted.mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(len(blocks)) if len(blocks) > 1 else float("nan")
    return Estimate(float(blocks.mean()), float(error))


def jackknife(left_out: NDArray[np.floating]) -> float:
    """Standard error of a measure out of its values without each block in turn, (blocks,); nan for one block.

    Efron and Stein 1981 (Annals of Statistics 9:586): too large rather than too small on average.
    """
    blocks = len(left_out)
    if blocks < 2:
        return float("nan")
    return float(np.sqrt((blocks - 1) / blocks * ((left_out - left_out.mean()) ** 2).sum()))
