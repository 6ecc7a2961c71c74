"""A study killed at any moment and started again ends with the very numbers of one that ran through."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from tests.studies import SECONDS, Place, processes_of

TWO = ("--generations", "1", "--conditions.no-real-data.epochs", "2")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    ended = place.run(*TWO)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return place


@pytest.mark.faults
def test_killed_during_fit_sample_and_measure_a_study_ends_with_the_same_numbers_and_repeats_nothing(
    undisturbed: Place, tmp_path: Path
):
    place = Place(tmp_path)
    finished: dict[str, float] = {}
    for phase in ("base", "fit", "sample", "measure"):
        place.kill_in(phase, *TWO)
        assert processes_of(place) == []
        assert {name: place.phases().get(name) for name in finished} == finished  # none was computed again
        finished = place.phases()
    ended = place.run(*TWO)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert {name: place.phases()[name] for name in finished} == finished
    assert place.phases().keys() == undisturbed.phases().keys()
    assert place.numbers().equals(undisturbed.numbers())


def test_the_same_command_again_computes_nothing_and_needs_no_cluster(undisturbed: Place):
    before = undisturbed.phases()
    ended = undisturbed.run(*TWO)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert undisturbed.phases() == before


def test_a_longer_study_computes_only_the_generations_that_are_new(undisturbed: Place):
    before = undisturbed.phases()
    ended = undisturbed.run(*TWO, "--generations", "2")
    assert ended.returncode == 0, ended.stderr[-2000:]
    after = undisturbed.phases()
    assert {name: after[name] for name in before} == before
    assert sorted(name.split("/")[0] for name in after.keys() - before.keys()) == [
        "compose",
        "fit",
        "measure",
        "sample",
    ]


@pytest.mark.faults
def test_a_worker_that_is_killed_is_started_again_and_the_numbers_stay_the_same(undisturbed: Place, tmp_path: Path):
    place = Place(tmp_path)
    study = place.start(*TWO)
    place.wait_for("sample", study)
    (worker,) = [
        process for process in psutil.Process(study.pid).children(recursive=True) if "RayTrainWorker" in process.name()
    ]
    worker.kill()
    output, errors = study.communicate(timeout=SECONDS)
    assert study.returncode == 0, errors[-2000:]
    assert "a worker died" in output
    assert "continuing from the store" in output
    longer = undisturbed.numbers()
    assert place.numbers().equals(longer[longer.index.isin(place.numbers().index)])


@pytest.mark.faults
@pytest.mark.timeout(3 * SECONDS)
def test_a_disk_that_fills_up_ends_the_study_in_one_line_and_with_space_the_same_command_ends_as_ever(
    undisturbed: Place, tmp_path: Path
):
    place = Place(tmp_path)
    place.store.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place.store]).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        study = place.start(*TWO)
        place.wait_for("fit", study)
        ballast = place.store / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"0" * 4096):
                pass
        output, errors = study.communicate(timeout=SECONDS)
        assert study.returncode == 1, output + errors
        assert "No space left on device" in errors
        assert "the same command continues" in errors
        assert "Traceback" not in errors
        finished = place.phases()
        ballast.unlink()
        ended = place.run(*TWO)
        assert ended.returncode == 0, ended.stderr[-2000:]
        assert {name: place.phases()[name] for name in finished} == finished
        longer = undisturbed.numbers()
        assert place.numbers().equals(longer[longer.index.isin(place.numbers().index)])
    finally:
        subprocess.run(["umount", place.store], check=True)


def test_a_failed_guard_ends_its_chain_at_once_and_is_not_tried_again(tmp_path: Path):
    place = Place(tmp_path)
    ended = place.run("--train.learning_rate", "1e-30", "--train.final_learning_rate", "0")
    assert ended.returncode == 1
    assert "the weights did not move" in ended.stderr
    assert "a worker died" not in ended.stdout
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_stops_cleanly_says_how_to_go_on_and_leaves_no_process(sent: int, tmp_path: Path):
    """Ctrl-C; and SIGTERM, which `mlflow run`, schedulers and containers send."""
    place = Place(tmp_path)
    study = place.start(*TWO)
    place.wait_for("fit", study)
    study.send_signal(sent)
    _, errors = study.communicate(timeout=60)
    assert study.returncode == 130
    assert "The same command continues" in errors
    assert "Traceback" not in errors
    assert "SIGTERM received" not in errors  # Ray's own way to end prints a stack
    assert processes_of(place) == []
    client = MlflowClient(tracking_uri=place.uri)
    (run,) = client.search_runs(
        [client.get_experiment_by_name("recursion").experiment_id], "tags.`recursion.kind` = 'study'"
    )
    assert run.info.status == "KILLED"
