"""The same entry point sweeps the other families: pruned, resumed, with one objective and with several."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from components.config.small_families import GaussianCondition
from components.families.gaussian import theory
from pipelines.outbox import Outbox
from pipelines.sweep import sweep
from tests.studies import SECONDS, Place

pytestmark = pytest.mark.timeout(SECONDS)

GAUSSIAN = ("--family", "gaussian")


@pytest.fixture
def place(prepared: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = prepared.copy_to(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.uri)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    return place


def written(client: MlflowClient) -> dict[str, Any]:
    """All that MLflow holds of trials and their chains: state, parameters, points of every metric."""
    (experiment,) = [one for one in client.search_experiments() if one.name == "sweep"]
    everything = client.search_runs([experiment.experiment_id])
    runs = [run for run in everything if run.data.tags["recursion.kind"] in ("trial", "chain")]
    names = {run.info.run_id: run.data.tags.get("recursion.trial") for run in runs}
    found = {}
    for run in runs:
        owner = names[run.info.run_id] or names[run.data.tags["mlflow.parentRunId"]]
        key = f"trial {owner} {run.data.tags['recursion.kind']} {run.data.tags.get('recursion.seed', '')}"
        points = {
            name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        assert key not in found
        found[key] = (run.info.status, run.data.tags.get("recursion.state"), run.data.params, points)
    return found


def stop(outbox: Outbox) -> None:
    raise KeyboardInterrupt


def trials_of(place: Place) -> pd.DataFrame:
    """Of the newest sweep."""
    files = sorted(
        (place.folder / "mlartifacts" / "sweep").rglob("trials.parquet"), key=lambda file: file.stat().st_mtime
    )
    return pd.read_parquet(files[-1])


def test_gaussians_are_swept_and_the_hopeless_are_pruned_and_stay_in_the_store(place: Place):
    """A grid without real data and with, by one objective: the trials that keep less than others are stopped."""
    fractions = [0.5, 0.25, 0.1, 0.05, 0.0]
    search = f"choice({','.join(map(str, fractions))})"
    arguments = [*GAUSSIAN, "--sampler", "grid", "--objectives", "collapse", "--search.sample_size", "None"]
    sweep(place.arguments(*arguments, "--search.real_fraction", search, "--cluster.concurrent_chains", "1"))
    trials = trials_of(place)
    assert trials["real_fraction"].tolist() == fractions
    pruned = trials[trials["state"] == "pruned"]
    assert set(pruned["generation"]) <= {1, 2, 4, 8}
    assert 0 in pruned["trial"].tolist() or 4 in pruned["trial"].tolist()
    assert trials[trials["best"]]["real_fraction"].tolist() == [0.5]
    assert trials[trials["state"] == "completed"]["generation"].unique().tolist() == [12]
    client = MlflowClient(tracking_uri=place.uri)
    (experiment,) = [one for one in client.search_experiments() if one.name == "sweep"]
    tag = "tags.`recursion.kind` = 'trial' and tags.`recursion.state` = 'pruned'"
    found = client.search_runs([experiment.experiment_id], tag)
    assert sorted(int(run.data.tags["recursion.trial"]) for run in found) == pruned["trial"].tolist()
    chains = client.search_runs([experiment.experiment_id], "tags.`recursion.kind` = 'chain'")
    assert [chain.info.status for chain in chains] == ["FINISHED"] * 10  # those of pruned trials too
    # What they computed is in the store: each of their chains, to the generation at which they were stopped.
    kept = sorted((place.store / "trajectory").glob("*/metrics.parquet"))
    lengths = sorted(len(pd.read_parquet(file)) for file in kept)
    assert lengths == sorted(int(generation) + 1 for generation in trials["generation"] for _ in range(2))


@pytest.mark.slow
def test_the_curve_of_gaussians_over_the_sample_size_is_the_theorys(place: Place):
    """E[W2^2] grows by a factor of sum(1/M_i) / (1/M_0): the same for every size, so collapse is log of n + 1."""
    arguments = [*GAUSSIAN, "--pruning", "None", "--chains", "4000", "--trials", "3", "--sampler", "random"]
    sweep(place.arguments(*arguments))
    trials = trials_of(place)
    assert (trials["state"] == "completed").all()
    risks = [theory.wasserstein2_squared(np.full(13, size)) for size in trials["sample_size"]]
    expected = [np.log(risk[-1] / risk[0]) for risk in risks]
    assert trials["collapse"].to_numpy() == pytest.approx(expected, abs=0.15)


@pytest.mark.slow
def test_two_objectives_have_a_front_and_a_regime_decides_whether_a_fraction_is_asked_for(place: Place):
    search = ("--search.regime", "choice(replace,accumulate)", "--search.real_fraction", "uniform(0,1)")
    arguments = [
        *GAUSSIAN,
        *search,
        "--search.sample_size",
        "None",
        "--trials",
        "8",
        "--pruning",
        "None",
        "--seeds",
        "1",
    ]
    sweep(place.arguments(*arguments))
    trials = trials_of(place)
    assert set(trials["regime"]) == {"replace", "accumulate"}
    assert (trials["real_fraction"].isna() == (trials["regime"] == "accumulate")).all()
    values = trials[["collapse", "cost"]].to_numpy()
    beaten = [((values <= one).all(axis=1) & (values < one).any(axis=1)).any() for one in values]
    assert trials["pareto"].tolist() == [not each for each in beaten]
    assert trials["pareto"].sum() >= 2


@pytest.mark.slow
def test_what_mlflow_did_not_come_to_hear_of_ended_trials_is_written_by_the_next_start(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Writes wait in line while trials go on: here all are lost with the line, after the last trial has ended."""
    arguments = place.arguments(*GAUSSIAN, "--objectives", "collapse", "--search.real_fraction", "uniform(0,1)")
    with pytest.MonkeyPatch.context() as lost:
        lost.setattr(Outbox, "write", lambda self, **_: None)
        lost.setattr(Outbox, "flush", stop)
        with pytest.raises(KeyboardInterrupt):
            sweep(arguments)
    client = MlflowClient(tracking_uri=place.uri)
    assert written(client) == {}
    monkeypatch.setattr("components.cluster.connect", lambda _: pytest.fail("a cluster was started"))
    sweep(arguments)
    again = written(client)
    assert "4 trials that ended earlier are not in MLflow yet" in capsys.readouterr().out
    sweep(arguments)
    assert written(client) == again  # and nothing twice
    assert len(again) == 4 * (1 + 2)
    assert not any("seconds" in points for _, _, _, points in again.values())  # of chains that are not timed
    assert {state for _, state, _, _ in again.values()} >= {"completed"}
    assert {status for status, _, _, _ in again.values()} == {"FINISHED"}
    trials = trials_of(place)
    for row in trials.itertuples():
        assert again[f"trial {row.trial} trial "][3]["collapse"][-1] == (row.generation, row.collapse)


@pytest.mark.slow
def test_the_cost_of_a_growing_gaussian_is_the_real_rows_it_was_trained_on(place: Place):
    """Accumulating: the pool holds the real rows once, however it grows; growth 0 and 1 cost the same."""
    growth = ("--search.growth", "choice(0,1)", "--search.sample_size", "None", "--condition.regime", "accumulate")
    sweep(place.arguments(*GAUSSIAN, "--sampler", "grid", "--pruning", "None", *growth))
    trials = trials_of(place)
    size = GaussianCondition().sample_size
    assert trials["cost"].tolist() == [12 * size, 12 * size]
