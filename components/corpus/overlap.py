"""How much of a held-out split stands in the training text too: perplexity on it would be that of known text."""

from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerFast

GRAM = 8
"""Tokens of a run. Headings and blank lines, which every text repeats, are too short to hold one."""


def overlap(heldout: Sequence[str], training: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> float:
    """Share of a held-out split's 8-token n-grams that lie in a unit which the training text has too.

    Args:
        heldout: the split's units (lines, paragraphs or rows, as `Texts.lines` gives them).
        training: the units of all text that a model is trained on. Space around a unit does not count.

    Returns:
        0 to 1; n-grams across two units count nowhere. 0 where no unit has 8 tokens.
    """
    units = [unit.strip() for unit in heldout]
    found = set(units).intersection(unit.strip() for unit in training)
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(units, add_special_tokens=False)
    grams = [max(0, len(encoding.ids) - GRAM + 1) for encoding in encodings]
    copied = sum(count for unit, count in zip(units, grams, strict=True) if unit in found)
    return copied / sum(grams) if any(grams) else 0.0
