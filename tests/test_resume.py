"""A study killed at any moment and started again ends with the very numbers of one that ran through."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from components.families.language.deepspeed_engine import compiled_into
from pipelines.recursion import recursion
from tests.recorded import check_once
from tests.studies import PROJECT, SECONDS, Place, kill_tree, left_of, train_workers

pytestmark = pytest.mark.timeout(3 * SECONDS)

TWO = ("--generations", "1", "--conditions.no-real-data.epochs", "2", "--base.epochs", "0")
WITH_BASE = (*TWO, "--base.epochs", "1")
CHAIN = ("compose", "fit", "sample", "measure")


@pytest.fixture(scope="module")
def undisturbed(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = prepared.copy_to(tmp_path_factory.mktemp("undisturbed"))
    ended = place.run(*TWO)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert sorted(kind for kind, _ in place.computed()) == sorted(CHAIN * 2)
    return place


@pytest.mark.faults
@pytest.mark.timeout(6 * SECONDS)
def test_killed_during_fit_sample_and_measure_a_study_ends_with_the_same_numbers_and_repeats_nothing(
    prepared: Place, tmp_path: Path
):
    whole, place = (prepared.copy_to(tmp_path / name) for name in ("whole", "killed"))
    for phase in ("base", "fit", "sample", "measure"):
        place.kill_in(phase, *WITH_BASE)
    for each in (whole, place):
        ended = each.run(*WITH_BASE)
        assert ended.returncode == 0, ended.stderr[-2000:]
    assert sorted(place.computed()) == sorted(whole.computed())
    assert len(set(whole.computed())) == len(whole.computed()) == 9
    assert place.numbers().equals(whole.numbers())


def test_the_same_command_again_says_what_the_study_found_and_writes_nothing(
    undisturbed: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = undisturbed.computed()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", undisturbed.uri)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("components.cluster.connect", lambda _: pytest.fail("a cluster was started or joined"))
    client = MlflowClient(tracking_uri=undisturbed.uri)
    experiment = client.get_experiment_by_name("recursion")

    def studies() -> list[Run]:
        return client.search_runs([experiment.experiment_id], "tags.`recursion.kind` = 'study'")

    (study,) = studies()
    recursion(undisturbed.arguments(*TWO))
    assert undisturbed.computed() == before
    assert [run.info.run_id for run in studies()] == [study.info.run_id]
    said = capsys.readouterr().out
    for expected in ("nothing is to be computed", "Recursion: preset smoke", "has ended before", study.info.run_id):
        assert expected in said
    recursion(
        [*undisturbed.arguments(*TWO), "--tracking.models", "none"]
    )  # shows less: a study of its own, from the store
    assert undisturbed.computed() == before
    assert [run.info.status for run in studies()] == ["FINISHED"] * 2


@pytest.mark.slow
def test_a_longer_study_computes_only_the_generations_that_are_new(undisturbed: Place, prepared: Place, tmp_path: Path):
    place = prepared.copy_to(tmp_path).take(undisturbed, *CHAIN)
    ended = place.run(*TWO, "--generations", "2")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert tuple(kind for kind, _ in place.computed()) == CHAIN
    assert not set(place.computed()) & set(undisturbed.computed())
    shorter = undisturbed.numbers()
    assert place.numbers()[shorter.index].equals(shorter)


@pytest.mark.faults
def test_a_worker_that_is_killed_is_started_again_and_the_numbers_stay_the_same(
    undisturbed: Place, prepared: Place, tmp_path: Path
):
    place = prepared.copy_to(tmp_path)
    with place.start(*TWO) as study:
        place.wait_for("sample", study)
        (worker,) = train_workers(study)
        worker.kill()
        output, errors = study.communicate(timeout=SECONDS)
    assert study.returncode == 0, errors[-2000:]
    assert "a worker died" in output
    assert "continuing from the store" in output
    assert sorted(place.computed()) == sorted(undisturbed.computed())
    assert place.numbers().equals(undisturbed.numbers())


@pytest.mark.faults
@pytest.mark.parametrize("rank", [0, 1])
def test_of_two_workers_either_may_be_killed_and_the_numbers_stay_the_same(rank: int, prepared: Place, tmp_path: Path):
    arguments = (*TWO, "--train.workers", "2", "--train.precision", "fp32")
    whole, place = (prepared.copy_to(tmp_path / name) for name in ("whole", "killed"))
    with place.start(*arguments) as study:
        place.wait_for("fit", study)
        leading = next(path.name for path in (place.store / "unfinished").iterdir() if "~fit~" in path.name)
        workers = train_workers(study)
        assert len(workers) == 2
        (struck,) = [worker for worker in workers if (str(worker.pid) == leading.split("~")[1]) == (rank == 0)]
        struck.kill()
        output, errors = study.communicate(timeout=SECONDS)
    assert study.returncode == 0, errors[-2000:]
    assert "continuing from the store" in output
    ended = whole.run(*arguments)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert place.numbers().equals(whole.numbers())
    assert sorted(place.computed()) == sorted(whole.computed())
    check_once(place.uri, "recursion", chains=1, generations=2)


@pytest.mark.faults
def test_killed_while_a_generation_is_written_to_mlflow_a_study_writes_it_once(
    undisturbed: Place, prepared: Place, tmp_path: Path
):
    place = prepared.copy_to(tmp_path)
    with place.start(*TWO) as study, sqlite3.connect(place.uri.removeprefix("sqlite:///"), timeout=30) as database:
        begun = "select count(*) from tags where key = 'recursion.kind' and value = 'generation'"
        while not database.execute(begun).fetchone()[0]:
            assert study.poll() is None, study.communicate()[1][-2000:]
            time.sleep(0.005)
        kill_tree(study.pid)
    ended = place.run(*TWO)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert place.numbers().equals(undisturbed.numbers())
    assert sorted(place.computed()) == sorted(undisturbed.computed())
    check_once(place.uri, "recursion", chains=1, generations=2)


@pytest.mark.faults
def test_where_only_the_study_itself_is_killed_its_cluster_ends_too(prepared: Place, tmp_path: Path):
    place = prepared.copy_to(tmp_path)
    with place.start(*TWO) as study:
        place.wait_for("fit", study)
        study.kill()
        study.communicate(timeout=30)
        assert left_of(place) == []


@pytest.mark.slow
def test_of_two_identical_commands_at_once_one_works_and_the_other_says_so(prepared: Place, tmp_path: Path):
    place = prepared.copy_to(tmp_path)
    with place.start(*TWO) as one, place.start(*TWO) as other:
        errors = {study.communicate(timeout=SECONDS)[1]: study.returncode for study in (one, other)}
    assert sorted(errors.values()) == [0, 2], errors
    ((line,),) = [said.strip().splitlines() for said, code in errors.items() if code == 2]
    assert "this very study is running on it already" in line
    check_once(place.uri, "recursion", chains=1, generations=2)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A small file system on a folder."""
    folder.mkdir(exist_ok=True)
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", folder]).returncode
    ):
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"0" * 4096):
            pass
    return ballast


