"""The small families as a user has them: their entry points to the end, and bad input refused in one line."""

import re
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.discrete import discrete
from pipelines.gaussian import gaussian
from pipelines.mixture import mixture
from pipelines.study import run_command
from pipelines.vae import autoencoders
from tests.studies import Place

import mlflow.pyfunc  # isort: skip  # after our room, which sets MLflow's environment
from mlflow.tracking import MlflowClient  # isort: skip


@pytest.fixture
def place(tmp_path: Path, migrated: Path) -> Place:
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return Place(tmp_path)


TABLES = ("scorecard", "profile")


def run_study(place: Place, entry_point: str) -> None:
    command = [sys.executable, "-m", f"pipelines.{entry_point}", *place.arguments()]
    with place.start(command=command) as study:
        output, errors = study.communicate(timeout=200)
    assert study.returncode == 0, errors[-2000:]
    assert "Browse it with `make ui`" in output
    assert "One seed gives numbers and no certainty: give seeds=3 or more." in output


@pytest.mark.parametrize(("entry_point", "chains", "figures"), [("gaussian", 3, 5), ("discrete", 3, 4), ("vae", 2, 3)])
def test_the_command_runs_a_study_and_draws_it(entry_point: str, chains: int, figures: int, place: Place):
    run_study(place, entry_point)
    with sqlite3.connect(place.folder / "mlflow.db") as database:
        kinds = dict(database.execute("select value, count(*) from tags where key = 'recursion.kind' group by value"))
        ((artifacts,),) = database.execute(
            "select artifact_uri from runs join tags using (run_uuid) where key = 'recursion.kind' and value = 'study'"
        )
        ((metrics,),) = database.execute("select count(distinct key) from metrics")
    tables = {name: pd.read_parquet(Path(artifacts.removeprefix("file://")) / f"{name}.parquet") for name in TABLES}
    assert set(tables["scorecard"]["verdict"]) <= {"cannot tell with 1 seed", "cannot be asked here"}
    assert tables["scorecard"]["estimate"].notna().any()
    assert len(tables["profile"]) == 8
    assert tables["profile"]["estimate"].notna().sum() >= 3
    assert kinds["study"] == 1
    assert kinds["chain"] == chains
    assert metrics > 5
    for kind in ("png", "html"):
        drawn = list((Path(artifacts.removeprefix("file://")) / "figures").glob(f"*.{kind}"))
        assert len(drawn) == figures
        assert all(figure.stat().st_size > 10_000 for figure in drawn)

    if entry_point == "vae":
        check_models_and_samples(place)


def check_models_and_samples(place: Place) -> None:
    """A generation of VAEs shows a sheet of its images, and its registered model draws more of them."""
    client = MlflowClient(place.uri)
    (registered,) = client.search_registered_models("name like 'vae-keep-half-%'")
    version = client.get_model_version_by_alias(registered.name, "generation-1")
    names = [file.path for file in client.list_artifacts(version.run_id)]
    assert {"samples.png", "scores.parquet", "synthetic.parquet"} <= set(names)
    losses = client.get_metric_history(version.run_id, "train/loss")
    assert [point.step for point in losses] == list(range(16))
    decoder = mlflow.pyfunc.load_model(client.get_model_version_download_uri(registered.name, version.version))
    images = decoder.predict(np.random.default_rng(0).normal(size=(5, 20)).astype(np.float32))
    assert images.shape == (5, 8, 8)
    assert 0 <= images.min() < images.max() <= 1


def test_the_same_command_again_computes_nothing(place: Place):
    run_study(place, "mixture")
    computed = place.computed()
    assert computed
    run_study(place, "mixture")
    assert place.computed() == computed


