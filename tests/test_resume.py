"""A study killed at any moment and started again ends with the very numbers of one that ran through."""

from pathlib import Path

import pytest

from tests.studies import Place, ray_processes

TWO = ("--generations", "1", "--conditions.no-real-data.epochs", "2")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    ended = place.run(*TWO)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return place


def test_killed_during_fit_sample_and_measure_a_study_ends_with_the_same_numbers_and_repeats_nothing(
    undisturbed: Place, tmp_path: Path
):
    place = Place(tmp_path)
    finished: dict[str, float] = {}
    for phase in ("base", "fit", "sample", "measure"):
        place.kill_in(phase, *TWO)
        assert ray_processes(place) == []
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
