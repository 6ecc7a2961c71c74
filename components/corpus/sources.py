"""Where the text comes from: the documentation inside a pinned package, files, or a dataset of the Hugging Face Hub.

The paper (section 5.2) takes `wikitext`, configuration `wikitext-2-raw-v1`, whose lines are paragraphs. Every source
here gives three splits of documents, and says what stands for such a line in it.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from components.config.errors import BadInput
from components.config.settings import CorpusSettings
from components.corpus import documentation, hub

SPLITS = ("train", "validation", "test")
SPLIT_FILE = re.compile(r"(?P<split>train|valid|validation|val|dev|test)([^a-z].*)?\.txt")
SPLIT_OF = {"train": "train", "test": "test"}  # every other name means validation
TEXT_SUFFIXES = (".txt", ".md", ".rst")
HELD_OUT = 0.1
WHOLE_FILES = 10
PIECE_CHARACTERS = 2000
WAYS_OUT = "give corpus.path=<folder> of text, or preset=laptop, which needs no network"


@dataclass(frozen=True)
class Texts:
    """A corpus as documents. `pretrain` is there for a base model only; the study never sees it.

    `unit` is what the paper calls a line, the piece of text that gets special tokens of its own: a `line` of a file
    with its newline, or a whole `row` of a dataset.
    """

    name: str
    unit: Literal["line", "row"]
    pretrain: tuple[str, ...]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def lines(self, split: str) -> list[str]:
        """The paper's lines of a split (`pretrain`, `train`, `validation`, `test`); joined they are its documents."""
        documents: tuple[str, ...] = getattr(self, split)
        match self.unit:
            case "line":
                return [line for document in documents for line in _lines(document)]
            case "row":
                return list(documents)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all documents, their order, their boundaries and the unit."""
        seen = hashlib.sha256(self.unit.encode())
        for split in ("pretrain", *SPLITS):
            seen.update(f"\n{split}\n".encode())
            for document in getattr(self, split):
                seen.update(hashlib.sha256(document.encode()).digest())
        return seen.hexdigest()


def read_texts(settings: CorpusSettings) -> Texts:
    """Read the text that the settings name: `path`, else `dataset`, else a pinned package's documentation.

    Raises:
        BadInput: nothing there, nothing in it, not text, a split missing, or the Hub out of reach.
    """
    if settings.path is not None:
        texts, field, value = _from_path(settings.path), "corpus.path", settings.path
    elif settings.dataset is not None:
        texts = _from_hub(settings.dataset, settings.dataset_config)
        field, value = "corpus.dataset", settings.dataset
    else:
        splits = _split(documentation.documents([documentation.STUDY]))
        texts = Texts(f"{documentation.STUDY}'s documentation", "line", (), **splits)
        field, value = "corpus.path", "null"
    for split in SPLITS:
        if not any(document.strip() for document in getattr(texts, split)):
            raise BadInput(field, value, f"no text for the {split} split; give more text")
    return texts


def source_digest(settings: CorpusSettings) -> str:
    """SHA-256 (hex) of what `read_texts` would read; as cheap as reading can be (parsing a package takes seconds).

    Raises:
        BadInput: as `read_texts`.
    """
    if settings.path is None and settings.dataset is None:
        return documentation.source_digest([documentation.STUDY])
    return read_texts(settings).digest


def _from_path(given: str) -> Texts:
    """One file, or a folder: train*/valid*/test*.txt by name, else all its .txt, .md and .rst files, to be split.

    A document is a file where a folder has ten or more of them; otherwise a piece of one, so that each split gets some.
    """
    path = Path(given).expanduser()
    if not path.exists():
        raise BadInput("corpus.path", given, "no such file or folder")
    name = path.resolve().name
    if path.is_file():
        return Texts(name, "line", (), **_split(_pieces(_read(path))))
    named: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for file in sorted(path.iterdir()):
        if file.is_file() and (match := SPLIT_FILE.fullmatch(file.name.lower())):
            named[SPLIT_OF.get(match["split"], "validation")].append(file)
    if any(named.values()):
        for split, files in named.items():
            if not files:
                found = ", ".join(file.name for files in named.values() for file in files)
                raise BadInput("corpus.path", given, f"has {found} but no {split}*.txt; all three splits are needed")
        return Texts(name, "line", (), **{split: tuple(map(_read, files)) for split, files in named.items()})
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in TEXT_SUFFIXES and file.is_file()]
    if not files:
        raise BadInput("corpus.path", given, f"holds no {', '.join(TEXT_SUFFIXES)} files")
    documents = [_read(file) for file in files]
    if len(documents) < WHOLE_FILES:
        documents = [piece for document in documents for piece in _pieces(document)]
    return Texts(name, "line", (), **_split(documents))


def _read(path: Path) -> str:
    """A file's text, with every kind of line ending as \\n, as the wikitext loader of the Hub reads it."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise BadInput("corpus.path", path, f"{error.strerror}; give a file that can be read") from None
    except UnicodeDecodeError as error:
        raise BadInput("corpus.path", path, f"not UTF-8 text (byte {error.start}); convert it to UTF-8") from None
    if "\0" in text:
        raise BadInput(
            "corpus.path", path, f"binary, not text (NUL at character {text.index(chr(0))}); give plain text"
        )
    if not text.strip():
        raise BadInput("corpus.path", path, "is empty; give a file with text in it")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _from_hub(name: str, configuration: str | None) -> Texts:
    """A dataset with a column `text` and splits train, validation and test; from the cache where the Hub is away."""
    shown = name if configuration is None else f"{name} ({configuration})"
    bad_dataset = partial(BadInput, "corpus.dataset", shown)
    online = hub.reachable()
    import datasets  # here, because it takes two seconds to import

    offline_before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = not online
    try:
        splits = datasets.load_dataset(name, configuration)
    except (OSError, ValueError, RuntimeError) as error:
        if online:
            raise bad_dataset(f"{' '.join(str(error).split())}; or {WAYS_OUT}") from error
        raise bad_dataset(f"not cached, and the Hugging Face Hub does not answer; {WAYS_OUT}") from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline_before
    rows: dict[str, tuple[str, ...]] = {}
    for split in SPLITS:
        if split not in splits:
            raise bad_dataset(f"has no split {split}, only {', '.join(splits)}; {WAYS_OUT}")
        if "text" not in splits[split].column_names:
            raise bad_dataset(f"has no column text, only {', '.join(splits[split].column_names)}; {WAYS_OUT}")
        rows[split] = tuple(text or "" for text in splits[split]["text"][:])
    return Texts(shown, "row", (), **rows)