FAULTS: dict[str, tuple[Callable[[Any], None], list[str], str]] = {
    "one row": (gaussian, ["--conditions.replace-100.sample_size", "1"], r"conditions\.replace-100\.sample_size = 1: .*2"),
    "fewer rows than dimensions": (gaussian, ["--dimensions", "64", "--conditions.replace-100.sample_size", "60"],
        r"conditions\.replace-100\.sample_size = 60: cannot fit 64 dimensions"),
    "an odd schedule": (gaussian, ["--conditions.replace-100.growth", "-1"], r"conditions\.replace-100\.growth = -1"),
    "no such way to sample": (gaussian, ["--conditions.a.regime", "sometimes"], r"conditions\.a\.regime = sometimes: .*'replace'"),
    "real rows with accumulate": (gaussian, ["--conditions.accumulate-100.real_fraction", "0.1"],
        r"conditions\.accumulate-100 = .*real_fraction 0\.1 belongs to regime=replace"),
    "real rows in a growing sample": (gaussian, ["--conditions.a.real_fraction", "0.1", "--conditions.a.growth", "1"],
        r"conditions\.a = .*belongs to growth=0"),
    "ddof beyond one": (gaussian, ["--ddof", "2"], r"ddof = 2: "),
    "the same condition twice": (gaussian, ["--conditions.again.sample_size", "100"], r"conditions\.again = .*those of replace-100"),
    "one outcome": (discrete, ["--conditions.uniform-10.outcomes", "1"], r"conditions\.uniform-10\.outcomes = 1: "),
    "probabilities beyond one": (discrete, ["--conditions.given.probabilities", "[0.5, 0.6]"],
        r"conditions\.given\.probabilities = .*must sum to 1, these sum to 1\.1"),
    "a certain outcome": (discrete, ["--conditions.given.probabilities", "[1.0, 0.0]"], r"conditions\.given\.probabilities = .*two outcomes"),
    "a negative probability": (discrete, ["--conditions.given.probabilities", "[1.5, -0.5]"], r"conditions\.given\.probabilities\.1 = -0\.5"),
    "no such distribution": (discrete, ["--conditions.a.distribution", "normal"], r"conditions\.a\.distribution = normal"),
    "more components than rows": (mixture, ["--conditions.two-100.components", "101"], r"conditions\.two-100 = .*101 components cannot be fitted to 100 rows"),
    "three blobs": (mixture, ["--conditions.two-100.blobs", "3"], r"conditions\.two-100\.blobs = 3"),
    "no tolerance": (mixture, ["--em.tol", "0"], r"em\.tol = 0"),
    "no such start": (mixture, ["--em.init_params", "best"], r"em\.init_params = best: .*kmeans"),
    "no such folder of images": (autoencoders, ["--data.path", "nowhere"], r"data\.path = nowhere: no such file or folder"),
    "a folder without images": (autoencoders, ["--data.path", str(Path(__file__).parent)], r"data\.path = .*neither IDX files .* nor pictures"),
    "images out of reach": (autoencoders, ["--data.name", "no-such-images"], r"data\.name = no-such-images: .*OpenML"),
    "no latents": (autoencoders, ["--latents", "0"], r"latents = 0: "),
    "one image": (autoencoders, ["--data.train_images", "1"], r"data\.train_images = 1: "),
    "no such precision": (autoencoders, ["--train.precision", "fp8"], r"train\.precision = fp8: .*'bf16'"),
    "no such way to draw": (autoencoders, ["--conditions.a.sampling", "best"], r"conditions\.a\.sampling = best: .*'means'"),
    "no such preset": (mixture, ["--preset", "tiny"], r"preset = tiny: no such preset; there are laptop, paper, smoke"),
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_in_one_line_with_status_2_and_nothing_is_started(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    command, arguments, line = FAULTS[fault]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("components.cluster.connect", lambda _: pytest.fail("a cluster was started or joined"))
    on_terminate = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        run_command(command, ["--preset", "smoke", "--store.path", str(tmp_path / "store"), *arguments])
    signal.signal(signal.SIGTERM, on_terminate)
    assert ended.value.code == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert re.match(line, lines[0]), lines[0]
    assert not list(tmp_path.glob("store/*/*"))
