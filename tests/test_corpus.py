"""The corpus: text -> tokenizer -> blocks, against WikiText-2's known counts, OPT's conventions and bad input."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, OPTConfig, PreTrainedTokenizerFast

from components import config, corpus
from components.config.errors import BadInput
from components.config.settings import CorpusSettings, RecursionSettings
from components.corpus import blocks, hub, sources
from components.corpus.sources import Texts, read_texts
from components.corpus.tokenizer import (
    digest,
    load_tokenizer,
    prepare_tokenizer,
    separator,
    train_tokenizer,
    vocabulary_size,
)
from tests.ports import closed_port

PROJECT = Path(__file__).resolve().parents[1]
DATA = PROJECT.parent / "shared" / "data"
WIKITEXT, OPT_TOKENIZER = DATA / "wikitext-2", DATA / "opt-tokenizer"
needs_data = pytest.mark.skipif(not WIKITEXT.exists(), reason="../shared/data (WikiText-2, OPT's tokenizer) is absent")

SENTENCES = [
    f"The {noun} of generation {number} forgets its tails .\n" for number in range(40) for noun in ("model", "fit")
]
PROSE = "".join(line + ("\n" if number % 5 == 4 else "") for number, line in enumerate(SENTENCES * 3))
STRANGE = [
    "",
    "\n",
    "héllo ☃ 🤖\n",
    "e\u0301 \u200d \u2028 \x0c tab\there\n",
    "<unk> <s> <pad>",
    "日本語のテキスト",
    "  two  \n",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    return prepare_tokenizer("train", small_texts(), 400, tmp_path_factory.mktemp("tokenizer"))


def small_texts(unit: str = "line") -> Texts:
    return Texts("small", unit, (), (PROSE, "A second document .\n"), ("held out .\n",), ("for the test .\n",))


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


@needs_data
def test_wikitext_2_gives_the_2485100_tokens_and_38829_blocks_it_is_known_to_give(tmp_path: Path) -> None:
    settings = CorpusSettings(path=str(WIKITEXT))
    metrics = corpus.prepare(settings, str(OPT_TOKENIZER), tmp_path)
    loaded = corpus.load(tmp_path)
    assert metrics["tokens/train"] == 2_485_100
    assert loaded.train.shape == (38_829, 64)
    assert loaded.train.dtype == np.int32
    assert (loaded.separator, loaded.vocabulary_size) == (2, 50_260)
    assert len(read_texts(settings).lines("train")) == 36_718
    assert np.count_nonzero(loaded.train == 2) == 36_717  # the last line lies in the remainder of 44 tokens


@needs_data
def test_packing_equals_the_transformers_call_line_by_line() -> None:
    tokenizer = AutoTokenizer.from_pretrained(OPT_TOKENIZER)
    with (WIKITEXT / "valid.txt").open(encoding="utf-8") as file:
        lines = list(file)
    expected = [token for ids in tokenizer(lines)["input_ids"] for token in ids]
    packed = blocks.pack(lines, tokenizer, 64, "drop_once")
    assert packed.ravel().tolist() == expected[: len(expected) // 64 * 64]


@needs_data
def test_a_named_tokenizer_encodes_the_same_after_it_was_saved(tmp_path: Path) -> None:
    original = AutoTokenizer.from_pretrained(OPT_TOKENIZER)
    prepare_tokenizer(str(OPT_TOKENIZER), small_texts(), 400, tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    assert saved(STRANGE)["input_ids"] == original(STRANGE)["input_ids"]
    assert digest(saved) == digest(original)


def test_a_trained_tokenizer_has_opts_special_tokens_and_puts_a_separator_before_every_text(
    trained: PreTrainedTokenizerFast,
) -> None:
    assert trained.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert (trained.bos_token_id, trained.eos_token_id, trained.pad_token_id) == (2, 2, 1)
    assert [ids[0] for ids in trained(STRANGE)["input_ids"]] == [2] * len(STRANGE)
    assert trained("")["input_ids"] == [separator(trained)] == [2]
    assert vocabulary_size(trained) == len(trained) <= 400
    assert trained("<unk> <s>")["input_ids"].count(3) == 0  # plain characters, as Meta's tokenizer reads them


def test_auto_tokenizer_reads_a_trained_tokenizer_back_also_beside_an_opt_model(tmp_path: Path) -> None:
    made = train_tokenizer(small_texts(), 400)
    saved = prepare_tokenizer("train", small_texts(), 400, tmp_path)
    OPTConfig().save_pretrained(tmp_path)
    beside_a_model = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*STRANGE, PROSE]:
        assert made(text)["input_ids"] == saved(text)["input_ids"] == beside_a_model(text)["input_ids"]
        assert beside_a_model.decode(saved(text, add_special_tokens=False)["input_ids"]) == text or "<pad>" in text
    assert digest(made) == digest(saved) == digest(beside_a_model)


def test_training_a_tokenizer_twice_in_other_processes_gives_the_same_one(tmp_path: Path) -> None:
    (tmp_path / "prose.txt").write_text(PROSE, encoding="utf-8")
    program = (
        "import sys; from pathlib import Path; from components.corpus.tokenizer import digest, train_tokenizer;"
        "from components.corpus.sources import Texts; prose = Path(sys.argv[1]).read_text(encoding='utf-8');"
        "print(digest(train_tokenizer(Texts('x', 'line', (), (prose, 'A second document .\\n'), (), ()), 400)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-c", program, str(tmp_path / "prose.txt")]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(train_tokenizer(small_texts(), 400))


def test_blank_lines_get_a_separator_each(trained: PreTrainedTokenizerFast) -> None:
    texts = Texts("blank", "line", (), ("one\n\n\ntwo\n",), ("x",), ("x",))
    tokens = np.concatenate(blocks.tokenise(texts.lines("train"), trained))
    assert np.count_nonzero(tokens == 2) == 4
    assert trained.decode(tokens, skip_special_tokens=True) == "one\n\n\ntwo\n"


@pytest.mark.parametrize(
    ("remainder", "expected"), [("drop_once", 3 * 3500 // 64), ("drop_every_1000_lines", 3 * 46 + 23)]
)
def test_the_remainder_is_dropped_once_a_split_or_every_1000_lines(
    trained: PreTrainedTokenizerFast, remainder: blocks.Remainder, expected: int
) -> None:
    lines = ["a\n"] * 3500  # </s>, a, newline: three tokens a line, 3000 = 46 * 64 + 56 every thousand
    packed = blocks.pack(lines, trained, 64, remainder)
    assert packed.shape == (expected, 64)
    assert packed.dtype == np.int32


def test_cutting_nothing_gives_no_blocks() -> None:
    assert blocks.cut([], 64, "drop_once").shape == (0, 64)
    assert blocks.cut([np.arange(63, dtype=np.int32)], 64, "drop_every_1000_lines").shape == (0, 64)


def test_a_digest_tells_blocks_of_other_ids_or_another_shape_apart() -> None:
    some = np.arange(12, dtype=np.int32)
    digests = {
        blocks.digest(some.reshape(3, 4)),
        blocks.digest(some.reshape(4, 3)),
        blocks.digest(some[::-1].reshape(3, 4)),
    }
    assert len(digests) == 3
    assert blocks.digest(some.reshape(3, 4)) == blocks.digest(np.asfortranarray(some.reshape(3, 4).astype(np.int64)))


@given(document=st.text(alphabet="ab \n\r\x0c\u2028", max_size=60), unit=st.sampled_from(["line", "row"]))
def test_the_lines_of_a_document_joined_are_the_document(document: str, unit: str) -> None:
    lines = Texts("any", unit, (), (document,), (), ()).lines("train")
    assert "".join(lines) == document
    if unit == "line":
        assert all(line.count("\n") == 1 for line in lines[:-1])


@given(documents=st.lists(st.text(alphabet="abc", max_size=9), max_size=30))
def test_splits_are_disjoint_complete_and_independent_of_order(documents: list[str]) -> None:
    splits = sources._split(documents)
    assert sorted(document for split in splits.values() for document in split) == sorted(set(documents))
    assert {split: set(texts) for split, texts in sources._split(documents[::-1]).items()} == {
        split: set(texts) for split, texts in splits.items()
    }


def test_without_a_path_the_text_is_a_pinned_packages_documentation_split_8_1_1() -> None:
    texts = read_texts(CorpusSettings())
    assert texts.name == "networkx's documentation"
    assert texts.pretrain == ()
    sizes = {split: sum(map(len, getattr(texts, split))) for split in sources.SPLITS}
    study = sum(sizes.values())
    assert study > 1_000_000
    assert 0.75 < sizes["train"] / study < 0.85
    assert min(sizes["validation"], sizes["test"]) > 0.08 * study
    lines = [line for split in sources.SPLITS for line in texts.lines(split)]
    assert len(set(lines)) == len(lines)  # no split holds what another one does


def test_the_laptop_presets_corpus_gives_each_seed_blocks_of_its_own(tmp_path: Path) -> None:
    laptop = config.load(RecursionSettings, ["--preset", "laptop"])
    corpus.prepare(laptop.corpus, str(laptop.model.name), tmp_path)
    loaded, own = corpus.load(tmp_path), laptop.corpus.train_blocks
    assert own
    assert loaded.train.shape == (own, 64)
    assert len(loaded.pool) >= len(laptop.seeds) * own  # no two of the preset's seeds have a block in common
    assert (len(loaded.validation), len(loaded.test)) == (laptop.corpus.heldout_blocks,) * 2
    assert max(array.max() for array in (loaded.pretrain, loaded.train, loaded.test)) < loaded.vocabulary_size


def test_a_study_of_shared_blocks_gets_them_evenly_spread_and_the_base_the_rest(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", train=PROSE, valid=PROSE[:400], test=PROSE[:400])
    whole, part = tmp_path / "whole", tmp_path / "part"
    for target, count in ((whole, None), (part, 20)):
        target.mkdir()
        settings = CorpusSettings(
            path=str(folder), block_size=16, vocabulary_size=400, train_blocks=count, shared_blocks=True
        )
        corpus.prepare(settings, "train", target)
    every, chosen = corpus.load(whole), corpus.load(part)
    there = len(every.train)
    picked = [number * there // 20 for number in range(20)]
    np.testing.assert_array_equal(chosen.train, every.train[picked])
    np.testing.assert_array_equal(chosen.pretrain, np.delete(every.train, picked, axis=0))
    assert every.pretrain.shape == (0, 16)
    assert chosen.digests["test"] == every.digests["test"]
    assert chosen.digests["train"] == blocks.digest(chosen.train) != every.digests["train"]


def test_blocks_set_aside_are_neither_trained_on_nor_pretrained_on_and_in_no_order_of_the_text(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", train=PROSE, valid=PROSE[:400], test=PROSE[:400])
    whole, part = tmp_path / "whole", tmp_path / "part"
    for target, parts in ((whole, {}), (part, {"train_blocks": 20, "reserve_blocks": 12})):
        target.mkdir()
        corpus.prepare(CorpusSettings(path=str(folder), block_size=16, vocabulary_size=400, **parts), "train", target)
    every, parted = corpus.load(whole), corpus.load(part)
    sets = [parted.pool, parted.reserve, parted.pretrain]
    assert [len(part) for part in sets] == [80, 12, len(every.train) - 92]  # four seeds' sets: half of the text
    assert sorted(np.concatenate(sets).tolist()) == sorted(every.train.tolist())
    places = [every.train.tolist().index(block) for block in parted.reserve.tolist()]
    assert places != sorted(places)
    assert every.reserve.shape == (0, 16)
    assert parted.digests["reserve"] == blocks.digest(parted.reserve)


def test_held_out_text_is_the_test_split_without_separators_cut_again_and_evenly_spread(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", train=PROSE, valid=PROSE[:400], test=PROSE[:3000])
    loaded = []
    for name, most in (("whole", None), ("part", 7)):
        (tmp_path / name).mkdir()
        settings = CorpusSettings(path=str(folder), block_size=16, vocabulary_size=400, heldout_blocks=most)
        metrics = corpus.prepare(settings, "train", tmp_path / name)
        loaded.append(corpus.load(tmp_path / name))
        assert metrics["blocks/heldout"] == len(loaded[-1].heldout)
    whole, part = loaded
    encoder = AutoTokenizer.from_pretrained(whole.tokenizer_folder)
    lines = PROSE[:3000].splitlines(keepends=True)
    text = [token for line in lines for token in encoder(line, add_special_tokens=False)["input_ids"]]
    assert whole.separator in whole.test
    assert whole.separator not in whole.heldout
    assert whole.heldout.dtype == np.int32
    assert whole.heldout.ravel().tolist() == text[: len(text) // 16 * 16]
    there = len(whole.heldout)
    np.testing.assert_array_equal(part.heldout, whole.heldout[[number * there // 7 for number in range(7)]])
    assert part.digests["heldout"] == blocks.digest(part.heldout) != whole.digests["heldout"]


def test_a_folder_without_split_names_and_a_single_file_are_split_by_their_content(tmp_path: Path) -> None:
    single = tmp_path / "one.txt"
    single.write_text(
        "".join(f"{hashlib.sha256(bytes([n])).hexdigest() * 8}\n\n" for n in range(200)), encoding="utf-8"
    )
    from_file = read_texts(CorpusSettings(path=str(single)))
    many = tmp_path / "many"
    for number in range(20):
        write(many, **{f"chapter-{number:02}": f"chapter {number}\n" * 30})
    (many / "nested").mkdir()
    (many / "nested" / "last.md").write_text("the last chapter\n" * 30, encoding="utf-8")
    from_folder = read_texts(CorpusSettings(path=str(many)))
    renamed = tmp_path / "renamed"
    shutil.copytree(many, renamed)
    (renamed / "chapter-00.txt").rename(renamed / "zzz.rst")
    assert len(from_folder.train + from_folder.validation + from_folder.test) == 21  # a document is a whole file
    assert set(read_texts(CorpusSettings(path=str(renamed))).test) == set(from_folder.test)
    for texts in (from_file, from_folder):
        sizes = [sum(map(len, documents)) for documents in (texts.train, texts.validation, texts.test)]
        assert 0.6 < sizes[0] / sum(sizes) < 0.85
        assert min(sizes) > 0
        assert not set(texts.train) & set(texts.test)
        assert texts.pretrain == ()


def test_files_are_found_by_the_names_of_their_splits_and_their_line_endings_made_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", **{"train-00": "a\n", "train-01": "b\n", "validation": "c\n", "testing": "no"})
    (folder / "test.txt").write_bytes(b"\xef\xbb\xbfd\r\ne\r\n")
    texts = read_texts(CorpusSettings(path=str(folder)))
    assert (texts.train, texts.validation, texts.test) == (("a\n", "b\n"), ("c\n",), ("d\ne\n",))


def test_identity_follows_the_content_and_what_makes_blocks_of_it_not_the_place(tmp_path: Path) -> None:
    here = write(tmp_path / "here", train=PROSE, valid=PROSE, test=PROSE)
    there = write(tmp_path / "there", train=PROSE, valid=PROSE, test=PROSE)
    other = write(tmp_path / "other", train=PROSE + ".", valid=PROSE, test=PROSE)
    first = corpus.identity_inputs(CorpusSettings(path=str(here)), "train")
    assert corpus.identity_inputs(CorpusSettings(path=str(there)), "train") == first
    assert json.loads(json.dumps(first)) == first
    changed = [
        CorpusSettings(path=str(other)),
        CorpusSettings(path=str(here), block_size=32),
        CorpusSettings(path=str(here), vocabulary_size=999),
        CorpusSettings(path=str(here), train_blocks=3),
        CorpusSettings(path=str(here), remainder="drop_every_1000_lines"),
    ]
    inputs = [json.dumps(corpus.identity_inputs(settings, "train")) for settings in changed]
    assert len({json.dumps(first), *inputs}) == 6
    folder = tmp_path / "tokenizer"
    prepare_tokenizer("train", small_texts(), 400, folder)
    shutil.copytree(folder, tmp_path / "copy")
    by_folder = [
        corpus.identity_inputs(CorpusSettings(path=str(here)), str(tmp_path / name)) for name in ("tokenizer", "copy")
    ]
    assert by_folder[0] == by_folder[1] != first


def test_preparing_twice_gives_the_same_blocks_and_files_without_pickle(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", train=PROSE, valid=PROSE[:900], test=PROSE[:700])
    settings = CorpusSettings(path=str(folder), block_size=16, vocabulary_size=300)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        corpus.prepare(settings, "train", tmp_path / name)
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("one", "two")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert {path.suffix for path in files[0]} == {".json", ".npy"}


BadCase = Callable[[Path], tuple[CorpusSettings, str]]


def folder_case(**files: str) -> BadCase:
    return lambda tmp: (CorpusSettings(path=str(write(tmp / "text", **files))), "train")


def binary_case(content: bytes) -> BadCase:
    def make(tmp: Path) -> tuple[CorpusSettings, str]:
        (tmp / "file.txt").write_bytes(content)
        return CorpusSettings(path=str(tmp / "file.txt")), "train"

    return make


def tokenizer_case(prepare: Callable[[Path], str]) -> BadCase:
    def make(tmp: Path) -> tuple[CorpusSettings, str]:
        return CorpusSettings(path=str(write(tmp / "text", train=PROSE, valid=PROSE, test=PROSE))), prepare(tmp)

    return make


def model_without_tokenizer(tmp: Path) -> str:
    OPTConfig().save_pretrained(tmp / "model")
    return str(tmp / "model")


def damaged_tokenizer(tmp: Path) -> str:
    (tmp / "tokenizer.json").write_text("{", encoding="utf-8")
    return str(tmp)


ENOUGH = {"train": PROSE, "valid": PROSE, "test": PROSE}
BAD_INPUT: dict[str, tuple[str, str, BadCase]] = {
    "missing path": (
        "corpus.path",
        "no such file or folder",
        lambda tmp: (CorpusSettings(path=str(tmp / "no")), "train"),
    ),
    "empty folder": ("corpus.path", "holds no .txt", folder_case()),
    "empty file": ("corpus.path", "is empty", folder_case(train=PROSE, valid=" \n\n", test=PROSE)),
    "split missing": ("corpus.path", "no validation*.txt", folder_case(train=PROSE, test=PROSE)),
    "NUL bytes": ("corpus.path", "binary", binary_case(b"text\0text" * 99)),
    "not UTF-8": ("corpus.path", "not UTF-8 text (byte 4)", binary_case(b"text\xff\xfe" * 99)),
    "too little to split": ("corpus.path", "no text for the train split", binary_case(b"one line\n")),
    "no block in a split": (
        "corpus.block_size",
        "the validation split of",
        folder_case(**{**ENOUGH, "valid": "few .\n"}),
    ),
    "no block of held-out text": (
        "corpus.block_size",
        "the test split of text has 50 tokens without separators, too few for one block; give more text",
        folder_case(**{**ENOUGH, "test": "a\n" * 25}),
    ),
    "too many train blocks": (
        "corpus.train_blocks",
        "give at most",
        lambda tmp: (CorpusSettings(path=str(write(tmp / "text", **ENOUGH)), train_blocks=10**6), "train"),
    ),
    "no tokenizer folder": ("tokenizer", "no such folder", tokenizer_case(lambda tmp: str(tmp / "no"))),
    "folder without tokenizer": ("tokenizer", "tokenizer=", tokenizer_case(lambda tmp: str(tmp))),
    "model without tokenizer": ("tokenizer", "no tokenizer there", tokenizer_case(model_without_tokenizer)),
    "damaged tokenizer": ("tokenizer", "tokenizer=", tokenizer_case(damaged_tokenizer)),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_with_field_value_and_remedy(case: str, tmp_path: Path) -> None:
    field, words, make = BAD_INPUT[case]
    settings, tokenizer = make(tmp_path)
    target = tmp_path / "corpus"
    target.mkdir()
    with pytest.raises(BadInput) as caught:
        corpus.prepare(settings, tokenizer, target)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(60)  # the Hub's own libraries ask again and again, for over a minute in all
def test_what_the_hub_alone_has_is_refused_in_one_line_when_it_does_not_answer(tmp_path: Path) -> None:
    program = """
