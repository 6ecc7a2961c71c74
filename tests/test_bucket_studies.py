"""Whole studies and sweeps whose store is a bucket: killed, continued elsewhere, and with the bucket away for a while."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.store import read_manifest
from components.store.bucket import Bucket
from tests.lines import Line, line
from tests.recorded import check_once
from tests.s3 import BUCKET, s3
from tests.studies import SECONDS, Place, left_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(5 * SECONDS)]

SHORT = ("--generations", "1", "--base.epochs", "0")
TRIALS = ("--trials", "2")


@dataclass(frozen=True)
class PlaceInBucket(Place):
    """A machine of its own: what it shares with others is the bucket."""

    path: str

    @property
    def store(self) -> Path:
        return self.folder / "cache" / Bucket.parse(self.path).folder_name

    def arguments(self, *arguments: str) -> list[str]:
        return ["--preset", "smoke", "--store.path", self.path, "--store.cache", str(self.folder / "cache"), *arguments]


def machine(prepared: Place, folder: Path, path: str) -> PlaceInBucket:
    folder.mkdir()
    shutil.copy(prepared.folder / "mlflow.db", folder / "mlflow.db")
    return PlaceInBucket(folder, path)


def of_chains(place: Place) -> list[tuple[str, str]]:
    """What was computed of the chains (the corpus a place may have been given)."""
    return [one for one in place.computed() if one[0] != "corpus"]


@pytest.fixture(scope="module")
def to_bucket() -> Iterator[Line]:
    """The line to a bucket of this file's own, which goes into the environment."""
    with s3() as server, line(int(server.url.rsplit(":", 1)[1])) as cable, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{cable.port}")
        yield cable


@pytest.fixture
def place(to_bucket: Line, prepared: Place, tmp_path: Path) -> PlaceInBucket:
    return machine(prepared, tmp_path / "machine", f"s3://{BUCKET}/{tmp_path.name}")


@pytest.fixture(scope="module")
def undisturbed(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """What the studies of this file end with, on one machine that has its store in a folder."""
    whole = prepared.copy_to(tmp_path_factory.mktemp("undisturbed"))
    ended = whole.run(*SHORT)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return whole


@pytest.mark.parametrize("phase", ["fit", "measure"])
def test_a_bucket_that_is_away_for_half_a_minute_is_waited_for(
    phase: str, to_bucket: Line, place: PlaceInBucket, undisturbed: Place
):
    with place.start(*SHORT) as study:
        place.wait_for(phase, study)
        to_bucket.cut()
        time.sleep(30)
        to_bucket.mend()
        output, errors = study.communicate(timeout=SECONDS)
    assert study.returncode == 0, output[-2000:] + errors[-2000:]
    assert place.numbers().equals(undisturbed.numbers())
    assert sorted(of_chains(place)) == sorted(of_chains(undisturbed))
    check_once(place.uri, "recursion", chains=1, generations=2)


def test_a_bucket_that_is_gone_for_good_ends_the_study_in_a_line_and_when_it_is_back_the_same_command_continues(
    to_bucket: Line, place: PlaceInBucket, undisturbed: Place
):
    with place.start(*SHORT, "--cluster.max_failures", "0") as study:
        place.wait_for("fit", study)
        to_bucket.cut()
        output, errors = study.communicate(timeout=3 * SECONDS)
    to_bucket.mend()
    assert study.returncode == 1, output + errors
    assert left_of(place) == []
    said = errors.strip().splitlines()
    assert any(f"{place.path}: could not " in line for line in said), errors
    assert said[-1].endswith("the same command continues from there."), errors
    assert "Traceback" not in errors
    ended = place.run(*SHORT)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert place.numbers().equals(undisturbed.numbers())


def test_a_study_killed_on_one_machine_is_continued_on_another_that_has_but_the_bucket(
    place: PlaceInBucket, undisturbed: Place, prepared: Place, tmp_path: Path
):
    place.kill_in("sample", *SHORT)
    other = machine(prepared, tmp_path / "other", place.path)
    ended = other.run(*SHORT)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert other.numbers().equals(undisturbed.numbers())
    assert not set(place.computed()) & set(other.computed())
    check_once(other.uri, "recursion", chains=1, generations=2)


def test_a_sweep_killed_on_one_machine_is_continued_on_another_that_has_but_the_bucket(
    place: PlaceInBucket, prepared: Place, tmp_path: Path
):
    whole = prepared.copy_to(tmp_path / "whole")
    place.kill_in("fit", *TRIALS, pipeline="sweep")
    other = machine(prepared, tmp_path / "other", place.path)
    for each in (other, whole):
        ended = each.run(*TRIALS, pipeline="sweep")
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
        assert left_of(each) == []
    assert other.numbers().equals(whole.numbers())
    assert not set(place.computed()) & set(other.computed())
    again = machine(prepared, tmp_path / "third", place.path)
    ended = again.run(*TRIALS, pipeline="sweep")
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    assert again.computed() == []


def written(place: Place) -> dict[str, str]:
    """The digest of every file of the chains' phases, by phase and name."""
    found = {}
    for kind in {kind for kind, _ in of_chains(place)}:
        for manifest in place.store.glob(f"{kind}/*/manifest.json"):
            files = read_manifest(manifest.parent)["files"]
            found |= {f"{kind} {manifest.parent.name} {name}": entry["sha256"] for name, entry in files.items()}
    return found


@pytest.mark.parametrize("family", ["gaussian", "discrete", "vae"])
def test_a_small_familys_study_in_a_bucket_writes_the_very_files_of_one_in_a_folder(
    family: str, place: PlaceInBucket, prepared: Place, tmp_path: Path
):
    folder = prepared.copy_to(tmp_path / "folder")
    for each in (place, folder):
        ended = each.run(pipeline=family)
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    assert written(place) == written(folder)
    assert written(place)
