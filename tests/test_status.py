"""`mlflow run . -e status`: how far a study is that runs elsewhere, out of the store alone."""

import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from components.store import Heartbeat, Store, heartbeat, is_running, read_heartbeats
from components.terminal import Row, Snapshot
from pipelines.status import status
from pipelines.study import run_command
from tests.studies import SECONDS, Place, kill_tree

SAID = Snapshot([Row("a seed 0", "a", 1, 3, "generation 2 · fit 40 %", 12.0)], 24.0, False)
ABOUT = {"entry_point": "vae", "preset": "smoke"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def read(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    status(arguments)
    return capsys.readouterr().out


def rows(output: str) -> dict[str, list[str]]:
    """The cells of each chain's row, by its name."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]
    return {name: rest for name, *rest in cells}


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.timeout(2 * SECONDS)
def test_a_real_study_is_told_while_it_runs_and_after_it_was_killed(
    tmp_path: Path, migrated: Path, capsys: pytest.CaptureFixture[str]
):
    place = Place(tmp_path)
    shutil.copy(migrated, tmp_path / "mlflow.db")
    slow = ["--train.epochs", "10", "--generations", "60", "--cluster.concurrent_chains", "1"]
    look = ("--store.path", str(place.store))
    with place.start(*slow, pipeline="vae") as study:
        wait(lambda: list(place.store.glob("chains/*/generation-000.json")))
        wait(lambda: re.search(r"generation [1-9]\d* · ", str(read_heartbeats(Store(place.store)))))
        assert study.poll() is None
        running = read(capsys, *look)
        kill_tree(study.pid)
        study.wait()
    killed = read(capsys, *look)
    assert re.search(r"^vae-smoke-[0-9a-f]{8} runs on .*; about \d+ (s|min) left", running)
    finished, now, left = rows(running)["no-real-data seed 0"]
    assert re.fullmatch(r"[1-9]\d* of 61", finished)
    assert re.match(r"generation [1-9]", now)
    assert re.fullmatch(r"about \d+ (s|min) left", left)
    assert rows(running)["keep-half seed 0"] == ["0 of 61", "waits", ""]
    assert re.search(r"^vae-smoke-[0-9a-f]{8} was killed", killed)
    assert rows(killed)["no-real-data seed 0"][1].startswith("not at its end: generation ")


def test_what_ended_says_how(store: Store, capsys: pytest.CaptureFixture[str]):
    ends = {"finished": None, "failed": RuntimeError("a\ntoo little room"), "stopped": KeyboardInterrupt()}
    for name, error in ends.items():
        try:
            with Heartbeat(store, name, ABOUT) as beating:
                beating.tell(SAID.to_json())
                if error:
                    raise error
        except (RuntimeError, KeyboardInterrupt):
            pass
    output = read(capsys, "--store.path", str(store.root))
    assert re.search(r"^stopped was stopped \(begun on .*\): the same command continues it$", output, re.MULTILINE)
    assert re.search(r"^finished is finished \(begun on ", output, re.MULTILINE)
    assert re.search(r"^failed failed: too little room \(begun on ", output, re.MULTILINE)
    assert rows(output)["a seed 0"] == ["2 of 4", "not at its end: generation 2 · fit 40 %", "about 12 s left"]
    assert [told.study for told in read_heartbeats(store)] == list(ends)
    assert [told.progress for told in read_heartbeats(store)] == [SAID.to_json()] * 3


def elsewhere(store: Store, beat: int) -> None:
    """What a study on another machine leaves in the folder that both share."""
    content = {"about": ABOUT, "owner": "another~1~1.0~study~abc", "started": "2026-11-26T10:00:00+00:00"}
    content |= {"beat": beat, "state": "running", "error": "", "progress": SAID.to_json()}
    store.write_json("progress/there.json", content)


def test_a_study_on_another_machine_runs_as_long_as_its_beats_come(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heartbeat, "SECONDS_TO_LOOK", 2)
    elsewhere(store, 1)
    (told,) = read_heartbeats(store)
    assert not is_running(store, told)
    elsewhere(store, 2)
    assert is_running(store, told)
    began = time.monotonic()
    assert not is_running(store, replace(told, beat=2, age=3600.0))  # an hour ago is not waited for
    assert time.monotonic() - began < 1


def test_a_beat_comes_every_few_seconds_and_a_store_without_room_costs_the_study_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(heartbeat, "SECONDS_BETWEEN_BEATS", 0.05)
    with Heartbeat(store, "here", ABOUT) as beating:
        wait(lambda: read_heartbeats(store)[0].beat > 2)
        beating.tell(SAID.to_json())
        wait(lambda: read_heartbeats(store)[0].progress)
        assert is_running(store, read_heartbeats(store)[0])

        def full(self: Store, name: str, content: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "write_json", full)
            wait(lambda: caplog.messages)
            time.sleep(0.3)
    assert [message.rpartition(": ")[2] for message in caplog.messages] == ["[Errno 28] No space left on device"]
    assert read_heartbeats(store)[0].state == "finished"


def test_looking_writes_nothing_and_makes_no_store(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with Heartbeat(store, "here", ABOUT) as beating:
        beating.tell(SAID.to_json())
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    read(capsys, "--store.path", str(store.root))
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before


def test_a_study_is_asked_for_by_the_beginning_of_its_name(store: Store, capsys: pytest.CaptureFixture[str]):
    for name in ("vae-smoke-1", "vae-smoke-2", "gaussian-smoke-1"):
        with Heartbeat(store, name, ABOUT) as beating:
            beating.tell(SAID.to_json())
    output = read(capsys, "--store.path", str(store.root), "--name", "vae")
    assert re.findall(r"^(\S+) is finished", output, re.MULTILINE) == ["vae-smoke-1", "vae-smoke-2"]


def test_following_ends_when_nothing_runs(store: Store, capsys: pytest.CaptureFixture[str]):
    with Heartbeat(store, "here", ABOUT) as beating:
        beating.tell(SAID.to_json())
    assert "here is finished" in read(capsys, "--store.path", str(store.root), "--follow", "true")


def test_a_store_on_which_nothing_has_run_says_so(store: Store, capsys: pytest.CaptureFixture[str]):
    assert read(capsys, "--store.path", str(store.root)) == "No study has run on this store yet.\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--store.path", "nowhere"], r"store\.path = nowhere: no store is there; "),
        (["--store.path", str(Path(__file__).parent)], r"store\.path = .*tests: no store is there; "),
        (["--store.path", "s3://"], r"store\.path = s3://: a store is a folder or s3://bucket/prefix"),
        (["--store.path", "{store}", "--name", "vae"], r"name = vae: no such study on this store; there are here"),
        (["--store.path", "{store}", "--follow", "often"], r"follow = often: "),
        (["--preset", "smoke"], r"preset = smoke: no such setting; there are store, name, follow"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: list[str], line: str, store: Store, capsys: pytest.CaptureFixture[str]
):
    with Heartbeat(store, "here", ABOUT):
        pass
    with pytest.raises(SystemExit) as ended:
        run_command(status, [argument.format(store=store.root) for argument in arguments])
    assert ended.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert re.match(line, said), said


def test_what_is_told_is_plain_json(store: Store):
    with Heartbeat(store, "here", ABOUT) as beating:
        beating.tell(SAID.to_json())
    content = json.loads((store.root / "progress" / "here.json").read_text("utf-8"))
    assert Snapshot.from_json(content["progress"]) == SAID
