"""A generation's numbers, out of how its model foresees real text, how generation 0 foresees its samples, and what these are."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from transformers import AutoTokenizer

from components.corpus import Corpus
from components.families.language.perplexity import (
    Predictions,
    perplexity,
    sequence_losses,
    sequence_perplexities,
    sequence_perplexity,
)
from components.measures.calibration import expected_calibration_error
from components.measures.diversity import (
    compression_ratio,
    distinct_n,
    distinct_n_per_sequence,
    ngram_entropy,
    repetition_4,
    self_bleu,
    share_found,
    vocabulary_coverage,
)
from components.measures.mauve import AT_MOST, mauve
from components.measures.tails import kl_to_real, rare_token_mass, zipf_exponent
from components.recursion.family import GuardFailure
from components.recursion.peers import Peers

REAL, WRITTEN = "states/real", "states/written"


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


def of_scores(losses: np.ndarray) -> dict[str, float]:
    """Of the samples' token losses (n, length - 1) under generation 0, over sequences (figure 11)."""
    each, name = sequence_perplexities(losses), "synthetic/perplexity_under_generation0"
    return {
        f"{name}_mean": float(each.mean()),
        f"{name}_median": float(np.median(each)),
        f"{name}_p99": float(np.quantile(each, 0.99)),
    }


def of_samples(synthetic: np.ndarray, texts: Sequence[str], real: np.ndarray, training: np.ndarray) -> dict[str, float]:
    """Of the blocks that were written, as tokens and as text, beside the real blocks and those that the model was trained on."""
    zipf = zipf_exponent(synthetic)
    return {
        **{f"synthetic/distinct_{n}": distinct_n(synthetic, n) for n in (1, 2, 3)},
        **{f"synthetic/distinct_{n}_per_sequence": distinct_n_per_sequence(synthetic, n) for n in (1, 2, 3)},
        "synthetic/repetition_4": repetition_4(synthetic),
        "synthetic/compression_ratio": compression_ratio(texts),
        "synthetic/self_bleu": self_bleu(texts),
        **{f"synthetic/entropy_{n}": ngram_entropy(synthetic, n) for n in (1, 2)},
        "synthetic/vocabulary_coverage": vocabulary_coverage(synthetic, real),
        "synthetic/rare_token_mass": rare_token_mass(synthetic, real),
        **{f"synthetic/kl_real_{n}": kl_to_real(synthetic, real, n) for n in (1, 2)},
        "synthetic/zipf_exponent": zipf.exponent,
        "synthetic/zipf_exponent_low": zipf.low,
        "synthetic/zipf_exponent_high": zipf.high,
        "synthetic/found_in_real_8": share_found(synthetic, real, 8),
        "synthetic/found_in_training_8": share_found(synthetic, training, 8),
    }


def beside_real(synthetic: np.ndarray, corpus: Corpus, peers: Peers) -> dict[str, list[str]]:
    """The texts that MAUVE compares, of both sets no more than it takes, evenly spread: this worker's share of them."""
    tokenizer = AutoTokenizer.from_pretrained(corpus.tokenizer_folder, trust_remote_code=False)
    sets = {REAL: corpus.train, WRITTEN: synthetic}
    chosen = {
        name: np.linspace(0, len(blocks) - 1, min(AT_MOST, len(blocks))).astype(int) for name, blocks in sets.items()
    }
    return {name: tokenizer.batch_decode(sets[name][rows[peers.share(len(rows))]]) for name, rows in chosen.items()}


def of_states(states: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Of the states that the texts of `beside_real` leave in the model that embeds them, where there is one."""
    return {"synthetic/mauve": mauve(states[REAL], states[WRITTEN])} if states else {}


def scores_table(losses: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """A row for each sequence of each set: set, row, loss (mean nats a token), perplexity."""
    return pd.concat(_scores(name, of_set) for name, of_set in losses.items())


def _scores(name: str, losses: np.ndarray) -> pd.DataFrame:
    row, loss = np.arange(len(losses), dtype=np.int32), sequence_losses(losses)
    return pd.DataFrame({"set": name, "row": row, "loss": loss, "perplexity": sequence_perplexities(losses)})
