"""How a measure spreads over chains that are one experiment repeated."""

import numpy as np

QUANTILES = {"p05": 0.05, "median": 0.5, "p95": 0.95}


def spread(name: str, values: np.ndarray) -> dict[str, float]:
    """`<name>/mean` and `/p05`, `/median`, `/p95` of one value a chain, (chains,).

    Quantiles as `numpy.quantile` interpolates them, which partitions several times as long as numpy sorts.
    """
    ordered = np.sort(values)
    places = np.array(list(QUANTILES.values())) * (len(ordered) - 1)
    quantiles = np.interp(places, np.arange(len(ordered)), ordered)
    return {f"{name}/mean": float(values.mean())} | {
        f"{name}/{key}": float(value) for key, value in zip(QUANTILES, quantiles, strict=True)
    }
