"""Nothing that is written is a pickle, or has one in it: neither the store, nor MLflow's artifacts and database."""

import io
import json
import pickle
import pickletools
import shutil
import sqlite3
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch

from components import tracking
from components.config.settings import TrackingSettings
from components.recursion.loop import make_chain, run_chain
from components.regimes import Regime
from components.store import Store
from tests.families import EVERY, IN_FOLDERS


def is_pickle(content: bytes) -> bool:
    """Whether the bytes are a pickle, an archive or an array with one in it, or begin as one."""
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(name.endswith(".pkl") or is_pickle(archive.read(name)) for name in archive.namelist())
    if content.startswith(b"\x93NUMPY"):
        return b"'|O'" in content[:256]
    read = []
    with suppress(ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for operation, _, place in pickletools.genops(content):
            read.append((operation.name, place))
    whole = read[-1:] == [("STOP", len(content) - 1)]
    begun = read[:1] == [("PROTO", 0)] and len(read) > 2  # joblib writes arrays between
    return whole or begun


def blobs(database: Path) -> Iterator[tuple[str, bytes]]:
    with sqlite3.connect(database) as connection:
        tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for row in connection.execute(f'select * from "{table}"'):
                yield from ((f"{database.name}, {table}", value) for value in row if isinstance(value, bytes))


def pickles_below(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    found = [
        str(path) for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".ckpt")
    ]
    found += [str(path) for path in files if is_pickle(path.read_bytes())]
    return found + [name for path in files if path.suffix == ".db" for name, value in blobs(path) if is_pickle(value)]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_known_as_one(protocol: int, tmp_path: Path):
    assert is_pickle(pickle.dumps({"a": [1.5, "b", None]}, protocol))
    joblib.dump({"a": np.arange(3)}, tmp_path / "joblib")
    torch.save({"a": torch.zeros(2)}, tmp_path / "torch")
    np.save(tmp_path / "numpy.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "numpy.npz", a=np.array([{}], dtype=object))
    assert all(is_pickle(path.read_bytes()) for path in tmp_path.iterdir())
    assert not any(map(is_pickle, (b"", b"{}", b"text.\n", json.dumps({"a": 1}).encode())))


@pytest.mark.parametrize("build", EVERY, ids=lambda build: build.__name__)
def test_nothing_that_a_family_leaves_is_a_pickle(
    build: Callable[[Path], Any], tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
):
    """Neither in the store nor, with its models copied, in MLflow."""
    family = build(tmp_path)
    store = Store.open(str(tmp_path / "store"))
    chain = make_chain(family, "a condition", Regime("accumulate"), "scratch", 0)
    generations = list(run_chain(chain, family, store, 1))
    assert pickles_below(tmp_path) == []
    if build not in IN_FOLDERS:
        return
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(migrated, tmp_path / "mlflow.db")
    tracker = tracking.connect(TrackingSettings(models="full"), "recursion", tmp_path)
    study = tracking.open_study(tracker, name="a study", family=chain.family, identity="1", config="a: 1", settings={})
    for generation in generations:
        tracking.record(study, generation)
    tracking.close_study(study, "FINISHED", metrics=pd.DataFrame({"value": [1.0]}))
    copied = {path.suffix for path in (tmp_path / "mlartifacts").rglob("*")}
    assert {".safetensors", ".parquet", ".json"} <= copied
    assert pickles_below(tmp_path) == []
