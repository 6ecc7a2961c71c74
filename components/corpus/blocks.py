"""Packing text into blocks of equal length, as the paper's experiment does (section 5.2; paper.md, row "blocks").

Each line is tokenised with its special tokens (OPT puts `</s>` before every line, blank ones too), the lines are
concatenated and cut in blocks of 64 tokens; what does not fill a block is dropped.
"""

import hashlib
from collections.abc import Sequence
from itertools import chain
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerFast

LINES_TOGETHER = 1000  # the published code maps over batches of this size, and so drops a remainder in each

Remainder = Literal["drop_once", "drop_every_1000_lines"]


def pack(lines: Sequence[str], tokenizer: PreTrainedTokenizerFast, block_size: int, remainder: Remainder) -> np.ndarray:
    """Tokenise lines and cut them in blocks.

    Returns:
        (n, block_size) int32 token ids.
    """
    return cut(tokenise(lines, tokenizer), block_size, remainder)


def tokenise(lines: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> list[np.ndarray]:
    """Token ids of all lines with special tokens: one int32 array for every 1,000 lines."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    arrays = []
    for start in range(0, len(lines), LINES_TOGETHER):
        encodings = backend.encode_batch_fast(list(lines[start : start + LINES_TOGETHER]))
        arrays.append(np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32))
    return arrays


def cut(tokens: Sequence[np.ndarray], block_size: int, remainder: Remainder) -> np.ndarray:
    """Blocks (n, block_size) int32 of the tokens of every 1,000 lines; the remainder is dropped once, or in each."""
    if remainder == "drop_once":
        tokens = [np.concatenate(tokens)] if tokens else []
    whole = [array[: len(array) // block_size * block_size].reshape(-1, block_size) for array in tokens]
    return np.concatenate(whole) if whole else np.empty((0, block_size), np.int32)


def without(tokens: Sequence[np.ndarray], token: int) -> list[np.ndarray]:
    """The same arrays of token ids without one token, such as the separator; their shape is lost."""
    return [array[array != token] for array in tokens]


def digest(blocks: np.ndarray) -> str:
    """SHA-256 (hex) of blocks: their shape and their ids in reading order, the same on every machine."""
    seen = hashlib.sha256(repr(blocks.shape).encode())
    seen.update(np.ascontiguousarray(blocks, dtype="<i4").tobytes())
    return seen.hexdigest()
