"""The store: whole phases or none, found again by what determined them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from components.config.errors import BadInput
from components.store import Store, identity, read_manifest
from tests.journal import computed


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def put(store: Store, inputs: dict, content: str = "content") -> Path:
    folder = store.begin("fit")
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_text(content)
    return store.finish("fit", inputs, folder, {"loss": 1.5}, 2.0).place


def test_a_finished_phase_is_found_by_its_inputs_with_its_numbers(store):
    directory = put(store, {"seed": 1, "rate": 0.1})
    found = store.find("fit", {"rate": 0.1, "seed": 1})
    assert found is not None
    assert (found.place, found.metrics, found.seconds) == (directory, {"loss": 1.5}, 2.0)
    assert (found.place / "model" / "weights").read_text() == "content"


def test_other_inputs_or_another_kind_find_nothing(store):
    put(store, {"seed": 1})
    assert store.find("fit", {"seed": 2}) is None
    assert store.find("sample", {"seed": 1}) is None


def test_the_manifest_says_what_determined_the_phase_and_what_is_in_it(store):
    manifest = read_manifest(put(store, {"seed": 1}))
    assert manifest["inputs"] == {"seed": 1}
    assert manifest["files"]["model/weights"]["bytes"] == len("content")
    assert manifest["identity"] == identity("fit", {"seed": 1})


def test_an_identity_depends_on_every_input_and_not_on_their_order():
    assert identity("fit", {"a": 1, "b": 2}) == identity("fit", {"b": 2, "a": 1})
    assert (
        len(
            {
                identity("fit", {"a": 1}),
                identity("fit", {"a": 2}),
                identity("fit", {"a": 1.5}),
                identity("sample", {"a": 1}),
            }
        )
        == 4
    )


def test_unfinished_work_is_never_found(store):
    folder = store.begin("fit")
    (folder / "weights").write_text("half")
    assert store.find("fit", {"seed": 1}) is None


@pytest.mark.parametrize("name", ["model/weights", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_file_is_noticed_and_its_phase_computed_again(store, damage, name):
    file = put(store, {"seed": 1}) / name
    match damage:
        case "flip":
            file.write_text(file.read_text().replace("t", "7", 1))
        case "truncate":
            file.write_text("")
        case "delete":
            file.unlink()
    assert store.find("fit", {"seed": 1}) is None
    again = put(store, {"seed": 1}, "computed again")
    found = store.find("fit", {"seed": 1})
    assert found is not None
    assert (again / "model" / "weights").read_text() == "computed again"


def test_the_journal_has_a_line_for_every_time_a_phase_was_computed(store):
    for seed in (1, 2, 1):
        put(store, {"seed": seed})
    store.find("fit", {"seed": 2})
    assert computed(store.root) == [("fit", identity("fit", {"seed": seed})) for seed in (1, 2, 1)]
    for line in (store.root / "journal.jsonl").read_text().splitlines():
        assert json.loads(line).keys() == {"kind", "identity", "seconds", "created"}


def test_of_two_that_finish_the_same_phase_the_first_stands_and_both_get_its_numbers(store):
    second = store.begin("fit")
    (second / "weights").write_text("second")
    first = put(store, {"seed": 1}, "first")
    finished = store.finish("fit", {"seed": 1}, second, {"loss": 2.5}, 9.0)
    assert finished == store.find("fit", {"seed": 1})
    assert (finished.place, finished.metrics, finished.seconds) == (first, {"loss": 1.5}, 2.0)
    assert (first / "model" / "weights").read_text() == "first"
    assert list((store.root / "unfinished").iterdir()) == []


def test_a_phase_replaces_one_that_is_damaged_where_it_is_to_stand(store):
    damaged = put(store, {"seed": 1}, "first") / "model" / "weights"
    damaged.write_text("damaged")
    assert put(store, {"seed": 1}, "second") == damaged.parents[1]
    assert damaged.read_text() == "second"
    assert store.find("fit", {"seed": 1}) is not None


def test_opening_clears_what_dead_processes_left_and_spares_the_living(store):
    child = "from components.store import Store; import sys; Store.open(sys.argv[1]).begin('fit')"
    subprocess.run([sys.executable, "-c", child, str(store.root)], check=True)
    own = store.begin("fit")
    assert len(list((store.root / "unfinished").iterdir())) == 2
    Store.open(str(store.root))
    assert list((store.root / "unfinished").iterdir()) == [own]


def test_a_phase_is_held_by_one_process_at_a_time(store):
    child = (
        "import sys, time\nfrom components.store import Store\n"
        "with Store.open(sys.argv[1]).lock('fit', {'seed': 1}):\n    print('held', flush=True)\n    time.sleep(0.7)\n    print(time.monotonic(), flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", child, str(store.root)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with store.lock("fit", {"seed": 1}):
            taken = time.monotonic()
        assert float(process.stdout.readline()) <= taken


def test_a_small_file_is_replaced_whole(store):
    store.write_json("chains/a.json", {"generations": 1})
    store.write_json("chains/a.json", {"generations": 2})
    assert json.loads((store.root / "chains" / "a.json").read_text()) == {"generations": 2}


def test_a_file_in_the_stores_place_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"store\.path = .*file: .* give a folder"):
        Store.open(str(tmp_path / "file"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(BadInput, match="permission denied"):
        Store.open(str(tmp_path / "store"))


def test_a_clock_that_jumps_makes_no_living_process_a_dead_one(store, monkeypatch: pytest.MonkeyPatch):
    """Linux tells when a process began in seconds since the machine did; the time of day it adds to that moves with the clock."""
    own = store.begin("fit")
    for module, name in ((psutil, "boot_time"), (psutil._pslinux, "boot_time")):
        jumped = getattr(module, name)() + 86_400
        monkeypatch.setattr(module, name, lambda jumped=jumped: jumped)
    assert psutil.Process().create_time() > time.time() + 3_600
    Store.open(str(store.root))
    assert own.is_dir()
