"""The corpus: a source of text -> a tokenizer -> blocks of tokens, in one folder that every worker reads.

    tokenizer/      loadable by AutoTokenizer
    <split>.npy     blocks (n, block_size) int32 of pretrain, train, validation, test; and reserve where some are set aside
    heldout.npy     blocks of the test split's text without separators, which generated text is compared with
    corpus.json     name, separator, vocabulary size, blocks that a seed trains on, digests

`train.npy` is the study's pool: each seed trains on its own set out of it, or all seeds on all of it (`load`).

The paper's corpus (section 5.2) is WikiText-2 cut in blocks of 64 tokens by OPT's tokenizer.
"""

import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from components.config.errors import BadInput
from components.config.settings import CorpusSettings
from components.corpus.blocks import cut, digest, tokenise, without
from components.corpus.overlap import overlap
from components.corpus.sources import SPLITS, read_texts, source_digest
from components.corpus.tokenizer import TRAIN, load_tokenizer, prepare_tokenizer, separator, vocabulary_size
from components.corpus.tokenizer import digest as tokenizer_digest
from components.seeds import MOST_SETS, number_of_sets, rows_of_seed
from components.store import write_array

FORMAT = 2
"""Raised when this room makes other blocks of the same text, so that no old corpus is taken for a new one."""

ALL_SPLITS = ("pretrain", *SPLITS)
HELDOUT, RESERVE = "heldout", "reserve"


@dataclass(frozen=True, eq=False)
class Corpus:
    """Blocks (n, block_size) int32, read-only. `pretrain` may have none: it is for a base model only. `reserve`, which may
    have none either, is training text that no model has seen: in an order of its own, which later
    generations go through. `heldout` is the text of the test split without separators, cut in
    blocks again. Generated text, which cannot hold a separator, is compared with it.

    `train` is what one seed trains on, `pool` what the sets of all seeds are drawn from. `separator` is the id
    before every line, ids lie below `vocabulary_size`; `digests` has `text`, `tokenizer` and one for the blocks of
    each split.
    """

    name: str
    pretrain: np.ndarray
    pool: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    heldout: np.ndarray
    reserve: np.ndarray
    tokenizer_folder: Path
    separator: int
    vocabulary_size: int
    digests: dict[str, str]


def identity_inputs(settings: CorpusSettings, tokenizer: str) -> dict[str, Any]:
    """What determines the corpus, by content: where text and tokenizer lie does not count. Well under a second for the
    package's documentation; else as long as reading takes.

    Raises:
        BadInput: the text or the tokenizer is not there, or cannot be read.
    """
    text = source_digest(settings)
    if tokenizer == TRAIN:
        made_by: Any = {"train": settings.vocabulary_size}
    else:
        made_by = tokenizer_digest(load_tokenizer(tokenizer))
    inputs = {
        "format": FORMAT,
        "text": text,
        "tokenizer": made_by,
        "block_size": settings.block_size,
        "remainder": settings.remainder,
        "train_blocks": settings.train_blocks,
    }
    optional = {
        "heldout_blocks": settings.heldout_blocks,
        "reserve_blocks": settings.reserve_blocks or None,
        "sets": MOST_SETS if settings.train_blocks and not settings.shared_blocks else None,
    }
    return inputs | {name: value for name, value in optional.items() if value is not None}