@pytest.mark.faults
def test_a_full_disk_for_artifacts_ends_the_study_in_one_line_and_with_space_the_same_command_writes_all(
    undisturbed: Place, prepared: Place, tmp_path: Path
):
    place = prepared.copy_to(tmp_path)
    artifacts = place.folder / "mlartifacts"
    with small_disk(artifacts, 100):
        ballast = fill(artifacts)
        ended = place.run(*TWO)
        assert ended.returncode == 1, ended.stdout + ended.stderr
        assert "No space left on device" in ended.stderr
        assert "the same command continues" in ended.stderr
        assert "Traceback" not in ended.stderr
        ballast.unlink()
        ended = place.run(*TWO)
        assert ended.returncode == 0, ended.stderr[-2000:]
        assert place.numbers().equals(undisturbed.numbers())
        check_once(place.uri, "recursion", chains=1, generations=2)


@pytest.mark.faults
def test_a_disk_that_fills_up_ends_the_study_in_one_line_and_with_space_the_same_command_ends_as_ever(
    undisturbed: Place, prepared: Place, tmp_path: Path
):
    with small_disk(tmp_path / "store", 8):
        place = prepared.copy_to(tmp_path)
        with place.start(*TWO) as study:
            place.wait_for("fit", study)
            ballast = fill(place.store)
            output, errors = study.communicate(timeout=SECONDS)
        assert study.returncode == 1, output + errors
        assert "No space left on device" in errors
        assert "the same command continues" in errors
        assert "Traceback" not in errors
        ballast.unlink()
        ended = place.run(*TWO)
        assert ended.returncode == 0, ended.stderr[-2000:]
        assert sorted(place.computed()) == sorted(undisturbed.computed())
        assert place.numbers().equals(undisturbed.numbers())


