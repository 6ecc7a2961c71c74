"""Bad input to a sweep: one line with field, value and remedy, exit status 2, nothing started."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from components.sweep import books
from pipelines.study import run_command
from pipelines.sweep import sweep
from tests.ports import closed_port
from tests.studies import Place


@pytest.fixture
def here(prepared: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepared.copy_to(tmp_path)
    (tmp_path / "store" / "kept").write_text("of an earlier study")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("components.cluster.connect", lambda _: pytest.fail("a cluster was started or joined"))
    return tmp_path


def begun_with_other_objectives(here: Path) -> list[str]:
    books.keep_settings(here / "store" / "sweeps" / "mine", {"objectives": ["collapse"]})
    return ["--name", "mine"]


def store_that_nobody_can_write_to(here: Path) -> list[str]:
    return ["--store.path", "/sys/store"]


def server_that_is_not_there(here: Path) -> list[str]:
    return ["--cluster.address", f"127.0.0.1:{closed_port()}"]


FAULTS: dict[str, tuple[list[str] | Callable[[Path], list[str]], str]] = {
    "a field that no condition has": (["--search.momentum", "uniform(0,1)"], r"search\.momentum = .*there are regime, real_f"),
    "an empty range": (["--search.real_fraction", "uniform(0.5,0.5)"], r"search\.real_fraction = .*nothing to search"),
    "a reversed range": (["--search.real_fraction", "uniform(1,0)"], r"search\.real_fraction = .*the lower end comes first"),
    "a range beyond the field's": (["--search.real_fraction", "uniform(0,2)"], r"search\.real_fraction = .*less than or equal"),
    "halves of epochs": (["--search.epochs", "uniform(1,3)"], r"search\.epochs = .*valid integer"),
    "a number for a range": (["--search.real_fraction", "0.5"], r"search\.real_fraction = 0\.5: .*a range"),
    "nothing to search": (["--search.real_fraction", "None", "--search.epochs", "None"], r"search = \{\}: nothing is searched"),
    "a search that is no mapping": (["--search", "3"], r"search = 3: give search\."),
    "zero trials": (["--trials", "0"], r"trials = 0: "),
    "no number of trials": (["--trials", "None"], r"trials = null: tpe never ends by itself"),
    "an objective that does not exist": (["--objectives", "beauty"], r"objectives = beauty: no such objective; there are collapse"),
    "an objective twice": (["--objectives", "cost,cost"], r"objectives = .*different"),
    "a sampler that does not exist": (["--sampler", "genetic"], r"sampler = genetic: "),
    "a grid of too many points": (["--sampler", "grid", "--search.real_fraction", "None", "--search.epochs", "randint(1,1000000)"], r"search\.epochs = .*1,000,000 points"),
    "a field that changes nothing": (["--family", "discrete", "--preset", "laptop", "--condition.distribution", "uniform", "--search.exponent", "uniform(1,2)"], r"search\.exponent = .*changes nothing"),
    "a corner that a family refuses": (["--family", "gaussian", "--dimensions", "50", "--search.sample_size", "randint(20,200)"], r"search\.sample_size = 20: cannot fit 50 dimensions"),
    "more beams than the vocabulary has entries": (["--search.num_beams", "randint(1,300)"], r"generate\.num_beams = 300: needs twice"),
    "seconds of chains that are not timed": (["--family", "gaussian", "--objectives", "collapse,seconds"], r"objectives = seconds: chains of gaussian take no time"),
    "a name that is the folder above": (["--name", ".."], r"name = \.\.: "),
    "a grid of endless values": (["--sampler", "grid"], r"search\.real_fraction = .*a grid takes choice"),
    "a family that does not exist": (["--family", "gan"], r"family = gan: no such family; there are language"),
    "a preset that does not exist": (["--preset", "huge"], r"preset = huge: no such preset; there are laptop, smoke"),
    "conditions by name": (["--conditions.mine.epochs", "1"], r"conditions = .*a sweep has one condition"),
    "a condition's unknown field": (["--condition.momentum", "1"], r"condition\.momentum = 1: no such setting"),
    "no generation after the first": (["--generations", "0"], r"generations = 0: collapse is measured against generation 0"),
    "pruning that keeps everyone": (["--pruning.factor", "1"], r"pruning\.factor = 1: "),
    "a name that is a path": (["--name", "../mine"], r"name = \.\./mine: "),
    "other settings than it was begun with": (begun_with_other_objectives, r"\S+ = .*the sweep mine in this store was begun with"),
    "a store that cannot be written to": (store_that_nobody_can_write_to, r"store\.path = /sys/store: "),
    "a cluster that is not there": (server_that_is_not_there, r"cluster\.address = 127.*nothing answers"),
    "more workers than there are": (["--train.workers", "4096"], r"train\.workers = 4096: the cluster has"),
    "more trials than the disk has room for": (["--trials", "100000000"], r"store\.path = .*GB are free; make room"),
    "a corpus that is not there": (["--corpus.path", "/nowhere"], r"corpus\.path = /nowhere: no such file or folder"),
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_in_one_line_with_status_2_and_nothing_is_started_or_lost(
    fault: str, here: Path, capfd: pytest.CaptureFixture[str]
):
    given, line = FAULTS[fault]
    arguments = ["--store.path", str(here / "store"), *(given if isinstance(given, list) else given(here))]
    if "--preset" not in arguments:
        arguments = ["--preset", "smoke", *arguments]
    with pytest.raises(SystemExit) as ended:
        run_command(sweep, arguments)
    assert ended.value.code == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert re.match(line, lines[0]), lines[0]
    assert (here / "store" / "kept").read_text() == "of an earlier study"
    assert not list((here / "store").glob("chains/*"))
    assert not list((here / "store").glob("sweeps/*/study.db"))