def prepare(settings: CorpusSettings, tokenizer: str, folder: Path) -> dict[str, float]:
    """Read, tokenise, pack, and write everything into `folder`, which exists and is empty.

    With `train_blocks`, each seed trains on that many blocks. The pool has room for up to 8 disjoint sets of them
    and is evenly spread over the training split. All other blocks pretrain the base model, which keeps at least
    half of all text for training. Where there is no room for two sets, or with `shared_blocks`, the pool is one
    set for all seeds. `reserve_blocks` are set aside of the training split before that. With `heldout_blocks`, at
    most that many of the validation and of the test split are kept, and of the held-out text.

    Returns:
        For each split `tokens/<split>` (as read, the remainder included) and `blocks/<split>` (of `train`: the
        pool); `blocks/heldout`; `overlap/validation` and `overlap/test`, the share of a held-out split that stands
        in the training text too (`overlap`); `bytes/text`, `vocabulary_size`.

    Raises:
        BadInput: text or tokenizer cannot serve, a split is too short for one block, or `train_blocks` and `reserve_blocks`
            are too many.
    """
    texts = read_texts(settings)
    encoder = prepare_tokenizer(tokenizer, texts, settings.vocabulary_size, folder / "tokenizer")
    metrics: dict[str, float] = {}
    blocks: dict[str, np.ndarray] = {}
    lines = {split: texts.lines(split) for split in ALL_SPLITS}
    for split in ALL_SPLITS:
        tokens = tokenise(lines[split], encoder)
        metrics[f"tokens/{split}"] = sum(map(len, tokens))
        blocks[split] = cut(tokens, settings.block_size, settings.remainder)
        if split != "pretrain" and not len(blocks[split]):
            raise _too_short(settings, texts.name, split, f"{metrics[f'tokens/{split}']} tokens")
        if split == "test":
            text = without(tokens, separator(encoder))
            blocks[HELDOUT] = cut(text, settings.block_size, settings.remainder)
            if not len(blocks[HELDOUT]):
                raise _too_short(settings, texts.name, split, f"{sum(map(len, text))} tokens without separators")
    there, reserved = len(blocks["train"]), settings.reserve_blocks
    if reserved >= there:
        raise BadInput("corpus.reserve_blocks", reserved, f"the training split has {there} blocks; give fewer")
    wanted = settings.train_blocks or there - reserved
    if wanted + reserved > there:
        split = f"the training split has {there} blocks" + (f", {reserved} of them set aside" if reserved else "")
        raise BadInput("corpus.train_blocks", wanted, f"{split}; give at most {there - reserved}")
    pool = wanted * _sets(settings, wanted, there, len(blocks["pretrain"]))
    blocks["train"], rest = _spread(blocks["train"], pool + reserved)
    blocks["pretrain"] = np.concatenate([blocks["pretrain"], rest])
    blocks["train"], reserve = _spread(blocks["train"], pool)
    if (most := settings.heldout_blocks) is not None:
        for split in ("validation", "test", HELDOUT):
            blocks[split], _ = _spread(blocks[split], min(most, len(blocks[split])))
    digests = {"text": texts.digest, "tokenizer": tokenizer_digest(encoder)}
    if reserved:
        blocks[RESERVE] = np.random.default_rng(0).permutation(
            reserve
        )  # not page after page: each generation takes a part
    for split in blocks:
        write_array(folder / f"{split}.npy", blocks[split])
        digests[split] = digest(blocks[split])
        metrics[f"blocks/{split}"] = len(blocks[split])
    description: dict[str, Any] = {
        "name": texts.name,
        "separator": separator(encoder),
        "vocabulary_size": vocabulary_size(encoder),
        "blocks_of_a_seed": wanted,
        "digests": digests,
    }
    (folder / "corpus.json").write_text(json.dumps(description, indent=1, sort_keys=True), encoding="utf-8")
    metrics["bytes/text"] = sum(len(text.encode()) for split in ALL_SPLITS for text in getattr(texts, split))
    metrics["vocabulary_size"] = description["vocabulary_size"]
    for split in ("validation", "test"):
        metrics[f"overlap/{split}"] = overlap(lines[split], chain(lines["train"], lines["pretrain"]), encoder)
    return metrics


def load(folder: Path, seed: int = 0) -> Corpus:
    """Read the corpus that `prepare` wrote, with the training blocks of one seed.

    Blocks stay on disk until they are read, so workers share them; a set of a seed's own is read at once.
    """
    files = {split: folder / f"{split}.npy" for split in (*ALL_SPLITS, HELDOUT, RESERVE)}
    arrays = {split: np.load(file, mmap_mode="r", allow_pickle=False) for split, file in files.items() if file.exists()}
    arrays.setdefault(RESERVE, arrays["train"][:0])
    description = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    pool, size = arrays["train"], description.pop("blocks_of_a_seed")
    if size < len(pool):
        arrays["train"] = pool[rows_of_seed(len(pool), size, seed)]
        description["digests"]["train"] = digest(arrays["train"])
    return Corpus(tokenizer_folder=folder / "tokenizer", pool=pool, **arrays, **description)


def _sets(settings: CorpusSettings, size: int, there: int, pretrain: int) -> int:
    """How many disjoint sets of `size` blocks the pool has, of `there` training blocks."""
    if settings.shared_blocks:
        return 1
    return number_of_sets(min(there - settings.reserve_blocks, (there + pretrain) // 2), size)


def _too_short(settings: CorpusSettings, name: str, split: str, size: str) -> BadInput:
    remedy = f"the {split} split of {name} has {size}, too few for one block; give more text or smaller blocks"
    return BadInput("corpus.block_size", settings.block_size, remedy)


def _spread(blocks: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """`wanted` blocks at even distances, and the rest; both in reading order."""
    there = len(blocks)
    chosen = np.zeros(there, bool)
    chosen[np.arange(wanted) * there // wanted] = True
    return blocks[chosen], blocks[~chosen]
