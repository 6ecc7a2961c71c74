"""The pretraining text as blocks: the pinned packages' documentation, without what a study trains and tests on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from components.corpus import documentation
from components.corpus.blocks import cut, digest, tokenise
from components.corpus.sources import Texts
from components.corpus.tokenizer import digest as tokenizer_digest
from components.corpus.tokenizer import train_tokenizer
from components.store import write_array

FORMAT = 1
"""Raised when this module makes other blocks of the same text."""
HELD_OUT = 50
"""One document in so many is for validation, and one for the test."""
SPLITS = ("train", "validation", "test", "study")


@dataclass(frozen=True)
class Blocks:
    """Blocks (n, block size) int32, read-only; `study` is the text of another package, for the zero-shot perplexity."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    study: np.ndarray
    tokenizer_folder: Path
    digests: Mapping[str, str]


def source_digest() -> str:
    """SHA-256 (hex) of the files that the text comes from.

    Raises:
        BadInput: a package is not installed.
    """
    return documentation.source_digest([*documentation.PRETRAINING, documentation.STUDY])


def prepare(vocabulary_size: int, block_size: int, most: int | None, folder: Path) -> dict[str, float]:
    """Read, train the tokenizer, and write the blocks of each split into `folder`; two minutes.

    Args:
        most: blocks to train on, evenly spread over the text; all if None.

    Returns:
        `documents/...`, `characters/...` and `blocks/...` of each split.
    """
    study = documentation.documents([documentation.STUDY])
    found = documentation.documents([*documentation.PRETRAINING], without=study)
    parts = {
        "train": tuple(text for place, text in enumerate(found) if place % HELD_OUT > 1),
        "validation": found[::HELD_OUT],
        "test": found[1::HELD_OUT],
        "study": study,
    }
    tokenizer_folder = folder / "tokenizer"
    train_tokenizer(Texts("", "line", parts["train"], (), (), ()), vocabulary_size).save_pretrained(tokenizer_folder)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, trust_remote_code=False)
    digests = {"tokenizer": tokenizer_digest(tokenizer)}
    metrics: dict[str, float] = {}
    for split, documents in parts.items():
        lines = [line for document in documents for line in document.splitlines(keepends=True)]
        blocks = cut(tokenise(lines, tokenizer), block_size, "drop_once")
        if split == "train" and most is not None and most < len(blocks):
            blocks = blocks[np.arange(most) * len(blocks) // most]
        write_array(folder / f"{split}.npy", blocks)
        digests[split] = digest(blocks)
        metrics[f"documents/{split}"] = len(documents)
        metrics[f"characters/{split}"] = sum(map(len, documents))
        metrics[f"blocks/{split}"] = len(blocks)
    (folder / "digests.json").write_text(json.dumps(digests, indent=1, sort_keys=True), encoding="utf-8")
    return metrics


def load(folder: Path) -> Blocks:
    """Read what `prepare` wrote."""
    arrays = {split: np.load(folder / f"{split}.npy", mmap_mode="r", allow_pickle=False) for split in SPLITS}
    digests = json.loads((folder / "digests.json").read_text(encoding="utf-8"))
    return Blocks(**arrays, tokenizer_folder=folder / "tokenizer", digests=digests)
