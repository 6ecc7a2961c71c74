"""The contract in MLflow (design.md), read back through `MlflowClient` from real stores, servers and projects."""

import hashlib
import json
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from components.config.errors import BadInput
from components.config.settings import TrackingSettings
from components.recursion.records import Chain, Generation
from components.store import Store
from components.terminal import StudyProgress
from components.tracking import (
    Study,
    Tracking,
    TrackingUnavailable,
    address,
    close_study,
    connect,
    end_chain,
    open_study,
    record,
)
from pipelines.recorder import Recorder
from tests.ports import closed_port, free_port
from tests.recorded import BEGIN, NEW_TOKENS, ROWS, everything, make_chain, make_generation, runs

import mlflow  # isort: skip  # after our room, which sets MLflow's environment

PROJECT = Path(__file__).resolve().parents[1]
STUDY = hashlib.sha256(b"study").hexdigest()


@pytest.fixture(autouse=True)
def _no_tracking_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def project(tmp_path: Path, migrated: Path) -> Path:
    """A project's folder with an empty store, and another one in `uninterrupted` to compare with."""
    (tmp_path / "uninterrupted").mkdir()
    for folder in (tmp_path, tmp_path / "uninterrupted"):
        shutil.copy(migrated, folder / "mlflow.db")
    return tmp_path


@pytest.fixture
def chain() -> Chain:
    return make_chain("no-real-data", 0)


def make_study(project: Path, models: str = "full", identity: str = STUDY) -> Study:
    tracking = connect(TrackingSettings(models=models), "recursion", project)  # type: ignore[arg-type]
    return begin(tracking, identity)


def begin(tracking: Tracking, identity: str = STUDY) -> Study:
    settings = {"generations": 2, "train": {"epochs": 3}}
    text = "generations: 2\n"
    return open_study(tracking, name="laptop", family="language", identity=identity, config=text, settings=settings)


def test_a_generation_is_found_under_its_chain_under_its_study_with_all_tags(
    project: Path, chain: Chain, model_folder: Path
) -> None:
    study = make_study(project)
    for index in range(2):
        record(study, make_generation(project / "store", chain, index, model_folder))
    end_chain(study, chain, "FINISHED")
    close_study(study, "FINISHED")
    assert study.tracking.experiment.name == "recursion"
    ((top,), (middle,), (first, second)) = (runs(study.tracking, kind) for kind in ("study", "chain", "generation"))
    assert middle.data.tags["mlflow.parentRunId"] == top.info.run_id
    assert {first.data.tags["mlflow.parentRunId"], second.data.tags["mlflow.parentRunId"]} == {middle.info.run_id}
    assert (top.info.run_name, middle.info.run_name, second.info.run_name) == (
        "laptop",
        "no-real-data seed 0",
        "generation 1",
    )
    assert {run.info.status for run in (top, middle, first, second)} == {"FINISHED"}
    assert {run.data.tags["recursion.family"] for run in (top, middle, first, second)} == {"language"}
    for run in (middle, first, second):
        assert run.data.tags["recursion.condition"] == "no-real-data"
        assert run.data.tags["recursion.seed"] == "0"
        assert run.data.tags["recursion.chain"] == chain.identity
        assert run.data.params["condition.regime"] == "replace"
    assert [run.data.tags["recursion.generation"] for run in (first, second)] == ["0", "1"]
    assert first.data.tags["recursion.parent_model"] == ""
    assert second.data.tags["recursion.parent_model"] == first.outputs.model_outputs[0].model_id
    begin_second = (BEGIN + timedelta(minutes=1)).timestamp() * 1000
    assert (second.info.start_time, second.info.end_time) == (begin_second, begin_second + 56_000)