@pytest.mark.faults
def test_a_failed_guard_ends_its_chain_at_once_and_is_not_tried_again(prepared: Place, tmp_path: Path):
    place = prepared.copy_to(tmp_path)
    ended = place.run("--base.epochs", "0", "--train.learning_rate", "1e-30")
    assert ended.returncode == 1
    assert "the weights did not move" in ended.stderr
    assert "a worker died" not in ended.stdout
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("sent", [pytest.param(signal.SIGINT, marks=pytest.mark.faults), signal.SIGTERM])
def test_an_interrupted_study_stops_cleanly_says_how_to_go_on_and_leaves_no_process(
    sent: int, prepared: Place, tmp_path: Path
):
    """Ctrl-C; and SIGTERM, which `mlflow run`, schedulers and containers send."""
    place = prepared.copy_to(tmp_path)
    with place.start(*TWO) as study:
        place.wait_for("fit", study)
        study.send_signal(sent)
        _, errors = study.communicate(timeout=60)
        assert left_of(place) == []
    assert study.returncode == 130
    assert "The same command continues" in errors
    assert "Traceback" not in errors
    assert "SIGTERM received" not in errors  # Ray's own way to end prints a stack
    client = MlflowClient(tracking_uri=place.uri)
    (run,) = client.search_runs(
        [client.get_experiment_by_name("recursion").experiment_id], "tags.`recursion.kind` = 'study'"
    )
    assert run.info.status == "KILLED"


@pytest.mark.faults
def test_a_preset_that_was_changed_between_stop_and_start_says_what_differs_and_what_becomes_of_the_rest(
    prepared: Place, tmp_path: Path
):
    place = prepared.copy_to(tmp_path)
    place.kill_in("sample", *TWO)
    changed = place.run(*TWO, "--train.batch_size", "8")
    assert changed.returncode == 0, changed.stderr[-2000:]
    said = " ".join(changed.stdout.split())
    assert "stopped before its end, with other settings: train.batch_size is 8, was 16." in said
    assert "begin anew" in said
    again = place.run(*TWO, "--train.batch_size", "8")
    assert "with other settings" not in " ".join(again.stdout.split())


@pytest.mark.faults
@pytest.mark.faults
@pytest.mark.parametrize("times", [1, 2])
def test_where_rays_node_does_not_come_up_it_is_started_a_second_time_and_then_given_up_in_a_line(
    times: int, prepared: Place, tmp_path: Path
):
    """Its raylet hangs before it could say that it is there, as on a machine that is far too busy."""
    place, hung = prepared.copy_to(tmp_path), set()
    with place.start(pipeline="gaussian") as study:
        while study.poll() is None:
            for process in psutil.Process(study.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if len(hung) < times and process.pid not in hung and process.name() == "raylet":
                        process.suspend()
                        hung.add(process.pid)
            time.sleep(0.02)
        _, errors = study.communicate()
        assert left_of(place) == []
    assert len(hung) == times
    assert "Traceback" not in errors
    if times == 1:
        assert study.returncode == 0, errors
    else:
        assert study.returncode == 1
        (line,) = errors.strip().splitlines()
        assert line.startswith("Ray could not start within a minute")


def test_what_a_worker_killed_while_it_loaded_deepspeed_left_behind_holds_nobody_up():
    """torch's own guard of a compilation is a file that its holder takes out, if it lives."""
    (built,) = compiled_into().glob("deepspeed_shm_comm")
    (built / "lock").touch()
    command = [sys.executable, "-m", "components.families.language.deepspeed_engine"]
    loaded = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    assert not (built / "lock").exists()
