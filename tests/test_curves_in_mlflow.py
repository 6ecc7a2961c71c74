"""Chains in memory in MLflow: curves of a few points each, every number in metrics.parquet, a few generations with runs."""

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from components.config.settings import TrackingSettings
from components.families.gaussian.family import GaussianFamily
from components.recursion.loop import make_chain, run_chain
from components.recursion.records import Chain, Generation
from components.regimes import Regime
from components.store import Store
from components.terminal import StudyProgress
from components.tracking import Study, close_study, connect, end_chain, has_point, open_study, record_curve
from pipelines.recorder import Recorder

SHOWN = (0, 30, 120)
MOST_POINTS = 200


def run(folder: Path, generations: int, seed: int = 0) -> list[Generation]:
    family = GaussianFamily(chains=10, rows=20, shown=SHOWN)
    chain = make_chain(family, "replace-20", Regime("replace"), "scratch", seed)
    return list(run_chain(chain, family, Store.open(str(folder / "store")), generations))


@pytest.fixture
def generations(tmp_path: Path) -> list[Generation]:
    return run(tmp_path, 120)


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


def steps_of(study: Study, generations: list[Generation]) -> list[int]:
    """The steps that all curves of the only chain have, each with the generation's own value."""
    (chain,) = runs(study, "chain")
    found = []
    for name in generations[0].metrics:
        history = study.tracking.client.get_metric_history(chain.info.run_id, name)
        assert [point.value for point in history] == [generations[point.step].metrics[name] for point in history]
        found.append([point.step for point in history])
    assert all(steps == found[0] for steps in found)
    return found[0]


def points_to(last: int) -> list[int]:
    return [index for index in range(last + 1) if has_point(index) or index == last]


def check(study: Study, generations: list[Generation]) -> None:
    assert steps_of(study, generations) == points_to(120)
    shown = sorted(runs(study, "generation"), key=lambda run: int(run.data.tags["recursion.generation"]))
    assert [int(run.data.tags["recursion.generation"]) for run in shown] == list(SHOWN)
    for run in shown:
        generation = generations[int(run.data.tags["recursion.generation"])]
        assert run.data.metrics == pytest.approx(generation.metrics)
        assert {each.dataset.digest for each in run.inputs.dataset_inputs} == {
            digest[:36] for digest in generation.digests.values()
        }
    assert {run.info.status for run in [*runs(study, "chain"), *shown]} == {"FINISHED"}
    assert study.tracking.client.search_registered_models() == []


@given(some.integers(0, 100_000))
def test_a_curve_of_any_length_has_its_first_and_last_generation_and_at_most_200_points(last: int):
    points = points_to(last)
    assert points[0] == 0
    assert points[-1] == last
    assert len(points) <= MOST_POINTS


@given(some.integers(0, 10_000), some.integers(0, 10_000))
def test_a_longer_curve_has_the_points_of_a_shorter_one_but_for_the_shorter_ones_last(one: int, other: int):
    shorter, longer = (points_to(last) for last in sorted((one, other)))
    assert set(shorter[:-1]) <= set(longer)


def test_points_are_evenly_spaced_in_the_logarithm_of_fits_and_at_first_every_generation_has_one():
    fits = np.array([index for index in range(100_000) if has_point(index)]) + 1
    assert fits[:10].tolist() == [*range(1, 11)]
    gaps = np.diff(np.log10(fits[fits >= 100]))
    assert gaps == pytest.approx(1 / 10, abs=2 * math.log10(1.01))


def test_every_point_stands_once_by_step_on_the_chain(project: Path, generations: list[Generation]):
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


@pytest.mark.parametrize("reached", [77, 78])
def test_a_chain_that_ended_early_has_its_last_point_and_goes_on_after_it(
    project: Path, generations: list[Generation], reached: int
):
    study = begin(project)
    record_curve(study, generations[: reached + 1])
    close_study(study, "FAILED")
    assert steps_of(study, generations) == points_to(reached)
    study = begin(project)
    record_curve(study, generations)
    close_study(study, "FINISHED")
    assert steps_of(study, generations) == sorted({*points_to(120), reached})


def test_a_chain_without_runs_for_generations_has_its_curves(project: Path, generations: list[Generation]):
    study = begin(project)
    record_curve(study, generations, runs=False)
    close_study(study, "FINISHED")
    assert steps_of(study, generations) == points_to(120)
    assert runs(study, "generation") == []


def test_mlflow_gets_few_points_of_a_thousand_generations_and_metrics_parquet_all_numbers(project: Path):
    chains = [run(project, 1000, seed) for seed in (0, 1)]
    study = begin(project)
    recorder = make_recorder(study, project, [generations[0].chain for generations in chains], 1000)
    for generations in chains:
        recorder.watch([{"found": generations[:400]}, {"finished": generations[300:]}])
    recorder.outbox.flush()
    close_study(study, "FINISHED", metrics=recorder.metrics())
    for found in runs(study, "chain"):
        (seed,) = [one for one in (0, 1) if found.data.tags["recursion.seed"] == str(one)]
        for name, value in chains[seed][-1].metrics.items():
            steps = [one.step for one in study.tracking.client.get_metric_history(found.info.run_id, name)]
            assert steps == points_to(1000)
            assert found.data.metrics[name] == pytest.approx(value)
    assert len(points_to(1000)) < MOST_POINTS
    assert {found.data.tags["recursion.seed"] for found in runs(study, "generation")} == {"0"}
    place = study.tracking.client.download_artifacts(study.run_id, "metrics.parquet", str(project))
    table = pd.read_parquet(place)
    expected = [
        ("replace-20", seed, one.index, metric, value)
        for seed, generations in enumerate(chains)
        for one in generations
        for metric, value in one.metrics.items()
    ]
    assert list(table.itertuples(index=False, name=None)) == expected


def make_recorder(study: Study, project: Path, chains: list[Chain], last: int) -> Recorder:
    names = {each.identity: f"{each.condition} seed {each.seed}" for each in chains}
    progress = StudyProgress(names, {name: {(index, "measure"): 1.0 for index in range(last + 1)} for name in names})
    return Recorder(study, Store.open(str(project / "store")), progress, last)