def test_every_metric_stands_once_on_the_generation_and_once_by_generation_on_the_chain(
    project: Path, chain: Chain, model_folder: Path
) -> None:
    study = make_study(project, "none")
    generations = [make_generation(project / "store", chain, index, model_folder) for index in range(3)]
    for generation in generations:
        run_id = record(study, generation)
    client, (chain_run,) = study.tracking.client, runs(study.tracking, "chain")
    for name in generations[0].metrics:
        curve = [(point.step, point.value) for point in client.get_metric_history(chain_run.info.run_id, name)]
        assert curve == [(g.index, g.metrics[name]) for g in generations]
        assert client.get_run(run_id).data.metrics[name] == generations[-1].metrics[name]
    losses = pq.read_table(generations[-1].directories["fit"] / "losses.parquet").to_pydict()
    points = client.get_metric_history(run_id, "train/loss")
    assert [(p.step, p.value) for p in points] == list(zip(losses["step"], losses["loss"], strict=True))


def test_the_lineage_names_the_data_by_digest_and_the_models_before_and_after(
    project: Path, chain: Chain, model_folder: Path
) -> None:
    study = make_study(project, "external")
    generations = [make_generation(project / "store", chain, index, model_folder) for index in range(3)]
    ids = [record(study, generation) for generation in generations]
    found = [study.tracking.client.get_run(run_id) for run_id in ids]
    own = [run.outputs.model_outputs[0] for run in found]
    assert [len(run.outputs.model_outputs) for run in found] == [1, 1, 1]
    assert [output.step for output in own] == [0, 1, 2]
    parents = [[model.model_id for model in run.inputs.model_inputs] for run in found]
    assert parents == [[], [own[0].model_id], [own[1].model_id]]
    for run, generation in zip(found, generations, strict=True):
        data = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
        assert {item.tags[0].key for item in run.inputs.dataset_inputs} == {"mlflow.data.context"}
        assert sorted(data) == ["evaluation", "training"]
        assert json.loads(data["training"].profile) == {"sha256": generation.digests["training"], "num_rows": ROWS}
        assert generation.digests["training"].startswith(data["training"].digest)
        assert json.loads(data["training"].source)["uri"] == generation.directories["compose"].as_uri()


def test_samples_and_tables_are_artifacts_of_the_generation(
    project: Path, chain: Chain, model_folder: Path, tmp_path: Path
) -> None:
    study = make_study(project, "none")
    page = tmp_path / "samples.md"
    page.write_text("# the same prompts\n")
    generations = [make_generation(project / "store", chain, index, model_folder) for index in range(2)]
    as_text = record(study, generations[0], {"samples.md": "# the same prompts\n"})
    as_file = record(study, generations[1], {"samples.md": page})
    for run_id, generation in zip((as_text, as_file), generations, strict=True):
        folder = Path(study.tracking.client.download_artifacts(run_id, ""))
        assert sorted(file.name for file in folder.iterdir()) == ["samples.md", "scores.parquet", "synthetic.parquet"]
        assert (folder / "samples.md").read_text() == "# the same prompts\n"
        kept = (generation.directories["sample"] / "synthetic.parquet").read_bytes()
        assert (folder / "synthetic.parquet").read_bytes() == kept
        assert folder.is_relative_to(project / "mlartifacts" / "recursion")


def test_every_generation_is_one_version_of_the_chains_registered_model(
    project: Path, chain: Chain, model_folder: Path
) -> None:
    study = make_study(project, "external")
    generations = [make_generation(project / "store", chain, index, model_folder) for index in range(3)]
    for generation in generations:
        record(study, generation)
    client, name = study.tracking.client, f"language-no-real-data-seed0-{chain.identity[:8]}"
    assert [model.name for model in client.search_registered_models()] == [name]
    versions = sorted(client.search_model_versions(f"name = '{name}'"), key=lambda version: int(version.version))
    assert [version.tags["generation"] for version in versions] == ["0", "1", "2"]
    assert [version.tags["parent_version"] for version in versions] == ["", "1", "2"]
    assert [version.tags["data_digest"] for version in versions] == [g.digests["training"] for g in generations]
    aliases = client.get_registered_model(name).aliases
    assert {alias: str(number) for alias, number in aliases.items()} == {
        f"generation-{i}": str(i + 1) for i in range(3)
    }
    assert client.get_model_version_by_alias(name, "generation-1").tags["model_id"] == versions[1].tags["model_id"]
    assert str(client.get_model_version_by_alias(name, "latest").version) == "3"
    assert versions[2].tags["store"] == (generations[2].directories["fit"] / "model").as_uri()
    model = client.get_logged_model(versions[2].tags["model_id"])
    assert {metric.key: metric.value for metric in model.metrics} == generations[2].metrics
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": name, "version": 3}]