from components.config.errors import BadInput
from components.config.settings import CorpusSettings
from components.corpus.sources import read_texts
from components.corpus.tokenizer import load_tokenizer

for ask in (
    lambda: read_texts(CorpusSettings(dataset="Salesforce/wikitext", dataset_config="wikitext-2-raw-v1")),
    lambda: load_tokenizer("facebook/opt-125m"),
):
    try:
        ask()
    except BadInput as error:
        print(error)
"""
    nothing = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment = {**nothing, "HF_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    data, tokenizer = done.stdout.splitlines()
    assert data.startswith(
        "corpus.dataset = Salesforce/wikitext (wikitext-2-raw-v1): not cached, and the Hugging Face Hub"
    )
    assert "corpus.path=<folder>" in data
    assert "preset=laptop" in data
    assert tokenizer.startswith("tokenizer = facebook/opt-125m: ")
    assert "tokenizer=<folder>" in tokenizer
    assert "Retry" not in done.stderr


class CachedDataset(datasets.GeneratorBasedBuilder):
    """Writes the cache that `load_dataset` leaves of a dataset of the Hub."""

    column = "text"
    splits = ("train", "validation", "test")

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=datasets.Features({self.column: datasets.Value("string")}))

    def _split_generators(self, _: object) -> list[datasets.SplitGenerator]:
        return [datasets.SplitGenerator(split, gen_kwargs={"split": split}) for split in self.splits]

    def _generate_examples(self, split: str):  # type: ignore[no-untyped-def]
        for number, text in enumerate([f" = {split} = \n", "", " two \n"]):
            yield number, {self.column: text}


class NoValidation(CachedDataset):
    splits = ("train", "test")


class NoText(CachedDataset):
    column = "words"


@pytest.fixture
def cached_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[type[CachedDataset]], None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    hub.reachable.cache_clear()

    def fill(builder: type[CachedDataset]) -> None:
        made = builder(
            cache_dir=str(tmp_path), dataset_name="tiny", config_name="raw", repo_id="some/tiny", hash="0" * 8
        )
        made.download_and_prepare()

    yield fill
    hub.reachable.cache_clear()


def test_a_dataset_of_the_hub_is_read_from_its_cache_row_by_row_and_the_library_left_as_it_was(
    cached_only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_only(CachedDataset)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    texts = read_texts(CorpusSettings(dataset="some/tiny", dataset_config="raw"))
    assert texts.lines("validation") == [" = validation = \n", "", " two \n"]
    assert datasets.config.HF_HUB_OFFLINE is False


@pytest.mark.parametrize(("builder", "words"), [(NoValidation, "no split validation"), (NoText, "no column text")])
def test_a_dataset_without_the_split_or_column_is_bad_input(
    cached_only: Callable[..., None], builder: type[CachedDataset], words: str
) -> None:
    cached_only(builder)
    with pytest.raises(BadInput, match=words) as caught:
        read_texts(CorpusSettings(dataset="some/tiny", dataset_config="raw"))
    assert caught.value.field == "corpus.dataset"


@needs_data
def test_a_tokenizer_is_loaded_from_a_folder_without_asking_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: pytest.fail("asked the Hub"))
    assert len(load_tokenizer(str(OPT_TOKENIZER))) == 50_260
