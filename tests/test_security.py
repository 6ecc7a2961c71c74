"""Nothing that is read can run code (SECURITY.md)."""

import ast
import json
import os
import pickle
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import corpus
from components.corpus.sources import Texts
from components.corpus.tokenizer import prepare_tokenizer, train_tokenizer
from components.families.language import architecture
from components.families.language import model as opt
from pipelines.recursion import recursion
from pipelines.study import run_command
from tests.families import autoencoder

PROJECT = Path(__file__).resolve().parents[1]

# --- the code ---

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle"}
REFUSED = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp", "builtins.eval", "builtins.exec",
    "torch.load", "torch.save", "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter",
    "joblib.load", "joblib.dump", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.Loader",
    "yaml.UnsafeLoader", "yaml.FullLoader", "importlib.import_module", "runpy.run_path", "ctypes.CDLL",
}  # fmt: skip
METHODS = {
    "read_pickle", "to_pickle", "broadcast_object_list", "gather_object", "all_gather_object", "recv_object_list",
}  # fmt: skip
ALLOWED = {
    (
        "components/recursion/peers.py",
        "broadcast_object_list",
    ): "among one group's workers (SECURITY.md, not protected)",
    ("components/recursion/peers.py", "gather_object"): "among one group's workers (SECURITY.md, not protected)",
    ("components/families/device.py", "ctypes.CDLL"): "the C library that this process has loaded anyway",
    ("components/families/language/kernels.py", "ctypes.CDLL"): "compiled here from native/, under its digest",
}
"""What is used all the same, by file, and why."""


def names_of(tree: ast.AST) -> dict[str, str]:
    """What every imported name stands for: `np` for numpy, `load` for torch.load."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                one.asname or one.name.split(".")[0]: one.name if one.asname else one.name.split(".")[0]
                for one in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def is_false(call: ast.Call, keyword: str) -> bool:
    given = [one.value for one in call.keywords if one.arg == keyword]
    return len(given) == 1 and isinstance(given[0], ast.Constant) and given[0].value is False


def dangers(source: str) -> Iterator[str]:
    """What of a module could run code that it reads, or write what would."""
    tree = ast.parse(source)
    names = names_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            yield from (module for module in modules if module.split(".")[0] in MODULES)
        elif isinstance(node, ast.Name | ast.Attribute) and dotted(node, names) in REFUSED:
            yield dotted(node, names)
        elif isinstance(node, ast.Call):
            called = dotted(node.func, names)
            method = called.rsplit(".", 1)[-1]
            unless = {"from_pretrained": "trust_remote_code"}
            unless |= {"load": "allow_pickle", "save": "allow_pickle"} if called.startswith("numpy.") else {}
            if method in METHODS or (method in unless and not is_false(node, unless[method])):
                yield method
            for keyword in ("trust_remote_code", "allow_pickle", "shell"):
                if any(one.arg == keyword for one in node.keywords) and not is_false(node, keyword):
                    yield keyword


@pytest.mark.parametrize("room", ["components", "pipelines"])
def test_no_module_reads_or_writes_what_could_run_code(room: str):
    found = {
        (path.relative_to(PROJECT).as_posix(), danger)
        for path in sorted((PROJECT / room).rglob("*.py"))
        for danger in dangers(path.read_text("utf-8"))
    }
    assert found <= ALLOWED.keys(), found - ALLOWED.keys()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from cloudpickle import loads", "import torch\ntorch.load('x')", "from torch import load\nload('x')",
        "import torch as t\nt.load('x', weights_only=True)", "import joblib\njoblib.load('x')", "import numpy as np\nnp.load('x')",
        "import numpy\nnumpy.load('x', allow_pickle=True)", "from numpy import load as read\nread('x')",
        "import numpy as np\nnp.save('x', y)", "import yaml\nyaml.load(x, Loader=yaml.SafeLoader)", "from yaml import Loader\nf(Loader)",
        "eval('1')", "f = exec\nf('1')", "import os\nos.system('x')", "import subprocess\nsubprocess.run('x', shell=True)",
        "from transformers import AutoModel\nAutoModel.from_pretrained('x')", "T.from_pretrained('x', trust_remote_code=flag)",
        "pd.read_pickle('x')", "frame.to_pickle('x')", "dist.broadcast_object_list(x)", "f(trust_remote_code=True)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(source: str):
    assert list(dangers(source))


# --- what is read ---


class Payload:
    """What a hostile pickle does when it is read: it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.folder,)


