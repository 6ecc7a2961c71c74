"""The whole command, as a user gives it: `mlflow run . -e sweep` through real Optuna, Ray and MLflow."""

import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from pipelines.recursion import recursion
from pipelines.sweep import sweep
from tests.studies import SECONDS, Place, left_of

pytestmark = pytest.mark.timeout(2 * SECONDS)

TRIALS = 4
SETTINGS = ("--trials", str(TRIALS))


@pytest.fixture(scope="module")
def place(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return prepared.copy_to(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def output(place: Place) -> Iterator[str]:
    """What `mlflow run` printed: four trials of two seeds, one of which loses to two others in both objectives."""
    command = [sys.executable, "-m", "mlflow", "run", ".", "-e", "sweep", "--env-manager", "local"]
    settings = ["-P", "preset=smoke", "-P", f"store.path={place.store}", "-P", f"trials={TRIALS}"]
    with place.start(command=[*command, *settings]) as running:
        written, errors = running.communicate(timeout=SECONDS)
        assert running.returncode == 0, written[-1000:] + errors[-3000:]
        yield written


@pytest.fixture(scope="module")
def client(place: Place, output: str) -> MlflowClient:
    return MlflowClient(tracking_uri=place.uri)


def runs(client: MlflowClient, kind: str, parent: str | None = None) -> list:
    experiment = client.get_experiment_by_name("sweep")
    found = client.search_runs([experiment.experiment_id], f"tags.`recursion.kind` = '{kind}'", order_by=["start_time"])
    return [run for run in found if parent is None or run.data.tags["mlflow.parentRunId"] == parent]


def table(client: MlflowClient, run) -> pd.DataFrame:
    return pd.read_parquet(client.download_artifacts(run.info.run_id, "trials.parquet"))


def test_the_plan_comes_first_then_the_trials_the_table_the_answer_and_the_address(output):
    order = [
        f"Sweep language-smoke: {TRIALS} trials; each 2 seeds, generations 0-1; tpe, objectives collapse, cost",
        f"{TRIALS} trials to run: at most about ",
        "generation 1, test perplexity",
        "trial ┃",
        "95 % interval",
        "Intervals cover the seeds of this study only.",
        "Browse it with `make ui`: http",
    ]
    places = [output.index(text) for text in order]
    assert places == sorted(places)
    assert "also stands in the training text" not in output
    assert re.search(r"trial-0 \(real_fraction=0 epochs=\d\): generation 1, test perplexity [\d.]+, collapse", output)


def test_nothing_of_the_sweep_lives_on_after_it(place, output):
    assert left_of(place) == []


def test_trials_nest_under_the_sweep_chains_under_trials_and_generations_under_chains(client):
    (top,) = runs(client, "sweep")
    assert top.info.status == "FINISHED"
    trials = runs(client, "trial", top.info.run_id)
    assert sorted(int(trial.data.tags["recursion.trial"]) for trial in trials) == list(range(TRIALS))
    for trial in trials:
        assert trial.info.status == "FINISHED"
        assert trial.data.tags["recursion.state"] == "completed"
        chains = runs(client, "chain", trial.info.run_id)
        assert sorted(chain.data.tags["recursion.seed"] for chain in chains) == [
            "0",
            "1",
        ]  # the same seeds in every trial
        for chain in chains:
            below = runs(client, "generation", chain.info.run_id)
            assert sorted(one.data.tags["recursion.generation"] for one in below) == ["0", "1"]


def test_a_trial_holds_its_settings_and_its_numbers_by_generation(client):
    for trial in runs(client, "trial"):
        assert set(trial.data.params) == {"real_fraction", "epochs"}
        for metric in (
            "collapse",
            "cost",
            "seconds",
            "test/perplexity",
            "validation_collapse",
            "validation/perplexity",
        ):
            points = client.get_metric_history(trial.info.run_id, metric)
            assert [point.step for point in points] == [0, 1], metric
        chains = [client.get_run(chain.info.run_id) for chain in runs(client, "chain", trial.info.run_id)]
        for split, collapse in (("test", "collapse"), ("validation", "validation_collapse")):
            error = f"{split}/perplexity"
            ends = [chain.data.metrics[error] for chain in chains]
            assert trial.data.metrics[error] == pytest.approx(sum(ends) / 2)
            first = [client.get_metric_history(chain.info.run_id, error)[0].value for chain in chains]
            lost = [math.log(end / start) for start, end in zip(first, ends, strict=True)]
            assert trial.data.metrics[collapse] == pytest.approx(sum(lost) / 2)
        real = float(trial.data.params["real_fraction"])
        assert trial.data.metrics["cost"] == 16 * round(32 * real)  # tokens a block, blocks


def test_the_sweep_holds_its_settings_tables_figures_and_report(client):
    (top,) = runs(client, "sweep")
    paths = {item.path for item in client.list_artifacts(top.info.run_id)}
    assert {"config.yaml", "trials.parquet", "generations.parquet", "figures", "report.html"} <= paths
    trials = table(client, top)
    assert trials["trial"].tolist() == list(range(TRIALS))
    assert trials["real_fraction"].tolist()[:2] == [0.0, 0.1]  # the paper's two settings first
    figures = {item.path for item in client.list_artifacts(top.info.run_id, "figures")}
    for name in ("by_generation", "curve", "contour", "pareto", "history"):
        assert {f"figures/sweep_{name}.png", f"figures/sweep_{name}.html"} <= figures
    assert {f"answer/gain_of_a_tenth{end}" for end in ("", "_low", "_high")} <= set(top.data.metrics)


def test_the_page_made_again_of_what_the_sweep_left_is_the_same_to_the_last_byte(client, place):
    (top,) = runs(client, "sweep")
    before = Path(client.download_artifacts(top.info.run_id, "report.html")).read_bytes()
    command = [sys.executable, "-m", "mlflow", "run", ".", "-e", "report", "--env-manager", "local"]
    asked = ["-P", f"studies={top.info.run_name}", "-P", f"output={place.folder / 'again.html'}"]
    with place.start(command=[*command, *asked]) as page:
        written, errors = page.communicate(timeout=SECONDS)
    assert page.returncode == 0, errors[-2000:]
    assert "again.html: " in written
    assert (place.folder / "again.html").read_bytes() == before
    assert Path(client.download_artifacts(top.info.run_id, "report.html")).read_bytes() == before


def test_the_best_trial_is_tagged_and_its_models_bear_the_alias(client):
    (top,) = runs(client, "sweep")
    trials = table(client, top)
    tagged = [
        int(run.data.tags["recursion.trial"]) for run in runs(client, "trial") if "recursion.best" in run.data.tags
    ]
    assert tagged == trials[trials["best"]]["trial"].tolist()
    assert len(tagged) == 1
    (best,) = [run for run in runs(client, "trial") if "recursion.best" in run.data.tags]
    bearers = {}
    for model in client.search_registered_models():
        if "best" in model.aliases:
            version = client.get_model_version_by_alias(model.name, "best")
            bearers[model.tags["recursion.chain"]] = version.tags["generation"]
    chains = [chain.data.tags["recursion.chain"] for chain in runs(client, "chain", best.info.run_id)]
    assert bearers == dict.fromkeys(chains, "1")
    fronted = {
        int(run.data.tags["recursion.trial"]) for run in runs(client, "trial") if "recursion.pareto" in run.data.tags
    }
    assert fronted == set(trials[trials["pareto"]]["trial"])


def test_every_phase_is_computed_once_and_what_trials_share_for_both(place, output):
    computed = place.computed()
    assert len(set(computed)) == len(computed)
    kinds = [kind for kind, _ in computed]
    assert kinds.count("base") == 1
    epochs = pd.read_parquet(next((place.folder / "mlartifacts").rglob("trials.parquet")))["epochs"].nunique()
    assert kinds.count("fit") == 2 * (epochs + TRIALS)  # generation 0 once for each number of epochs


def test_a_trial_that_was_computed_before_costs_nothing(place, client, monkeypatch):
    """By an earlier sweep, or by a study: no cluster is started for it, nor for a study of a trial's condition."""
    before = place.computed()
    trials = table(client, runs(client, "sweep")[0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.uri)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("components.cluster.connect", lambda _: pytest.fail("a cluster was started or joined"))
    grid = ("--name", "again", "--sampler", "grid", "--search.real_fraction", "choice(0)")
    points = {real: trials[trials["real_fraction"] == real]["epochs"].iloc[0] for real in (0.0, 0.1)}
    sweep(place.arguments(*grid, "--search.epochs", f"choice({points[0.0]})"))
    kept = ("--conditions.no-real-data.real_fraction", "0.1", "--conditions.no-real-data.epochs", str(points[0.1]))
    recursion(place.arguments("--seeds", "2", *kept))
    assert place.computed() == before
    again = next(run for run in runs(client, "sweep") if "again" in run.info.run_name)
    found = table(client, again)
    assert (found["found"] == 2).all()  # both generations
    first = trials[trials["trial"] == 0]
    assert found["collapse"].tolist() == first["collapse"].tolist()


@pytest.mark.slow
def test_more_trials_later_run_only_those_that_are_new(place, client):
    before = place.computed()
    ended = place.run("--trials", str(TRIALS + 1), pipeline="sweep")
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"{TRIALS + 1} trials, {TRIALS} of them begun earlier" in ended.stdout
    assert {line.split()[0] for line in ended.stdout.splitlines() if re.match(r"trial-\d+ \(", line)} == {
        f"trial-{TRIALS}"
    }
    new = place.computed()[len(before) :]
    assert not set(new) & set(before)
    assert [kind for kind, _ in new].count("fit") in (2, 4)  # generation 0 may be another trial's
    newest = runs(client, "sweep")[-1]
    assert len(runs(client, "trial", newest.info.run_id)) == TRIALS + 1  # all of the sweep, under its newest run
    assert len(table(client, newest)) == TRIALS + 1


@pytest.mark.slow
def test_a_trial_that_diverges_is_an_answer_and_the_others_go_on(place, client):
    """At a learning rate of 10 a model is worse than the one it started from: its group serves the next trial."""
    rates = (
        "--search.learning_rate",
        "choice(10.0,0.001)",
        "--search.real_fraction",
        "None",
        "--search.epochs",
        "None",
    )
    grid = ("--name", "diverging", "--sampler", "grid", "--seeds", "1", "--condition.epochs", "1")
    ended = place.run(*grid, *rates, "--cluster.concurrent_chains", "1", pipeline="sweep")
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert re.search(r"trial-0: diverged \(.*\); its collapse counts as infinite", ended.stdout)
    assert "Traceback" not in ended.stderr
    assert "a worker died" not in ended.stdout
    trials = table(client, next(run for run in runs(client, "sweep") if "diverging" in run.info.run_name))
    assert trials["state"].tolist() == ["completed", "completed"]
    assert trials["collapse"].tolist()[0] == trials["validation_collapse"].tolist()[0] == math.inf
    assert math.isfinite(trials["collapse"].tolist()[1])
    assert trials["best"].tolist() == [False, True]


def test_another_search_space_under_the_same_name_is_refused_with_what_differs(place, output):
    ended = place.run("--search.epochs", "randint(1,3)", pipeline="sweep")
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("search.epochs = randint(1,3): the sweep language-smoke in this store was begun with")


@pytest.mark.faults
@pytest.mark.parametrize("phase", ["fit", "sample"])
def test_killed_and_started_again_a_sweep_ends_with_the_numbers_of_one_that_ran_through(
    phase: str, place: Place, output: str, prepared: Place, tmp_path: Path
):
    """SIGKILL of everything: Tune, its trials, the groups' workers."""
    killed = prepared.copy_to(tmp_path).take(place, "base")
    killed.kill_in(phase, *SETTINGS, pipeline="sweep")
    ended = killed.run(*SETTINGS, pipeline="sweep")
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert left_of(killed) == []
    computed = killed.computed()
    assert len(set(computed)) == len(computed)
    client = MlflowClient(tracking_uri=killed.uri)
    newest = runs(client, "sweep")[-1]
    trials = runs(client, "trial", newest.info.run_id)
    assert sorted(int(trial.data.tags["recursion.trial"]) for trial in trials) == list(range(TRIALS))
    assert len(runs(client, "trial")) == TRIALS
    for trial in trials:
        assert [point.step for point in client.get_metric_history(trial.info.run_id, "collapse")] == [0, 1]
    numbers, whole = killed.numbers(), place.numbers()
    assert numbers.equals(whole[whole.index.isin(numbers.index)])
    assert len(numbers) > 0