@pytest.mark.parametrize("models", ["full", "external"])
def test_a_registered_model_loads_by_its_alias_with_the_weights_of_the_store(
    project: Path, chain: Chain, model_folder: Path, models: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(project, models)
    generation = make_generation(project / "store", chain, 0, model_folder)
    record(study, generation)
    uri = f"models:/language-no-real-data-seed0-{chain.identity[:8]}@generation-0"
    if models == "full":  # the copy must not need the store
        shutil.rmtree(generation.directories["fit"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", study.tracking.uri)
    pipeline = mlflow.transformers.load_model(uri)
    from safetensors.torch import load_file

    weights = load_file(model_folder / "model.safetensors")
    loaded = pipeline.model.state_dict()
    assert all((loaded[key] == value).all() for key, value in weights.items())
    served = mlflow.pyfunc.load_model(uri)
    (text,) = served.predict("a model", params={"max_new_tokens": 3, "num_beams": 2})
    assert text.startswith("a model")
    defaults = {spec.name: spec.default for spec in served.metadata.signature.params}
    assert defaults == {"max_new_tokens": NEW_TOKENS, "num_beams": 3, "repetition_penalty": 1.0, "do_sample": False}
    copied = list((project / "mlartifacts").rglob("*.safetensors"))
    assert len(copied) == (1 if models == "full" else 0)


def test_asking_for_the_weights_later_copies_them_into_the_version_that_is_there(
    project: Path, chain: Chain, model_folder: Path
) -> None:
    generation = make_generation(project / "store", chain, 0, model_folder)
    for models in ("external", "full"):
        study = make_study(project, models)
        record(study, generation)
        close_study(study, "FINISHED")
    client = study.tracking.client
    (version,) = client.search_model_versions()
    model = client.get_logged_model(version.tags["model_id"])
    assert "mlflow.model.isExternal" not in model.tags
    assert len(list((project / "mlartifacts").rglob("model.safetensors"))) == 1


def test_with_no_models_the_registry_stays_empty(project: Path, chain: Chain, model_folder: Path) -> None:
    study = make_study(project, "none")
    run_id = record(study, make_generation(project / "store", chain, 0, model_folder))
    assert study.tracking.client.search_registered_models() == []
    assert study.tracking.client.get_run(run_id).outputs.model_outputs == []


def test_a_family_without_model_files_is_recorded_by_its_numbers(project: Path) -> None:
    study = make_study(project, "external")
    chain = Chain("gaussian", "replace", 0, "f" * 64, {"samples": 100})
    run_id = record(study, Generation(chain, 0, {}, {"variance": 1.0}, {}))
    assert study.tracking.client.get_run(run_id).data.metrics == {"variance": 1.0}


def test_recording_again_changes_nothing(project: Path, chain: Chain, model_folder: Path) -> None:
    def contents() -> list[str]:
        with sqlite3.connect(project / "mlflow.db") as database:
            return list(database.iterdump())

    study = make_study(project)
    generations = [make_generation(project / "store", chain, index, model_folder) for index in range(2)]
    for generation in generations:
        record(study, generation)
    before = contents()
    for generation in generations:
        record(study, generation)
    study.chains.clear()  # as after a failure: everything is looked up in the store
    for generation in generations:
        record(study, generation)
    assert contents() == before


def test_an_interrupted_study_is_continued_with_every_chain_generation_and_step_once(
    project: Path, chain: Chain, model_folder: Path
) -> None:
    other = make_chain("keep-10-percent", 1)
    plan = [(c, i) for c in (chain, other) for i in range(3)]
    everything_made = {(c.identity, i): make_generation(project / "store", c, i, model_folder) for c, i in plan}

    interrupted = make_study(project)
    record(interrupted, everything_made[chain.identity, 0])
    record(interrupted, everything_made[other.identity, 0])
    record(interrupted, everything_made[other.identity, 1])
    with pytest.raises(OSError, match="no such file"):  # midway: its run and model are there, its numbers are not
        record(interrupted, everything_made[chain.identity, 1], {"samples.md": project / "no such file"})

    continued = make_study(project)
    for key in everything_made:
        record(continued, everything_made[key])
    close_study(continued, "FINISHED")
    old, new = (continued.tracking.client.get_run(study.run_id) for study in (interrupted, continued))
    assert (old.info.status, new.info.status) == ("KILLED", "FINISHED")
    assert old.data.tags["recursion.continued_by"] == new.info.run_id
    chains = runs(continued.tracking, "chain")
    assert {run.data.tags["mlflow.parentRunId"] for run in chains} == {new.info.run_id}

    whole = make_study(project / "uninterrupted")
    for key in everything_made:
        record(whole, everything_made[key])
    close_study(whole, "FINISHED")
    assert everything(continued.tracking) == everything(whole.tracking)


def test_a_finished_study_keeps_its_tree_and_the_next_gets_its_own(
    project: Path, chain: Chain, model_folder: Path
) -> None:
    generation = make_generation(project / "store", chain, 0, model_folder)
    first = make_study(project)
    record(first, generation)
    close_study(first, "FINISHED")
    second = make_study(project)
    record(second, generation)
    client = second.tracking.client
    assert {run.data.tags["mlflow.parentRunId"] for run in runs(second.tracking, "chain")} == {
        first.run_id,
        second.run_id,
    }
    assert "recursion.continued_by" not in client.get_run(first.run_id).data.tags
    assert len(client.search_model_versions()) == 1
    outputs = {run.outputs.model_outputs[0].model_id for run in runs(second.tracking, "generation")}
    assert len(outputs) == 1, "the same weights are the same model"


def test_another_study_does_not_adopt_what_is_not_its_own(project: Path, chain: Chain, model_folder: Path) -> None:
    interrupted = make_study(project)
    record(interrupted, make_generation(project / "store", chain, 0, model_folder))
    make_study(project, identity="0" * 64)
    assert interrupted.tracking.client.get_run(interrupted.run_id).info.status == "RUNNING"
    assert [r.data.tags["mlflow.parentRunId"] for r in runs(interrupted.tracking, "chain")] == [interrupted.run_id]


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_closing_ends_every_run_and_keeps_tables_figures_and_report(
    project: Path, chain: Chain, model_folder: Path, status: str
) -> None:
    study = make_study(project, "none")
    record(study, make_generation(project / "store", chain, 0, model_folder))
    figures = project / "figures of the study"
    figures.mkdir()
    for name in ("figure-10.png", "figure-10.html"):
        (figures / name).write_text(name)
    (project / "page.html").write_text("<html></html>")
    row = {"condition": "no-real-data", "seed": 0, "generation": 0, "metric": "test/perplexity", "value": 40.0}
    for _ in range(2):  # may be repeated
        close_study(
            study,
            status,  # type: ignore[arg-type]
            metrics=pd.DataFrame([row]),
            figures=figures,
            report=project / "page.html",
            summary={"test/perplexity_of_last_generation": 40.0},
        )
    (top,), (middle,) = (runs(study.tracking, kind) for kind in ("study", "chain"))
    assert (top.info.status, middle.info.status) == (status, status)
    folder = Path(study.tracking.client.download_artifacts(study.run_id, ""))
    assert sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.*")) == [
        "config.yaml",
        "figures/figure-10.html",
        "figures/figure-10.png",
        "metrics.parquet",
        "report.html",
    ]
    assert pd.read_parquet(folder / "metrics.parquet").to_dict("records") == [row]
    history = study.tracking.client.get_metric_history(study.run_id, "test/perplexity_of_last_generation")
    assert [(point.step, point.value) for point in history] == [(0, 40.0)]


def test_a_description_is_the_note_of_the_study_as_plain_text(project: Path) -> None:
    """The UI shows notes as Markdown: what a condition is called must not become a link, a picture or HTML."""
    study = make_study(project)
    close_study(
        study, "FINISHED", description="Missing: [a](http://b) <img src=c> seed 1.\n\nAll seeds share one test split."
    )
    note = study.tracking.client.get_run(study.run_id).data.tags["mlflow.note.content"]
    assert note.endswith("\n\nAll seeds share one test split.")
    assert "<img" not in note
    assert "[a](" not in note


def test_settings_of_any_number_and_length_become_parameters_of_the_study(project: Path) -> None:
    tracking = connect(TrackingSettings(), "recursion", project)
    settings = {"many": {f"field {i}": i for i in range(250)}, "long": "x" * 10_000, "none": None, "list": [1, 2]}
    study = open_study(tracking, name="s", family="language", identity=STUDY, config="", settings=settings)
    params = tracking.client.get_run(study.run_id).data.params
    assert len(params) == 253
    assert (params["settings.many.field 7"], params["settings.list"], params["settings.none"]) == ("7", "[1, 2]", "")
    assert params["settings.long"] == "x" * 6000


def test_the_experiment_can_be_named(project: Path) -> None:
    assert connect(TrackingSettings(experiment="mine"), "recursion", project).experiment.name == "mine"
    assert connect(TrackingSettings(), "gaussian", project).experiment.name == "gaussian"


def test_a_metric_that_is_not_a_number_is_kept(project: Path, chain: Chain, model_folder: Path) -> None:
    study = make_study(project, "external")
    generation = make_generation(project / "store", chain, 0, model_folder)
    run_id = record(study, replace(generation, metrics={"test/perplexity": math.nan, "seconds/fit": math.inf}))
    metrics = study.tracking.client.get_run(run_id).data.metrics
    assert math.isnan(metrics["test/perplexity"])
    assert metrics["seconds/fit"] > 1e300


# What a user can have got wrong


@pytest.mark.timeout(60)  # MLflow itself tries for 100 seconds
@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:{closed_port}",
        "http://somebody:secret@127.0.0.1:{closed_port}",
        "http://no-such-host.invalid:5000",
        "http://",
        "./mlruns",
        "file:///tmp/mlruns",
        "redis://127.0.0.1",
        "sqlite:///{project}",
        "sqlite:///{project}/store.db/mlflow.db",
        "sqlite:///{project}/store.db",
        "postgresql://somebody:secret@127.0.0.1:{closed_port}/mlflow",
    ],
)
def test_a_tracking_store_that_cannot_be_is_one_line_long_before_mlflow_gives_up(
    project: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    (project / "store.db").write_text("this is a text and no database " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(project=project, closed_port=closed_port()))
    with pytest.raises(BadInput) as caught:
        connect(TrackingSettings(), "recursion", project)
    assert caught.value.field == "MLFLOW_TRACKING_URI"
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_run_id_or_an_experiment_that_is_gone_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = connect(TrackingSettings(), "recursion", project)
    tracking.client.delete_experiment(tracking.experiment.experiment_id)
    with pytest.raises(BadInput, match=r"tracking\.experiment = recursion"):
        connect(TrackingSettings(), "recursion", project)
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(BadInput, match="MLFLOW_RUN_ID"):
        connect(TrackingSettings(), "gaussian", project)


# Under a real `mlflow run`

CHILD = """
import sys, os
from pathlib import Path
from components.config.settings import TrackingSettings
from components.tracking import close_study, connect, open_study
tracking = connect(TrackingSettings(), "recursion", Path.cwd())
assert "MLFLOW_RUN_ID" not in os.environ
study = open_study(tracking, name="laptop", family="language", identity="1" * 64, config="", settings={"preset": "x"})
if "die" in sys.argv:
    os.kill(os.getpid(), 9)
close_study(study, "FINISHED")
"""


@pytest.fixture
def launch(project: Path) -> object:
    (project / "child.py").write_text(CHILD)
    entry_point = {"parameters": {"how": {"default": "live"}}, "command": f"{sys.executable} child.py {{how}}"}
    (project / "MLproject").write_text(json.dumps({"name": "scratch", "entry_points": {"recursion": entry_point}}))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "mlflow", "run", ".", "-e", "recursion", "--env-manager", "local", *arguments]
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        return subprocess.run(line, cwd=project, env=environment, capture_output=True, text=True, timeout=60)

    return run


