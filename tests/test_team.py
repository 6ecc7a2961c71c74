"""MLflow as a team runs it (basic-auth, PostgreSQL, artifacts on S3): under load, and when parts of it die."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.tracking import write_studies
from components.config.settings import TrackingSettings
from components.tracking import connect
from tests.recorded import check_once, everything, make_chain, make_generation
from tests.services import Team, team
from tests.studies import SECONDS, Place, left_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(4 * SECONDS)]

CHAINS, GENERATIONS = 20, 2
SHORT = ("--generations", "2", "--base.epochs", "0", "--tracking.experiment")
SEEDS = {
    "server": "[1]",
    "database": "[2]",
    "gone": "[3]",
}  # of each test: a model once registered is not registered again


@pytest.fixture(scope="module")
def running() -> Iterator[Team]:
    with team() as it:
        yield it


@pytest.fixture
def place(running: Team, prepared: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in running.mlflow.environment.items():
        monkeypatch.setenv(name, value)
    return prepared.copy_to(tmp_path / "place")


def test_twenty_chains_that_are_written_at_once_lose_nothing_and_double_nothing(
    running: Team, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrated: Path
):
    write_studies(CHAINS, GENERATIONS, tmp_path / "load", model_folder, running.mlflow.environment)
    for name, value in running.mlflow.environment.items():
        monkeypatch.setenv(name, value)
    tracking = connect(TrackingSettings(models="full", experiment="load"), "recursion", tmp_path)
    seen = everything(tracking)
    assert len([key for key in seen if isinstance(key, tuple)]) == CHAINS * (1 + GENERATIONS)
    for number in range(CHAINS):
        chain = make_chain(f"condition-{number}", number)
        for index in range(GENERATIONS):
            expected = make_generation(tmp_path, chain, index, model_folder).metrics
            _, status, _, _, history, _, models, files = seen[(chain.identity, f"generation {index}")]  # type: ignore[misc]
            assert status == "FINISHED"
            assert {key: history[key] for key in expected} == {key: [(index, value)] for key, value in expected.items()}
            assert models == (min(index, 1), 1)
            assert {"samples.md", "synthetic.parquet", "scores.parquet"} <= set(files)
    assert any(name.startswith("mlflow/") for name in running.bucket.names())


@pytest.mark.parametrize("dies", ["server", "database"])
def test_while_mlflow_is_away_for_half_a_minute_a_study_goes_on_and_everything_is_written_once(
    dies: str, running: Team, place: Place, prepared: Place, tmp_path: Path
):
    part = running.mlflow if dies == "server" else running.postgres
    with place.start(*SHORT, dies, "--seeds", SEEDS[dies], environment=dict(os.environ)) as study:
        place.wait_for("fit", study)
        part.kill()
        time.sleep(30)
        part.start()
        output, errors = study.communicate(timeout=SECONDS)
    assert study.returncode == 0, output[-2000:] + errors[-2000:]
    check_once(running.mlflow.uri, dies, chains=1, generations=3)


def test_a_server_that_is_gone_for_good_costs_no_result_and_the_same_command_writes_it_all_to_the_next(
    running: Team, place: Place, prepared: Place, tmp_path: Path
):
    with place.start(*SHORT, "gone", "--seeds", SEEDS["gone"], environment=dict(os.environ)) as study:
        place.wait_for("fit", study)
        running.mlflow.kill()
        output, errors = study.communicate(timeout=2 * SECONDS)
    running.mlflow.start()
    assert study.returncode == 1, output + errors
    assert "MLflow did not answer" in errors
    assert "the same command writes them" in errors
    assert "Traceback" not in errors
    computed = place.computed()
    assert [kind for kind, _ in computed].count("measure") == 3
    with place.start(*SHORT, "gone", "--seeds", SEEDS["gone"], environment=dict(os.environ)) as study:
        output, errors = study.communicate(timeout=SECONDS)
    assert study.returncode == 0, output[-2000:] + errors[-2000:]
    assert place.computed() == computed
    check_once(running.mlflow.uri, "gone", chains=1, generations=3)
    assert left_of(place) == []


def test_passwords_and_tokens_are_nowhere_in_what_a_study_writes(running: Team, place: Place):
    """What it printed, its store, and what the server has of it."""
    with place.start(*SHORT, "secrets", "--generations", "0", environment=dict(os.environ)) as study:
        output, errors = study.communicate(timeout=SECONDS)
    assert study.returncode == 0, errors[-2000:]
    secret = running.mlflow.password.encode()
    assert secret not in (output + errors).encode()
    for file in place.store.rglob("*"):
        assert not file.is_file() or secret not in file.read_bytes(), file
    for name in running.bucket.names("mlflow/"):
        assert secret not in running.bucket.read(name), name


def test_a_wrong_password_is_one_line(running: Team, place: Place):
    wrong = os.environ | {"MLFLOW_TRACKING_PASSWORD": "not-the-password"}
    with place.start(*SHORT, "wrong", environment=wrong) as study:
        output, errors = study.communicate(timeout=SECONDS)
    assert study.returncode == 2, output + errors
    (line,) = errors.strip().splitlines()
    assert line.startswith("MLFLOW_TRACKING_URI = ")
    assert "not-the-password" not in line
