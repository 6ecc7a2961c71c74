"""Scores of single sequences or images, over a study: what takes several phases of a chain together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.measures.errors import median_error, quantile_error, share_error
from components.measures.tails import BEYOND, share_beyond
from components.recursion.records import Generation
from components.scorecard.claims import MEDIAN, TAIL

TIDY = ["condition", "seed", "generation", "metric", "value"]


@dataclass(frozen=True)
class ChainScores:
    """A chain's scores under its generation 0, a row each.

    `real`: of the real training data. `held_out`: of the test split, the reference for what real
    data is like, since generation 0 was not fitted to it. `written`: by generation, of what was
    written.
    """

    condition: str
    seed: int
    real: pd.DataFrame
    held_out: pd.DataFrame
    written: dict[int, pd.DataFrame]


def read_scores(generations: Sequence[Generation], columns: list[str] | None = None) -> pd.DataFrame:
    """Every generation's scores.parquet (set, row, and what the family scores) with condition, seed and generation.

    `columns`: those to read, all if not given.
    """
    frames = [
        pd.read_parquet(generation.directories["measure"] / "scores.parquet", columns=columns).assign(
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
        first = chain[chain["generation"] == 0]  # whose own model is the one that the test split is scored under there
        real, held_out = (first[first["set"] == name] for name in ("real", "test"))
        yield ChainScores(str(condition), int(str(seed)), real, held_out, by_generation)


def beside_real_text(scores: pd.DataFrame) -> pd.DataFrame:
    """Tidy numbers of what each generation wrote, under the chain's generation 0, beside the real test text.

    The share of it beyond the 99 % quantile of test text, and test text's own share; with standard
    errors, the quantile's among them, since it is taken from finitely many sequences. And the
    standard error of the median perplexity.
    """
    rows = []
    for chain in under_generation_0(scores):
        real = chain.held_out["perplexity"].to_numpy()
        of_real = {
            f"heldout/{TAIL}": share_beyond(real, real),
            f"heldout/{TAIL}_error": quantile_error(real, BEYOND),
        }
        for generation, written in chain.written.items():
            perplexity = written["perplexity"].to_numpy()
            beyond = share_beyond(perplexity, real)
            found = {
                f"synthetic/{TAIL}": beyond,
                f"synthetic/{TAIL}_error": share_error(beyond, len(perplexity)),
                f"{MEDIAN}_error": median_error(perplexity),
            }
            rows += [
                (chain.condition, chain.seed, generation, metric, value) for metric, value in (found | of_real).items()
            ]
    return pd.DataFrame(rows, columns=TIDY)


def losses_on_test(scores: pd.DataFrame, column: str) -> Mapping[tuple[str, int, int], np.ndarray]:
    """By condition, seed and generation the loss of that model on every row of the test split, (n,), by row."""
    test = scores[scores["set"] == "test"].sort_values("row", kind="stable")
    return {
        (str(condition), int(str(seed)), int(str(generation))): rows[column].to_numpy(float)
        for (condition, seed, generation), rows in test.groupby(["condition", "seed", "generation"], sort=False)
    }