def _split(documents: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """About a tenth of the text for test, a tenth for validation: the documents whose SHA-256 comes first.

    It depends on the documents' contents only, not on their names or order; a document that occurs twice counts once,
    so that no split holds what another one does. Each split keeps the reading order.
    """
    unique = list(dict.fromkeys(documents))
    enough = HELD_OUT * sum(map(len, unique))
    home: dict[str, str] = {}
    sizes = {"test": 0, "validation": 0}
    for document in sorted(unique, key=lambda text: hashlib.sha256(text.encode()).digest()):
        home[document] = next((split for split, size in sizes.items() if size < enough), "train")
        if home[document] in sizes:
            sizes[home[document]] += len(document)
    return {split: tuple(document for document in unique if home[document] == split) for split in SPLITS}


def _pieces(text: str) -> list[str]:
    """Whole lines, 2,000 characters or more a piece, closed at a blank line if one comes before 4,000."""
    pieces: list[str] = []
    piece: list[str] = []
    size = 0
    for line in _lines(text):
        piece.append(line)
        size += len(line)
        if size >= 2 * PIECE_CHARACTERS or (size >= PIECE_CHARACTERS and not line.strip()):
            pieces.append("".join(piece))
            piece, size = [], 0
    return [*pieces, "".join(piece)] if piece else pieces


def _lines(text: str) -> list[str]:
    """Lines with their newlines; only \\n ends one (str.splitlines also cuts at form feeds and the like)."""
    *whole, rest = text.split("\n")
    return [line + "\n" for line in whole] + ([rest] if rest else [])
