"""What a user can get wrong ends with one line (field, value, remedy) and exit status 2, before anything is computed."""

import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.recursion import recursion
from pipelines.study import run_command


@pytest.fixture
def here(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(migrated, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "kept").write_text("of an earlier study")
    return tmp_path


def text(folder: Path, **files: bytes) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.txt").write_bytes(content)
    return folder


ENOUGH = b"The quick brown fox jumps over the lazy dog.\n" * 400


def missing_corpus(here: Path) -> list[str]:
    return ["--corpus.path", str(here / "nowhere")]


def empty_corpus(here: Path) -> list[str]:
    return ["--corpus.path", str(text(here / "empty"))]


def empty_split(here: Path) -> list[str]:
    return ["--corpus.path", str(text(here / "text", train=ENOUGH, valid=ENOUGH, test=b""))]


def short_split(here: Path) -> list[str]:
    return ["--corpus.path", str(text(here / "text", train=ENOUGH, valid=ENOUGH, test=b"short"))]


def binary_corpus(here: Path) -> list[str]:
    return ["--corpus.path", str(text(here / "text", train=bytes(range(256)) * 50, valid=ENOUGH, test=ENOUGH))]


def too_many_blocks(here: Path) -> list[str]:
    return ["--corpus.train_blocks", "1000000"]


def no_text_for_the_base(here: Path) -> list[str]:
    folder = text(here / "text", train=ENOUGH, valid=ENOUGH, test=ENOUGH)
    return ["--corpus.path", str(folder), "--corpus.train_blocks", "None"]


def block_beyond_positions(here: Path) -> list[str]:
    return ["--corpus.block_size", "64"]


def tokenizer_beyond_vocabulary(here: Path) -> list[str]:
    return ["--model.vocabulary_size", "300"]


def missing_tokenizer(here: Path) -> list[str]:
    return ["--tokenizer", str(here / "nowhere")]


def missing_model(here: Path) -> list[str]:
    return ["--model.name", str(here / "nowhere")]


def model_without_weights(here: Path) -> list[str]:
    (here / "model").mkdir()
    (here / "model" / "config.json").write_text(json.dumps({"model_type": "opt", "vocab_size": 512}))
    return ["--model.name", str(here / "model")]


def model_as_pickle(here: Path) -> list[str]:
    arguments = model_without_weights(here)
    torch.save({}, here / "model" / "pytorch_model.bin")
    return arguments


def unreachable_hub_model(here: Path) -> list[str]:
    return ["--preset", "paper"]


def unreachable_tracking_server(here: Path) -> list[str]:
    os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{closed_port()}"  # the fixture's monkeypatch restores it
    return []


def unreachable_cluster(here: Path) -> list[str]:
    return ["--cluster.address", f"127.0.0.1:{closed_port()}"]


def address_of_nothing(here: Path) -> list[str]:
    return ["--cluster.address", "somewhere"]


def store_in_a_files_place(here: Path) -> list[str]:
    (here / "file").write_text("")
    return ["--store.path", str(here / "file")]


def store_without_room(here: Path) -> list[str]:
    """A study of more generations than any disk of today can hold."""
    return ["--generations", "100000000000"]


def too_many_workers(here: Path) -> list[str]:
    return ["--train.workers", "4096"]


def too_many_beams(here: Path) -> list[str]:
    return ["--generate.num_beams", "300"]


def heads_that_do_not_divide(here: Path) -> list[str]:
    return ["--model.heads", "3"]


FAULTS: dict[Callable[[Path], list[str]], str] = {
    missing_corpus: r"corpus\.path = .*nowhere",
    empty_corpus: r"corpus\.path = .*empty",
    empty_split: r"corpus\.path = .*/test\.txt: is empty",
    short_split: r"corpus\.block_size = 16: the test split .* tokens, too few",
    binary_corpus: r"corpus\.path = .*",
    too_many_blocks: r"corpus\.train_blocks = 1000000: .*blocks",
    no_text_for_the_base: r"corpus\.train_blocks = None: .*base",
    block_beyond_positions: r"corpus\.block_size = 64: .*128 positions",
    tokenizer_beyond_vocabulary: r"model\.vocabulary_size",
    missing_tokenizer: r"tokenizer = .*nowhere",
    missing_model: r"model\.name = .*nowhere",
    model_without_weights: r"model\.name = .*model",
    model_as_pickle: r"model\.name = .*safetensors",
    unreachable_hub_model: r"model\.name = facebook/opt-125m: .*preset=laptop",
    unreachable_tracking_server: r"MLFLOW_TRACKING_URI = http://127",
    unreachable_cluster: r"cluster\.address = 127.*nothing answers",
    address_of_nothing: r"cluster\.address = somewhere: an address is host:port",
    store_in_a_files_place: r"store\.path = .*file",
    store_without_room: r"store\.path = .*GB are free",
    too_many_workers: r"train\.workers = 4096: the cluster has",
    too_many_beams: r"generate\.num_beams = 300",
    heads_that_do_not_divide: r"model\.heads = 3",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_ends_in_one_line_with_status_2_and_nothing_is_started_or_lost(
    fault: Callable[[Path], list[str]], here: Path, capfd: pytest.CaptureFixture[str]
):
    arguments = ["--preset", "smoke", "--store.path", str(here / "store"), *fault(here)]
    with pytest.raises(SystemExit) as ended:
        run_command(recursion, arguments)
    assert ended.value.code == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert re.search(FAULTS[fault], lines[0]), lines[0]
    assert (here / "store" / "kept").read_text() == "of an earlier study"
    assert not list((here / "store").glob("*/*/model"))  # no model was trained
    assert not list((here / "store").glob("chains/*"))


def closed_port() -> int:
    """A port on this machine where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
