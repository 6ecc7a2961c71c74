"""Whether a model is as sure as it is right: expected calibration error, exact sums over predictions."""

import numpy as np
from numpy.typing import NDArray

BINS = 15


def expected_calibration_error(
    confidence: NDArray[np.floating], correct: NDArray[np.number], bins: int = BINS
) -> float:
    """Distance of accuracy from mean confidence within bins of confidence of equal width, each weighted by what is in it.

    Args:
        confidence: the likeliest outcome's probability, of each prediction (any shape), in 0..1.
        correct: whether that outcome came, 1 or 0, of each.

    Returns:
        From 0 (a model that is right as often as it says) to 1; nan without predictions.

    Source: Guo et al. 2017 (arXiv 1706.04599), equation 3; a bin is open below and closed above, and the first holds 0 too.
    """
    if not confidence.size:
        return float("nan")
    sure, right = confidence.ravel().astype(float), correct.ravel().astype(float)
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, right - sure, minlength=bins)
    return float(np.abs(gaps).sum() / sure.size)