@pytest.mark.slow
def test_mlflow_run_in_the_default_experiment_leads_to_a_study_in_its_own(project: Path, launch) -> None:  # type: ignore[no-untyped-def]
    assert launch("-P", "how=die").returncode != 0
    assert launch("--run-name", "monday").returncode == 0
    tracking = connect(TrackingSettings(), "recursion", project)
    died, study = runs(tracking, "study")
    assert died.data.tags["recursion.continued_by"] == study.info.run_id
    assert (died.info.status, study.info.status, study.info.run_name) == ("KILLED", "FINISHED", "monday")
    assert study.data.tags["mlflow.project.entryPoint"] == "recursion"
    assert study.data.params == {"how": "live", "settings.preset": "x"}
    launched = tracking.client.search_runs(["0"], order_by=["attributes.start_time"])
    assert [run.info.status for run in launched] == ["FAILED", "FINISHED"]
    assert launched[1].data.tags["recursion.study_run"] == study.info.run_id
    assert "recursion.kind" not in launched[1].data.tags


def test_mlflow_run_in_a_chosen_experiment_is_the_study_itself(project: Path, launch) -> None:  # type: ignore[no-untyped-def]
    done = launch("--experiment-name", "recursion")
    assert done.returncode == 0, done.stderr
    tracking = connect(TrackingSettings(), "recursion", project)
    (study,) = runs(tracking, "study")
    assert study.info.run_id in done.stderr
    assert (study.info.status, study.info.run_name) == ("FINISHED", "laptop")
    assert tracking.client.search_runs(["0"]) == []