@pytest.fixture
def ran(tmp_path: Path) -> Iterator[Path]:
    """The folder that hostile input makes where it is run; there must be none at the end."""
    folder = tmp_path / "ran"
    yield folder
    assert not folder.exists(), "code out of what was read has been run"


SCRIPT = """
import os
os.mkdir({folder!r})
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast
class Model(OPTForCausalLM): pass
class Config(OPTConfig): pass
class Words(PreTrainedTokenizerFast): pass
"""


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    texts = Texts(
        "a text", "line", (), tuple(f"the quick brown fox {number}\n" for number in range(99)), ("a",), ("b",)
    )
    folder = tmp_path / "tokenizer"
    train_tokenizer(texts, 300).save_pretrained(folder)
    return folder


@pytest.fixture
def model_folder(tmp_path: Path, tokenizer_folder: Path) -> Path:
    size = architecture.ModelSize(320, 16, 1, 2, 32, 64, 0.0)
    opt.save(architecture.create(size, 0), tmp_path / "model", tokenizer_folder)
    return tmp_path / "model"


def with_code(folder: Path, file: str, auto_map: dict[str, Any], ran: Path, **more: str) -> None:
    """A folder whose configuration asks for the code that lies beside it."""
    (folder / "hostile.py").write_text(SCRIPT.format(folder=str(ran)))
    configuration = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(configuration | {"auto_map": auto_map} | more))


def test_a_hostile_pickle_is_one(tmp_path: Path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))  # noqa: S301
    assert (tmp_path / "ran").is_dir()
    sys.path.insert(0, str(tmp_path))
    (tmp_path / "hostile.py").write_text(SCRIPT.format(folder=str(tmp_path / "ran too")))
    try:
        __import__("hostile")
    finally:
        sys.path.remove(str(tmp_path))
    assert (tmp_path / "ran too").is_dir()


