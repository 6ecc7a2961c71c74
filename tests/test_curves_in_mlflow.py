"""Chains in memory in MLflow: every number by step on the chain's run, runs of their own for what is shown alone."""

import shutil
from pathlib import Path

import pytest

from components.config.settings import TrackingSettings
from components.families.gaussian.family import GaussianFamily
from components.recursion.loop import make_chain, run_chain
from components.recursion.records import Generation
from components.regimes import Regime
from components.store import Store
from components.tracking import Study, close_study, connect, end_chain, open_study, record_curve

SHOWN = (0, 30, 120)


@pytest.fixture
def generations(tmp_path: Path) -> list[Generation]:
    family = GaussianFamily(chains=10, rows=20, shown=SHOWN)
    chain = make_chain(family, "replace-20", Regime("replace"), "scratch", 0)
    return list(run_chain(chain, family, Store.open(str(tmp_path / "store")), 120))


@pytest.fixture
def project(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(migrated, tmp_path / "mlflow.db")
    return tmp_path


def begin(project: Path) -> Study:
    tracking = connect(TrackingSettings(), "gaussian", project)
    return open_study(tracking, name="a study", family="gaussian", identity="1a2b", config="", settings={})


def runs(study: Study, kind: str) -> list:  # type: ignore[type-arg]
    experiment = study.tracking.experiment.experiment_id
    return study.tracking.client.search_runs([experiment], f"tags.`recursion.kind` = '{kind}'", max_results=1000)


def check(study: Study, generations: list[Generation]) -> None:
    (chain,) = runs(study, "chain")
    for name in generations[0].metrics:
        history = study.tracking.client.get_metric_history(chain.info.run_id, name)
        assert [(point.step, point.value) for point in history] == [(g.index, g.metrics[name]) for g in generations]
    shown = sorted(runs(study, "generation"), key=lambda run: int(run.data.tags["recursion.generation"]))
    assert [int(run.data.tags["recursion.generation"]) for run in shown] == list(SHOWN)
    for run in shown:
        generation = generations[int(run.data.tags["recursion.generation"])]
        assert run.data.metrics == pytest.approx(generation.metrics)
        assert {each.dataset.digest for each in run.inputs.dataset_inputs} == {
            digest[:36] for digest in generation.digests.values()
        }
    assert {run.info.status for run in [chain, *shown]} == {"FINISHED"}
    assert study.tracking.client.search_registered_models() == []


def test_every_number_stands_once_by_step_on_the_chain(project: Path, generations: list[Generation]):
    study = begin(project)
    for first in range(0, 121, 50):
        record_curve(study, generations[first : first + 50])
        record_curve(study, generations[first : first + 50])  # told twice
    end_chain(study, generations[0].chain, "FINISHED")
    close_study(study, "FINISHED")
    check(study, generations)


def test_a_study_that_stopped_midway_is_completed_and_no_step_stands_twice(
    project: Path, generations: list[Generation]
):
    record_curve(begin(project), generations[:77])  # never closed
    study = begin(project)
    record_curve(study, generations)
    close_study(study, "FINISHED")
    check(study, generations)