# A server that goes away


class Server:
    """A real `mlflow server` over a database; `stop` kills it as a power cut would."""

    port: int
    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        for _ in range(3):
            self.port = free_port()
            line = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
            line += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--workers", "1"]
            line += ["--artifacts-destination", str(self.folder / "served")]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self.process = subprocess.Popen(line, cwd=self.folder, start_new_session=True, **quiet)
            if self._answers():
                return
        raise AssertionError("three servers ended before they answered")

    def _answers(self) -> bool:
        """Whether it came up; it ends where its port was taken meanwhile."""
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1):
                    return self.process.poll() is None
            except OSError:
                if self.process.poll() is not None:
                    return False
                time.sleep(0.1)
        raise TimeoutError("mlflow server did not start")

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class FailingWire:
    """Between us and the server: lets `patience` requests through, then hangs up, before or after passing one on."""

    def __init__(self, server: Server) -> None:
        self.server, self.patience, self.lose_answer = server, math.inf, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        """One request a connection, so that a connection kept alive is no further way to fail."""
        with client, socket.socket() as server:
            request = read_message(client)
            self.patience -= 1
            if self.patience < 0 and not self.lose_answer:
                return
            if server.connect_ex(("127.0.0.1", self.server.port)) != 0:
                return
            server.sendall(request)
            answer = read_message(server)
            if self.patience >= 0:
                client.sendall(answer.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))


