"""Scores of single sequences or images, over a study: what takes several phases of a chain together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from components.recursion.records import Generation

TIDY = ["condition", "seed", "generation", "metric", "value"]


@dataclass(frozen=True)
class ChainScores:
    """A chain's scores under its generation 0: of the real data, and by generation of what was written; a row each."""

    condition: str
    seed: int
    real: pd.DataFrame
    written: dict[int, pd.DataFrame]


def read_scores(generations: Sequence[Generation]) -> pd.DataFrame:
    """Every generation's scores.parquet (set, row, and what the family scores) with condition, seed and generation."""
    frames = [
        pd.read_parquet(generation.directories["measure"] / "scores.parquet").assign(
            condition=generation.chain.condition, seed=generation.chain.seed, generation=generation.index
        )
        for generation in generations
    ]
    return pd.concat(frames, ignore_index=True)


def under_generation_0(scores: pd.DataFrame) -> Iterator[ChainScores]:
    """Chain by chain, as the study lists them."""
    for (condition, seed), chain in scores.groupby(["condition", "seed"], sort=False):
        written = chain[chain["set"] == "synthetic"].groupby("generation")
        by_generation = {int(str(generation)): rows for generation, rows in written}
        yield ChainScores(str(condition), int(str(seed)), chain[chain["set"] == "real"], by_generation)
