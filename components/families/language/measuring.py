"""A generation's numbers: how its model foresees real text, how generation 0 foresees its samples, and what these are.

Every measure of text is over as many blocks of the samples as of held-out real text. Most depend on
the number of blocks, and mean something only beside the same number of real ones. Samples cannot
hold a separator, so real text is taken without it: the held-out text has none, and n-grams of real
blocks that hold one do not count.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from transformers import AutoTokenizer

from components.corpus import Corpus
from components.corpus.blocks import cut, without
from components.families.language.perplexity import (
    Predictions,
    perplexities_of,
    perplexity,
    sequence_losses,
    sequence_losses_without,
    sequence_perplexity,
)
from components.measures.calibration import expected_calibration_error
from components.measures.diversity import (
    compression_ratio,
    distinct_n,
    distinct_n_per_sequence,
    distinct_texts,
    ngram_entropy,
    repetition_4,
    self_bleu,
    share_found,
    vocabulary_coverage,
)
from components.measures.errors import Measured
from components.measures.mauve import mauve
from components.measures.tails import kl_to_real, quantile, rare_token_mass, zipf_exponent
from components.recursion.family import GuardFailure

SYNTHETIC, HELDOUT, TRAINING = "synthetic", "heldout", "training"
"""Sets of text: a generation's samples, held-out real text, and real text to train on."""


def measured_sets(synthetic: np.ndarray, corpus: Corpus, count: int) -> dict[str, np.ndarray]:
    """`count` evenly spread blocks of held-out text and of the samples, or no samples where there are fewer.

    Measures of sets of two sizes cannot be compared: none is better than a number that misleads.
    Both are without separators. Samples of a decoder hold no separators. Those that are edited real
    blocks do; they are cut again without them, as the held-out text is.
    """
    text = cut(without([synthetic.reshape(-1)], corpus.separator), synthetic.shape[1], "drop_once")
    sets = {HELDOUT: corpus.heldout, SYNTHETIC: text}
    return {name: evenly(blocks, count) for name, blocks in sets.items() if len(blocks) >= count}


def evenly(blocks: np.ndarray, count: int) -> np.ndarray:
    """`count` of the blocks, evenly spread."""
    return blocks[np.arange(count) * len(blocks) // count]


def of_test(test: Predictions, blocks: np.ndarray, separator: int) -> dict[str, float]:
    """Of the real test blocks (n, length) under the generation's model, figure 10's perplexity first.

    Raises:
        GuardFailure: a loss is not a number.
    """
    if np.isnan(test.losses).any():
        raise GuardFailure("the model's loss on the test split is not a number")
    mean, deviation = sequence_perplexity(test.losses)
    return {
        "test/perplexity": perplexity(test.losses, blocks),
        "test/perplexity_without_separator": perplexity(test.losses, blocks, separator),
        "test/sequence_perplexity_mean": mean,
        "test/sequence_perplexity_std": deviation,
        "test/calibration_error": expected_calibration_error(test.confidence, test.correct),
        "test/next_token_entropy": float(test.entropy.mean(dtype=np.float64)),
    }


def scores_table(name: str, losses: np.ndarray, blocks: np.ndarray, separator: int) -> pd.DataFrame:
    """A row for each sequence of a set: set, row, loss (mean nats per token), perplexity (separators apart)."""
    return pd.DataFrame(
        {
            "set": name,
            "row": np.arange(len(losses), dtype=np.int32),
            "loss": sequence_losses(losses),
            "perplexity": perplexities_of(sequence_losses_without(losses, blocks, separator)),
        }
    )


def of_scores(name: str, scores: pd.DataFrame) -> dict[str, float]:
    """Of the scores of a set under generation 0: perplexities over sequences (figure 11)."""
    each, name = scores["perplexity"].to_numpy(), f"{name}/perplexity_under_generation0"
    return {
        f"{name}_mean": float(each.mean()),
        f"{name}_median": float(np.median(each)),
        f"{name}_p99": quantile(each, 0.99),
    }


def of_blocks(
    name: str, blocks: np.ndarray, texts: Sequence[str], real: np.ndarray, training: np.ndarray, separator: int
) -> dict[str, float]:
    """Of a set of blocks, as tokens and as text, beside the real blocks and those that the model was trained on."""
    known, zipf = real[real != separator], zipf_exponent(blocks)
    estimates = {
        **{f"entropy_{n}": ngram_entropy(blocks, n) for n in (1, 2)},
        "rare_token_mass": rare_token_mass(blocks, known),
    }
    found = {
        "distinct_texts": distinct_texts(blocks),
        **{f"distinct_{n}": distinct_n(blocks, n) for n in (1, 2, 3)},
        **{f"distinct_{n}_per_sequence": distinct_n_per_sequence(blocks, n) for n in (1, 2, 3)},
        "repetition_4": repetition_4(blocks),
        "compression_ratio": compression_ratio(texts),
        "self_bleu": self_bleu(texts),
        **_with_errors(estimates),
        "vocabulary_coverage": vocabulary_coverage(blocks, known),
        **{f"kl_real_{n}": kl_to_real(blocks, real, n, separator) for n in (1, 2)},
        "zipf_exponent": zipf.exponent,
        "zipf_exponent_low": zipf.low,
        "zipf_exponent_high": zipf.high,
        "found_in_real_8": share_found(blocks, real, 8),
        "found_in_training_8": share_found(blocks, training, 8),
    }
    return {f"{name}/{key}": value for key, value in found.items()}


def _with_errors(estimates: Mapping[str, Measured]) -> dict[str, float]:
    values = {name: one.value for name, one in estimates.items()}
    return values | {f"{name}_error": one.error for name, one in estimates.items()}


def decoded(blocks: np.ndarray, corpus: Corpus) -> list[str]:
    """Blocks as text, without separators."""
    tokenizer = AutoTokenizer.from_pretrained(corpus.tokenizer_folder, trust_remote_code=False)
    return tokenizer.batch_decode([block[block != corpus.separator] for block in blocks])


def of_states(states: Mapping[str, np.ndarray]) -> dict[str, float]:
    """MAUVE against held-out text, out of the states that texts leave in the model that embeds them.

    Real training text stands for samples once, with generation 0: what it scores is what real text
    scores.
    """
    against = {SYNTHETIC: f"{SYNTHETIC}/mauve", TRAINING: f"{HELDOUT}/mauve"}
    return {
        name: mauve(states[f"states/{HELDOUT}"], states[f"states/{of}"])
        for of, name in against.items()
        if f"states/{of}" in states
    }
