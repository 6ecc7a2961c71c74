"""The error that one seed's number has from its own finite counts, whatever the other seeds do.

Seeds agree by chance more often than a standard deviation of two or three of them admits: two seeds
that both count 0 of 512 have a deviation of 0, and say little of a share of one in a thousand. So
every count brings its own error.
"""

import numpy as np
import pandas as pd

from components.measures.errors import share_error
from components.scorecard.numbers import Numbers


def of_chains(study: Numbers, condition: str, values: pd.Series) -> pd.Series:
    """Standard error of a mean over a batch of chains, each between 0 and 1, by the seeds of `values`.

    As of a count of none: a batch does not show what happens in fewer than one of its chains. How
    chains vary otherwise is in the seeds' deviation.
    """
    chains = int(study.settings[condition]["fit"]["chains"])
    return pd.Series(share_error(0.0, chains), index=values.index, dtype=float)


def of_none(share: pd.Series, error: pd.Series) -> pd.Series:
    """Standard error, by seed, of a share of 0 in a set in which real data has `share` with the standard error `error`.

    That error says how many independent units such a set has, whatever is bound together in it (the
    tokens of one block).
    """
    units = share * (1 - share) / error**2
    return share_error(0.0 * units, units).fillna(0.0)


def of_ratio(
    value: pd.Series, error: pd.Series, reference: pd.Series, of_reference: pd.Series
) -> tuple[pd.Series, pd.Series]:
    """Standard errors of value / reference, by seed: from the value's error and the reference's (delta method)."""
    return error / reference, value * of_reference / reference**2


def together(*errors: pd.Series) -> pd.Series:
    """The standard error of a sum of independent numbers, by the same seeds; one that is not known adds nothing."""
    squares = [np.nan_to_num(error.to_numpy(float)) ** 2 for error in errors]
    return pd.Series(np.sqrt(np.sum(squares, axis=0)), errors[0].index)
