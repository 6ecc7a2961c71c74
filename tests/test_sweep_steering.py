"""A sweep is steered, pruned and its best chosen on the validation split, and reports the test split.

Real chains, whose two errors are made to disagree: the more a Gaussian's Wasserstein distance grows, the more its deviation
shrinks, so what is best by the one is worst by the other.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from components.config import sweep as settings
from components.measures.risk import RISKS
from components.recursion.loop import make_chain, run_chain
from components.recursion.peers import Peers
from components.recursion.worker import ChainWork
from components.regimes import Regime
from components.store import Store
from components.sweep import books, curve, objectives
from components.sweep.trial import TrialWork
from pipelines.sweep import sweep
from pipelines.sweep_families import runs_of
from tests.families import RECIPE, language
from tests.studies import SECONDS, Place

pytestmark = pytest.mark.timeout(SECONDS)

FRACTIONS = (0.0, 0.1, 0.5)
TEST, VALIDATION = "wasserstein2_squared/mean", "deviation/mean"
GRID = (
    *("--family", "gaussian", "--sampler", "grid", "--search.sample_size", "None"),
    *("--search.real_fraction", f"choice({','.join(map(str, FRACTIONS))})", "--condition.sample_size", "60"),
    *("--chains", "4000"),
)


@pytest.fixture
def place(prepared: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where the grid's chains are computed already: what is left of a sweep runs in this process."""
    place = prepared.copy_to(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.uri)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    chosen, store = settings.load(place.arguments(*GRID)), Store.open(str(place.store))
    runs = runs_of(chosen, store)
    for fraction in FRACTIONS:
        for one in runs.chains(chosen.with_conditions({"chain": {"real_fraction": fraction}})):
            list(run_chain(one.chain, one.family, store, one.generations))
    monkeypatch.setattr("components.cluster.connect", lambda _: pytest.fail("a cluster was started or joined"))
    monkeypatch.setitem(RISKS, "gaussian", replace(RISKS["gaussian"], validation=VALIDATION))
    return place


def swept(place: Place, name: str, *arguments: str) -> tuple[MlflowClient, Any, pd.DataFrame]:
    """A sweep's run in MLflow and its trials.parquet."""
    sweep(place.arguments(*GRID, "--name", name, *arguments))
    client = MlflowClient(tracking_uri=place.uri)
    experiment = client.get_experiment_by_name("sweep")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`recursion.kind` = 'sweep'", max_results=1)
    return client, run, pd.read_parquet(client.download_artifacts(run.info.run_id, "trials.parquet"))


def trials_in(client: MlflowClient, run: Any) -> Mapping[int, Any]:
    found = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    return {int(one.data.tags["recursion.trial"]): one for one in found}


def test_the_best_the_front_and_optunas_values_follow_validation_and_the_table_shows_test(place: Place):
    client, run, trials = swept(place, "whole", "--pruning", "None", "--objectives", "collapse")
    assert trials["real_fraction"].tolist() == list(FRACTIONS)
    assert trials["collapse"].is_monotonic_decreasing
    assert trials["validation_collapse"].is_monotonic_increasing
    assert trials["best"].tolist() == [True, False, False]  # the worst on the test split
    folder = place.store / "sweeps" / "whole"
    study = books.open_books(folder, "grid", 0, ["collapse"], []).study
    assert [trial.value for trial in study.get_trials()] == trials["validation_collapse"].tolist()
    tables = client.download_artifacts(run.info.run_id, "generations.parquet")
    paths = pd.read_parquet(tables)
    ends = paths[paths["generation"] == 12]
    np.testing.assert_allclose(ends.groupby("trial")["value"].mean(), trials["error"])
    np.testing.assert_allclose(ends.groupby("trial")["collapse"].mean(), trials["collapse"])
    for number, trial in trials_in(client, run).items():
        metrics, row = trial.data.metrics, trials.loc[number]
        assert metrics["collapse"] == pytest.approx(row["collapse"])
        assert metrics[TEST] == pytest.approx(row["error"])
        assert metrics["validation_collapse"] == pytest.approx(row["validation_collapse"])
        assert metrics[VALIDATION] == pytest.approx(row["validation_error"])
        assert ("recursion.best" in trial.data.tags) == row["best"]
    fitted = curve.fit(ends.merge(trials[["trial", "real_fraction"]], on="trial"))
    assert run.data.metrics["answer/collapse_without_real_data"] == pytest.approx(fitted.without_real_data().value)
    page = Path(client.download_artifacts(run.info.run_id, "report.html")).read_text("utf-8")
    assert "chosen by collapse on the validation split" in page
    assert "The best is trial 0: the least validation collapse." in page


def test_pruning_follows_validation(place: Place):
    """By the test split, trial 0 is the worst at every rung, and those after it would all go on."""
    _, _, trials = swept(place, "pruned", "--objectives", "collapse")
    assert trials["state"].tolist() == ["completed", "pruned", "pruned"]
    assert trials["best"].tolist() == [True, False, False]


def test_the_best_under_the_threshold_is_under_it_on_the_validation_split(place: Place):
    """All collapses on the validation split are below 0, so the cheapest of all is the best, far above 0.1 on the test split."""
    _, _, trials = swept(place, "threshold", "--pruning", "None", "--objectives", "cost,collapse")
    best = trials[trials["best"]]
    assert best["trial"].tolist() == [0]
    assert best["validation_collapse"].item() < 0.1 < best["collapse"].item()
    assert best["cost"].item() == trials["cost"].min()
    assert trials[trials["pareto"]]["trial"].tolist() == [0]  # the least of both


def test_where_the_risk_is_exact_both_are_the_same_and_the_page_says_so(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(RISKS, "gaussian", replace(RISKS["gaussian"], validation=None))
    client, run, trials = swept(place, "exact", "--pruning", "None", "--objectives", "collapse")
    assert trials["validation_collapse"].tolist() == trials["collapse"].tolist()
    assert trials["best"].tolist() == [False, False, True]
    assert all("validation_collapse" not in one.data.metrics for one in trials_in(client, run).values())
    page = Path(client.download_artifacts(run.info.run_id, "report.html")).read_text("utf-8")
    assert "The squared Wasserstein-2 distance is exact" in page


def test_a_trial_in_which_a_model_diverges_reports_a_collapse_without_bound(tmp_path: Path):
    """At a learning rate of 10 generation 0 is far worse than its start."""
    store, family = Store.open(str(tmp_path / "store")), language(tmp_path)
    family = replace(family, recipe=replace(RECIPE, learning_rate=10.0))
    chain = make_chain(family, "a condition", Regime("replace"), "scratch", 0)
    work = TrialWork("trial-0", [ChainWork(chain, family, store, 2)], range(3), 16)
    (report,) = work(Peers(), lambda message: None)
    assert (report["generation"], report["collapse"], report["validation_collapse"]) == (2, math.inf, math.inf)
    assert objectives.errors(report) == objectives.errors(report, objectives.VALIDATION) == {0: math.inf}
    assert "generation 0 is no better than its start" in report["diverged"]
