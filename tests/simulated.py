"""Studies of language models that never ran: their numbers are drawn, so what is true of them is known.

Two conditions, generations 0 to 4. What seeds share (the test split, the reference for the tail) is
drawn once per study, what is a seed's own for every chain. Chains fail, counts are small enough to
be 0, and in some studies all seeds have the same losses.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.measures.errors import mean_error, median_error, share_error
from components.measures.risk import RISKS
from components.scorecard import Judgement, judge, language_claims, language_evidence, numbers
from components.scorecard.numbers import HeldOut, Numbers

CONDITIONS, GENERATIONS = ("none", "keep"), 5
BLOCKS, DOCUMENT, TOKENS = 240, 4, 63
RARE, RARE_ENTROPY, BIGRAMS = 0.01, 6.0, 9.0
SEQUENCES, OF_TEST = 64, 400


@dataclass(frozen=True)
class Effect:
    """What is true from generation 1 on of the condition without real data.

    `rise`: of the loss, in nats. `likelier`: fall of the log of the median perplexity. `tail`:
    share of samples beyond the 99 % quantile of real text. `lost`: share of the rare tokens that is
    lost. `flatter`: share of the bigrams' entropy that is lost.
    """

    rise: float = 0.0
    likelier: float = 0.0
    tail: float = 0.01
    lost: float = 0.0
    flatter: float = 0.0


NONE = Effect()
SMALLEST = Effect(rise=0.01, likelier=0.01, tail=0.011, lost=0.01, flatter=0.01)
"""As much as is worth speaking of, and no more: "does not" is then wrong."""


def settings() -> dict[str, dict]:
    return {
        name: {
            "regime": {"name": "replace", "real_fraction": fraction},
            "start": "pretrained",
            "data": {"training": "a"},
            "fit": {"epochs": 3},
            "sample": {"num_beams": 5, "repetition_penalty": 1.0},
        }
        for name, fraction in zip(CONDITIONS, (0.0, 0.1), strict=True)
    }


def study(
    random: np.random.Generator,
    seeds: int,
    effect: Effect = NONE,
    scatter: float = 0.02,
    failing: float = 0.1,
    tied: float = 0.2,
) -> Numbers:
    """A study's numbers.

    Args:
        scatter: standard deviation over seeds of a generation's loss.
        failing: share of chains that stop before the last generation, or never begin.
        tied: share of studies in which all seeds have the same losses.
    """
    # What models find harder in some blocks than in others, by generation and document: all seeds have it in common.
    shape = (len(CONDITIONS), GENERATIONS, BLOCKS)
    of_documents = random.normal(0, 0.1, shape)[..., ::DOCUMENT].repeat(DOCUMENT, axis=-1)
    of_blocks = random.normal(0, 0.1, shape) + of_documents
    of_test = random.beta(
        0.01 * (OF_TEST + 1), 0.99 * (OF_TEST + 1)
    )  # real text's true share beyond the quantile found
    held_out_rare = _rare(random, RARE)
    held_out_entropy = [_mean(random, entropy) for entropy in (RARE_ENTROPY, BIGRAMS)]
    seeds_scatter = 0.0 if random.random() < tied else scatter
    rows, held_out = {}, {}
    for place, condition in enumerate(CONDITIONS):
        for seed in range(seeds):
            last = int(random.integers(-1, GENERATIONS - 1)) if random.random() < failing else GENERATIONS - 1
            for generation in range(last + 1):
                present = generation > 0 and condition == "none"
                loss = 4 + random.normal(0, seeds_scatter) + present * effect.rise
                own = random.normal(0, 0.1, BLOCKS) * (seeds_scatter > 0)
                key = (condition, seed, generation)
                held_out[key] = loss + of_blocks[place, generation] + own
                rows[key] = {
                    "test/perplexity": np.exp(held_out[key].mean()),
                    **_written(random, effect if present else NONE, of_test),
                    **_named("heldout/rare_token_mass", held_out_rare),
                    **_named("heldout/entropy_1", held_out_entropy[0]),
                    **_named("heldout/entropy_2", held_out_entropy[1]),
                    **_named("heldout/beyond_real_p99", (0.01, np.sqrt(0.99 * 0.01 / OF_TEST))),
                }
    return _numbers(rows, held_out, seeds)


def judged(study: Numbers) -> Judgement:
    """By the way that a real study takes."""
    return judge(study, language_claims(study), language_evidence(study), RISKS["language"])


def _written(random: np.random.Generator, effect: Effect, of_test: float) -> dict[str, float]:
    """What a generation's samples are measured by."""
    perplexity = np.exp(random.normal(3 - effect.likelier, 0.4, SEQUENCES))
    beyond = random.binomial(SEQUENCES, min(of_test * effect.tail / 0.01, 1)) / SEQUENCES
    median = "synthetic/perplexity_under_generation0_median"
    return {
        **_named(median, (float(np.median(perplexity)), median_error(perplexity))),
        **_named("synthetic/beyond_real_p99", (beyond, share_error(beyond, SEQUENCES))),
        **_named("synthetic/rare_token_mass", _rare(random, RARE * (1 - effect.lost))),
        **_named("synthetic/entropy_1", _mean(random, RARE_ENTROPY)),
        **_named("synthetic/entropy_2", _mean(random, BIGRAMS * (1 - effect.flatter))),
    }


def _rare(random: np.random.Generator, mass: float) -> tuple[float, float]:
    """Share of rare tokens over blocks, in which they come in threes; with its standard error over blocks."""
    shares = 3 * random.poisson(mass * TOKENS / 3, BLOCKS) / TOKENS
    return float(shares.mean()), mean_error(shares)


def _mean(random: np.random.Generator, value: float) -> tuple[float, float]:
    return value + random.normal(0, 0.03), 0.03


def _named(name: str, found: tuple[float, float]) -> dict[str, float]:
    return {name: found[0], f"{name}_error": found[1]}


def _numbers(rows: dict[tuple[str, int, int], dict[str, float]], held_out: HeldOut, seeds: int) -> Numbers:
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(table.index, names=["condition", "seed", "generation"])
    tidy = table.melt(var_name="metric", ignore_index=False).reset_index()
    return numbers(tidy, settings(), range(seeds), GENERATIONS - 1, held_out)