def read_message(peer: socket.socket) -> bytes:
    """One whole HTTP message with a length, or nothing when the peer has hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            part = peer.recv(65536)
        except ConnectionResetError:
            return b""
        if not part:
            return b""
        data += part
    head = data.split(b"\r\n\r\n")[0].lower()
    missing = len(head) + 4 - len(data)
    if b"content-length:" in head:
        missing += int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        while missing > 0 and (part := peer.recv(65536)):
            data, missing = data + part, missing - len(part)
    elif b"chunked" in head:
        while not data.endswith(b"0\r\n\r\n") and (part := peer.recv(65536)):
            data += part
    return data


@pytest.fixture
def server(project: Path) -> Iterator[Server]:
    server = Server(project)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def wire(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingWire]:
    wire = FailingWire(server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{wire.port}")
    yield wire
    wire.listener.close()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_server_that_is_away_for_a_while_costs_no_result(
    project: Path,
    chain: Chain,
    model_folder: Path,
    server: Server,
    wire: FailingWire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generations = [make_generation(project / "store", chain, index, model_folder) for index in range(4)]
    samples = {"samples.md": "# the same prompts\n"}
    study = make_study(project)
    assert address(study).startswith(f"http://127.0.0.1:{wire.port}/#/experiments/")
    record(study, generations[0], samples)

    for index, lose_answer, step in ((1, False, 13), (2, True, 6)):  # hangs up before a request takes effect, or after
        wire.lose_answer = lose_answer
        for patience in range(0, 100, step):
            wire.patience = patience
            try:
                record(study, generations[index], samples)
                break
            except TrackingUnavailable:
                continue
        assert 10 < patience < 90
    wire.patience = math.inf

    server.stop()
    with pytest.raises(TrackingUnavailable):
        record(study, generations[3], samples)
    with pytest.raises(TrackingUnavailable):
        close_study(study, "FINISHED")
    server.start()
    record(study, generations[3], samples)
    close_study(study, "FINISHED")

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    whole = make_study(project / "uninterrupted")
    for generation in generations:
        record(whole, generation, samples)
    close_study(whole, "FINISHED")
    assert everything(study.tracking) == everything(whole.tracking)


@pytest.mark.timeout(240)
def test_the_recorder_writes_every_generation_once_and_in_order_to_a_server_that_comes_and_goes(
    project: Path,
    chain: Chain,
    model_folder: Path,
    wire: FailingWire,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("pipelines.outbox.SECONDS_BETWEEN_TRIES", 0.01)
    chains = [chain, make_chain("keep-10-percent", 1)]
    finished = [make_generation(project / "store", each, index, model_folder) for index in range(3) for each in chains]
    study = make_study(project)
    recorder = make_recorder(study, chains)
    for number, generation in enumerate(finished):
        wire.lose_answer, wire.patience = number % 2 == 1, 9  # a generation takes some forty requests
        recorder.watch([{"found": [generation]}, {"finished": [generation]}])  # in the store, and told by a worker
        if number in (1, 4):
            wire.patience = math.inf
            recorder.outbox.flush()
            assert len(runs(study.tracking, "generation")) == number + 1
    assert capsys.readouterr().out.count("MLflow does not answer") == 3  # once each time it goes away

    wire.patience = 9
    with monkeypatch.context() as impatient:
        impatient.setattr("pipelines.outbox.SECONDS_FOR_TRACKING", 0)
        with pytest.raises(TrackingUnavailable):
            recorder.outbox.flush()
    wire.patience = math.inf
    recorder.outbox.flush()
    generation_runs = runs(study.tracking, "generation")
    assert len(generation_runs) == len(finished)
    assert {run.info.status for run in generation_runs + runs(study.tracking, "chain")} == {"FINISHED"}
    close_study(study, "FINISHED")

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    whole = make_study(project / "uninterrupted")
    for generation in finished:
        record(whole, generation, {"samples.md": "# the same prompts\n"})
    close_study(whole, "FINISHED")
    assert everything(study.tracking) == everything(whole.tracking)


def make_recorder(study: Study, chains: list[Chain]) -> Recorder:
    names = {each.identity: f"{each.condition} seed {each.seed}" for each in chains}
    progress = StudyProgress(names, {name: {(index, "fit"): 1.0 for index in range(3)} for name in names})
    return Recorder(
        study, Store(Path("unused")), progress, 2, lambda generation: {"samples.md": "# the same prompts\n"}
    )
