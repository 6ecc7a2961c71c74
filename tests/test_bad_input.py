"""What a user can get wrong ends with one line (field, value, remedy) and exit status 2, before anything is computed."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from components.corpus.sources import Texts
from components.corpus.tokenizer import train_tokenizer
from components.families.language import architecture
from components.families.language import model as opt
from pipelines.recursion import recursion
from pipelines.study import run_command
from tests.ports import closed_port


@pytest.fixture
def here(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an earlier study's store; nothing is cached from the Hub, and a cluster must not be started."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr("components.cluster.connect", lambda _: pytest.fail("a cluster was started or joined"))
    shutil.copy(migrated, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "kept").write_text("of an earlier study")
    on_terminate = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, on_terminate)


def text(folder: Path, **files: bytes) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.txt").write_bytes(content)
    return folder


ENOUGH = b"The quick brown fox jumps over the lazy dog.\n" * 400


def enough_text(here: Path, *arguments: str) -> list[str]:
    """Arguments whose fault shows only once a corpus is there; this one is made in no time."""
    return ["--corpus.path", str(text(here / "text", train=ENOUGH, valid=ENOUGH, test=ENOUGH)), *arguments]


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
    return enough_text(here, "--corpus.train_blocks", "1000000")


def no_text_for_the_base(here: Path) -> list[str]:
    return enough_text(here, "--corpus.train_blocks", "None")


def block_beyond_positions(here: Path) -> list[str]:
    return enough_text(here, "--corpus.block_size", "64")


def tokenizer_beyond_vocabulary(here: Path) -> list[str]:
    return enough_text(here, "--model.vocabulary_size", "200")


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


def model_for_mauve_that_is_not_there(here: Path) -> list[str]:
    return enough_text(here, "--measure.mauve", str(here / "nowhere"))


def model_for_mauve_that_lacks_weights(here: Path) -> list[str]:
    opt.save(architecture.create(architecture.ModelSize(512, 16, 1, 2, 32, 64, 0.0), 0), here / "model", None)
    train_tokenizer(Texts("a text", "line", (), (ENOUGH.decode(),), (), ()), 300).save_pretrained(here / "model")
    settings = json.loads((here / "model" / "config.json").read_text())
    (here / "model" / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 2}))
    return enough_text(here, "--measure.mauve", str(here / "model"))


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


def store_that_nobody_can_write_to(here: Path) -> list[str]:
    """Not even root: the kernel's own file system."""
    return ["--store.path", "/sys/store"]


def store_without_room(here: Path) -> list[str]:
    """Some 17 MB a generation, 3.5 TB in all."""
    return enough_text(here, "--model.hidden_size", "512", "--model.ffn_size", "1024", "--generations", "200000")


def too_many_workers(here: Path) -> list[str]:
    return ["--train.workers", "4096"]


def a_model_beyond_this_machines_memory(here: Path) -> list[str]:
    """More than a million million parameters."""
    return enough_text(here, "--model.hidden_size", "32768", "--model.layers", "100")


def a_size_beside_a_model_by_name(here: Path) -> list[str]:
    return enough_text(here, "--model.name", str(here), "--model.hidden_size", "64")


def epochs_that_no_condition_takes(here: Path) -> list[str]:
    return enough_text(here, "--train.epochs", "7")


def too_many_beams(here: Path) -> list[str]:
    return enough_text(here, "--generate.num_beams", "300")


def heads_that_do_not_divide(here: Path) -> list[str]:
    return enough_text(here, "--model.heads", "3")


def tokenizer_of_ones_own_for_a_given_model(here: Path) -> list[str]:
    """The preset trains a tokenizer, whose ids mean nothing to a model that has learnt others."""
    opt.save(architecture.create(architecture.ModelSize(512, 16, 1, 2, 32, 64, 0.0), 0), here / "model", None)
    return enough_text(here, "--model.name", str(here / "model"))


def negative_seed(here: Path) -> list[str]:
    return ["--seeds", "[-1]"]


def seed_given_twice(here: Path) -> list[str]:
    return enough_text(here, "--seeds", "[0,0]")


def learning_rate_without_end(here: Path) -> list[str]:
    return ["--train.learning_rate", ".inf"]


def truth_for_a_number(here: Path) -> list[str]:
    return enough_text(here, "--generations", "true")


def condition_given_twice(here: Path) -> list[str]:
    return enough_text(here, "--conditions.again.epochs", "1")  # as the preset's own


FAULTS: dict[Callable[[Path], list[str]], str] = {
    missing_corpus: r"corpus\.path = .*nowhere: no such file or folder",
    empty_corpus: r"corpus\.path = .*empty: holds no \.txt",
    empty_split: r"corpus\.path = .*/test\.txt: is empty",
    short_split: r"corpus\.block_size = 16: the test split .* tokens, too few",
    binary_corpus: r"corpus\.path = .*/train\.txt: not UTF-8 text",
    too_many_blocks: r"corpus\.train_blocks = 1000000: the training split has \d+ blocks",
    no_text_for_the_base: r"corpus\.train_blocks = None: leaves no text for the base",
    block_beyond_positions: r"corpus\.block_size = 64: .*128 positions, the model has 32",
    tokenizer_beyond_vocabulary: r"tokenizer = train: it has \d+ entries, the model only 200",
    missing_tokenizer: r"tokenizer = .*nowhere: no such folder",
    missing_model: r"model\.name = .*nowhere: no such folder",
    model_without_weights: r"model\.name = .*model: no weights in this folder",
    model_as_pickle: r"model\.name = .*model: only pickled weights in this folder \(pytorch_model\.bin\)",
    tokenizer_of_ones_own_for_a_given_model: r"tokenizer = train: .*",
    model_for_mauve_that_is_not_there: r"measure\.mauve = .*nowhere: no such folder",
    model_for_mauve_that_lacks_weights: r"measure\.mauve = .*model: 16 of its weights are missing",
    unreachable_hub_model: r"model\.name = facebook/opt-125m: .*preset=laptop",
    unreachable_tracking_server: r"MLFLOW_TRACKING_URI = http://127\S*: no answer",
    unreachable_cluster: r"cluster\.address = 127.*nothing answers",
    address_of_nothing: r"cluster\.address = somewhere: an address is host:port",
    store_in_a_files_place: r"store\.path = .*/file: .*give a folder",
    store_that_nobody_can_write_to: r"store\.path = /sys/store: ",
    store_without_room: r"store\.path = .*GB are free",
    too_many_workers: r"train\.workers = 4096: the cluster has",
    a_model_beyond_this_machines_memory: r"train\.workers = 1: each needs .* GB of memory, and none fits: .* has .* GB for",
    a_size_beside_a_model_by_name: r"model\.hidden_size = 64: .* has its own; leave it out, or give model\.name=None",
    epochs_that_no_condition_takes: r"train\.epochs = 7: every condition has its own; give conditions\.<name>\.epochs",
    too_many_beams: r"generate\.num_beams = 300: .*the vocabulary has",
    heads_that_do_not_divide: r"model\.heads = 3: must divide",
    negative_seed: r"seeds\S* = ",
    seed_given_twice: r"seeds = .*",
    learning_rate_without_end: r"train\.learning_rate = inf: ",
    truth_for_a_number: r"generations = True: ",
    condition_given_twice: r"conditions\.again = .*",
}


@pytest.mark.timeout(60)
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
    assert re.match(FAULTS[fault], lines[0]), lines[0]
    assert (here / "store" / "kept").read_text() == "of an earlier study"
    assert not list((here / "store").glob("*/*/model"))  # no model was trained
    assert not list((here / "store").glob("chains/*"))
