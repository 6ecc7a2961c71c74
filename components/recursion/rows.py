"""Composing from rows that are kept: which rows a generation is trained on is drawn, recorded, and gathered."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from components.recursion.family import Pool, Step
from components.regimes import FRESH, REAL, Composition, Regime, compose, gather


def compose_rows(
    regime: Regime,
    real_rows: int,
    pool: Pool[Path],
    out: Path,
    step: Step,
    rows: int | None = None,
    reserve: int = 0,
) -> dict[str, float]:
    """Draw the training set out of real data and samples; writes `composition.parquet`, a row for each row of it.

    `rows` and `reserve` as of `compose`.
    """
    composition = compose(regime, [real_rows, *pool.rows], np.random.default_rng(step.random), rows, reserve)
    if step.peers.leads:
        frame = pd.DataFrame({"source": composition.source, "row": composition.row})
        frame.to_parquet(out / "composition.parquet", index=False)
    alpha, beta, gamma = composition.weights(step.generation)
    return {"data/rows": len(composition.row), "data/alpha": alpha, "data/beta": beta, "data/gamma": gamma}


def gather_rows(
    composed: Path,
    real: np.ndarray,
    pool: Pool[Path],
    samples: Callable[[Path], np.ndarray],
    fresh: np.ndarray | None = None,
) -> np.ndarray:
    """The rows that a composition names, out of the real data (`fresh`: the reserve) and of the samples it draws on."""
    frame = pd.read_parquet(composed / "composition.parquet")
    composition = Composition(frame["source"].to_numpy(), frame["row"].to_numpy())
    known = {REAL: real} if fresh is None else {REAL: real, FRESH: fresh}
    sources = np.unique(composition.source).tolist()
    return gather(
        composition, {source: known[source] if source < 0 else samples(pool.sampled[source]) for source in sources}
    )


def appended(history: np.ndarray, newest: np.ndarray, used: int) -> np.ndarray:
    """`history` (..., capacity) with `newest` (..., n) from place `used` on; in place while there is room, else twice as wide.

    The older history is not read again, so its owner need not keep it as it was. The room is zeros: it is saved with the
    rest, and must not hold what else was in this process's memory.
    """
    end = used + newest.shape[-1]
    while end > history.shape[-1]:
        history = np.concatenate([history, np.zeros_like(history)], axis=-1)
    history[..., used:end] = newest
    return history
