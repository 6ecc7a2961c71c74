"""A held-out split that overlaps the training text is measured, and said before anything is computed."""

import json
import re
from pathlib import Path

import pytest

from components import config, corpus
from components.config.settings import CorpusSettings, RecursionSettings
from components.corpus.overlap import GRAM, overlap
from components.corpus.sources import read_texts
from components.corpus.tokenizer import train_tokenizer
from components.families.precision import Computing
from components.store import Store
from pipelines.recursion_chains import check_settings, prepare_corpus
from pipelines.recursion_plan import make_plan, overlap_lines, print_plan

WIKITEXT = Path(__file__).resolve().parents[2] / "shared" / "data" / "wikitext-2"


def sentence(number: int) -> str:
    return f"Entry {number} says that {number * number} follows {number - 1} and that nobody has counted it .\n"


def lines(start: int, end: int) -> list[str]:
    return [sentence(number) for number in range(start, end)]


def write(folder: Path, **splits: list[str]) -> Path:
    folder.mkdir(parents=True)
    for split, text in splits.items():
        (folder / f"{split}.txt").write_text("".join(text), encoding="utf-8")
    return folder


def measured(folder: Path, target: Path, **settings: object) -> dict[str, float]:
    target.mkdir()
    given = CorpusSettings(path=str(folder), block_size=16, vocabulary_size=400, **settings)  # type: ignore[arg-type]
    metrics = corpus.prepare(given, "train", target)
    return {split: metrics[f"overlap/{split}"] for split in ("validation", "test")}


def test_the_share_is_that_of_the_8_grams_within_lines_that_stand_in_the_training_text(tmp_path: Path):
    """Counted one by one: lines of unlike lengths, one in three of them copied."""
    test = [sentence(number) + sentence(-number) * (number % 4) for number in range(900, 930)]
    test = [line.replace("\n", " ") + "\n" for line in test]
    folder = write(tmp_path / "text", train=[*lines(0, 600), *test[::3]], valid=lines(600, 640), test=test)
    texts = read_texts(CorpusSettings(path=str(folder)))
    tokenizer = train_tokenizer(texts, 400)
    tokens = [tokenizer(line.strip(), add_special_tokens=False)["input_ids"] for line in test]
    grams = [max(0, len(ids) - GRAM + 1) for ids in tokens]
    expected = sum(grams[::3]) / sum(grams)
    assert 0.2 < expected < 0.5
    found = measured(folder, tmp_path / "corpus")
    assert found == {"validation": 0.0, "test": pytest.approx(expected)}


def test_short_lines_that_every_text_has_are_no_overlap(tmp_path: Path):
    short = ["= Notes =\n", "\n", "See also\n"] * 50
    folder = write(
        tmp_path / "text", train=[*lines(0, 600), *short], valid=[*lines(600, 640), *short], test=lines(700, 740)
    )
    assert measured(folder, tmp_path / "corpus") == {"validation": 0.0, "test": 0.0}


def test_space_around_a_line_hides_no_overlap(tmp_path: Path):
    train = ["  " + line for line in lines(0, 600)]
    folder = write(tmp_path / "text", train=train, valid=lines(0, 40), test=[*lines(700, 739), sentence(3).rstrip()])
    found = measured(folder, tmp_path / "corpus")
    assert found["validation"] == 1.0
    assert 0 < found["test"] < 0.05


def test_text_that_only_the_base_model_reads_counts_too(tmp_path: Path):
    folder = write(tmp_path / "text", train=lines(0, 600), valid=lines(0, 300), test=lines(700, 740))
    found = measured(folder, tmp_path / "corpus", train_blocks=20)
    assert found == {"validation": 1.0, "test": 0.0}


def test_a_document_is_found_whole_or_not_at_all(tmp_path: Path):
    """Rows of a data set are whole documents: one that goes on otherwise is another one."""
    tokenizer = train_tokenizer(
        read_texts(
            CorpusSettings(path=str(write(tmp_path / "text", train=lines(0, 600), valid=lines(0, 9), test=lines(0, 9))))
        ),
        400,
    )
    first, second = "".join(lines(0, 5)), "".join(lines(5, 10))
    assert overlap([first, second], [first, second + "It goes on ."], tokenizer) == pytest.approx(0.5, abs=0.02)
    assert overlap([], [first], tokenizer) == 0.0


@pytest.mark.skipif(not WIKITEXT.is_dir(), reason="no WikiText-2 beside the project")
def test_wikitext_2_is_clean(tmp_path: Path):
    target = tmp_path / "corpus"
    target.mkdir()
    metrics = corpus.prepare(CorpusSettings(path=str(WIKITEXT)), "train", target)
    assert max(metrics["overlap/validation"], metrics["overlap/test"]) < 0.01


# what is said


def said(folder: Path, store: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    arguments = ["--preset", "smoke", "--corpus.path", str(folder), "--base.epochs", "0", *more]
    settings, opened = config.load(RecursionSettings, arguments), Store.open(str(store))
    planned = make_plan(
        settings, opened, prepare_corpus(settings, opened), check_settings(settings), Computing("fp32", "")
    )
    capsys.readouterr()
    print_plan(settings, planned)
    return " ".join(capsys.readouterr().out.split())


def test_the_plan_says_in_a_line_each_how_much_of_which_split_overlaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    clean = write(tmp_path / "clean", train=lines(0, 600), valid=lines(600, 700), test=lines(700, 800))
    copied = write(tmp_path / "copied", train=lines(0, 730), valid=lines(800, 900), test=lines(700, 800))
    assert "also stands in the training text" not in said(clean, tmp_path / "store", capsys)
    found = said(copied, tmp_path / "store", capsys)
    assert found.count("also stands in the training text") == 1
    [share] = re.findall(r"Warning: (\d+\.\d)% of the test split", found)
    assert float(share) == pytest.approx(30, abs=4)  # 30 of 100 lines, whose lengths in tokens differ


def test_one_per_cent_is_what_is_not_said_yet():
    counts = {"blocks/test": 64.0, "tokens/test": 4096.0}  # what else a corpus was found to be
    assert overlap_lines({"overlap/validation": 0.01, "overlap/test": 0.0} | counts) == []
    [line] = overlap_lines({"overlap/validation": 0.0101, "overlap/test": 0.0} | counts)
    assert line.startswith("Warning: 1.0% of the validation split")
    assert "\n" not in line


def test_the_embedded_text_is_clean(prepared):
    [manifest] = Path(prepared.store / "corpus").glob("*/manifest.json")
    metrics = json.loads(manifest.read_text())["metrics"]
    assert max(metrics["overlap/validation"], metrics["overlap/test"]) <= 0.01