def refused(here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """The one line with which a study ends before anything is started."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here / 'mlflow.db'}")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("components.cluster.connect", lambda _: pytest.fail("a cluster was started or joined"))
    on_terminate = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        run_command(recursion, ["--preset", "smoke", "--store.path", str(here / "store"), *arguments])
    signal.signal(signal.SIGTERM, on_terminate)
    assert ended.value.code == 2
    *bars, line = capfd.readouterr().err.strip().splitlines()
    assert all(bar.startswith("Generating") for bar in bars)  # how far datasets has read
    assert not [path for path in (here / "store").glob("*/*/*") if path.suffix != ".lock"]
    return line


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.safetensors"])
def test_a_model_as_a_pickle_is_refused_unread(
    name: str, model_folder: Path, ran: Path, migrated: Path, tmp_path: Path, capfd, monkeypatch
):
    (model_folder / "model.safetensors").unlink()
    (model_folder / name).write_bytes(pickle.dumps(Payload(ran)))
    shutil.copy(migrated, tmp_path / "mlflow.db")
    line = refused(tmp_path, capfd, monkeypatch, "--model.name", str(model_folder), "--tokenizer", "None")
    assert line.startswith(f"model.name = {model_folder}: ")
    assert "not a whole safetensors file" in line if name.endswith("safetensors") else f"({name})" in line
    assert "convert them to model.safetensors" in line or name.endswith("safetensors")


def test_a_pickle_beside_safetensors_is_not_read(model_folder: Path, ran: Path):
    (model_folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(ran)))
    (model_folder / "training_args.bin").write_bytes(pickle.dumps(Payload(ran)))
    assert opt.check(str(model_folder)).vocabulary_size == opt.load(model_folder).config.vocab_size == 320


def test_code_that_comes_with_a_model_is_not_run_and_not_handed_on(model_folder: Path, ran: Path, tmp_path: Path):
    """Whoever loads a registered model, trusting the code that it names, would run it."""
    with_code(
        model_folder, "config.json", {"AutoConfig": "hostile.Config", "AutoModelForCausalLM": "hostile.Model"}, ran
    )
    opt.check(str(model_folder))
    opt.save(opt.load(model_folder), tmp_path / "made", model_folder)
    for file in (tmp_path / "made").glob("*.json"):
        assert "auto_map" not in file.read_text()
        assert "hostile" not in file.read_text()
    assert not list((tmp_path / "made").glob("*.py"))


def test_code_that_comes_with_a_tokenizer_is_not_run_and_not_handed_on(
    tokenizer_folder: Path, ran: Path, tmp_path: Path
):
    with_code(tokenizer_folder, "tokenizer_config.json", {"AutoTokenizer": ["hostile.Words", "hostile.Words"]}, ran)
    texts = Texts("a text", "line", (), ("a",), ("b",), ("c",))
    prepare_tokenizer(str(tokenizer_folder), texts, 300, tmp_path / "made")
    assert (tmp_path / "made" / "tokenizer.json").exists()
    for file in (tmp_path / "made").iterdir():
        assert "hostile" not in file.read_text()


def test_a_tokenizer_that_is_nothing_but_code_is_refused_without_advice_to_trust_it(
    tokenizer_folder: Path, ran: Path, migrated: Path, tmp_path: Path, capfd, monkeypatch
):
    auto_map = {"AutoTokenizer": [None, "hostile.Words"]}
    with_code(tokenizer_folder, "tokenizer_config.json", auto_map, ran, tokenizer_class="Words")
    shutil.copy(migrated, tmp_path / "mlflow.db")
    line = refused(tmp_path, capfd, monkeypatch, "--tokenizer", str(tokenizer_folder))
    assert line.startswith(f"tokenizer = {tokenizer_folder}: works by code of its author only, which is never run here")
    assert "trust_remote_code" not in line


@pytest.mark.parametrize(
    ("names", "arguments"),
    [
        (("train.pkl", "valid.pkl", "test.pkl"), ["--corpus.path", "."]),
        (("train.txt", "valid.txt", "test.txt"), ["--corpus.path", "."]),
        (("train.pkl", "validation.pkl", "test.pkl"), ["--corpus.dataset", "../text"]),
        (("train.pkl", "validation.pkl", "test.pkl"), ["--corpus.dataset", "pandas"]),  # a reader of pickles once
    ],
)
def test_text_cannot_be_a_pickle(
    names: tuple[str, ...], arguments: list[str], ran: Path, migrated: Path, tmp_path: Path, capfd, monkeypatch
):
    (tmp_path / "text").mkdir()
    for name in names:
        (tmp_path / "text" / name).write_bytes(pickle.dumps(Payload(ran)))
    shutil.copy(migrated, tmp_path / "mlflow.db")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path / "text")
    assert refused(tmp_path, capfd, monkeypatch, *arguments).startswith(("corpus.path = ", "corpus.dataset = "))


def test_a_dataset_s_own_loading_script_is_not_run(ran: Path, migrated: Path, tmp_path: Path, capfd, monkeypatch):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "texts.py").write_text(f"import os\nos.mkdir({str(ran)!r})\nimport datasets\n")
    shutil.copy(migrated, tmp_path / "mlflow.db")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    line = refused(tmp_path, capfd, monkeypatch, "--corpus.dataset", str(folder))
    assert line.startswith(f"corpus.dataset = {folder}: ")


def test_an_array_in_the_store_that_is_a_pickle_is_not_read(ran: Path, tmp_path: Path):
    family = autoencoder(tmp_path)
    for folder, name in ((tmp_path, "pretrain.npy"), (family.images_folder, "train.npy")):
        np.save(folder / name, np.array([Payload(ran)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        corpus.load(tmp_path)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        _ = family.real


def test_a_type_of_its_own_in_a_parquet_file_runs_nothing(ran: Path, tmp_path: Path):
    """Arrow's Python types were pickles in the schema (CVE-2023-47248)."""
    marked = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(Payload(ran))}
    schema = pa.schema([pa.field("perplexity", pa.int64(), metadata=marked)])
    pq.write_table(pa.table([pa.array([1, 2])], schema=schema), tmp_path / "scores.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(pd.read_parquet(tmp_path / "scores.parquet")["perplexity"]) == [1, 2]
