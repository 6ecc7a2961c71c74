"""Names out of settings become names of files, folders, MLflow's keys and text on a terminal: none leads out of where it belongs."""

import json
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from mlflow.tracking import MlflowClient

from components import tracking
from components.config.errors import BadInput
from components.config.settings import TrackingSettings
from pipelines.gaussian import gaussian
from pipelines.recursion import recursion
from pipelines.study import run_command
from pipelines.sweep import sweep

LONG = "x" * 300
ESCAPES = ["..", "../above", "/abs", "a/b", "a/../../b", ".hidden", "-a", "a\0b", "a\nb", "\x1b[31mred", "", " ", LONG, "<b>a</b>",
           "a'b", "[link=x]a[/link]", "\u202egnp.exe", "C:\\a", "%2e%2e/a", "a;b", "$(a)", "{a}"]  # fmt: skip


def fault(here: Path, capfd, command: Callable[[Sequence[str]], None], *arguments: str) -> str:  # type: ignore[no-untyped-def]
    """The one line that a study ends with; nothing was made anywhere."""
    on_terminate = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        run_command(command, ["--preset", "smoke", *arguments])
    signal.signal(signal.SIGTERM, on_terminate)
    assert ended.value.code == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "\x1b" not in line
    assert "\0" not in line
    assert list(here.rglob("*")) == []
    return line


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somewhere deep, in which nothing is, and next to which nothing may appear."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    monkeypatch.setattr("components.cluster.connect", lambda _: pytest.fail("a cluster was started or joined"))
    return tmp_path / "a" / "b"


@pytest.mark.parametrize("command", [gaussian, recursion])
@pytest.mark.parametrize("name", ESCAPES, ids=ascii)
def test_a_condition_whose_name_is_more_than_a_name_is_refused(name: str, command, here: Path, capfd):
    conditions = json.dumps({name: {"regime": "accumulate"}})
    line = fault(here, capfd, command, "--conditions", conditions)
    assert re.match(r"conditions = .*: a condition's name has up to 100 letters", line)


@pytest.mark.parametrize("name", ["keep 10 % real", "größer", "0.5", "lr_1e-3, warm+cold", "条件", "x" * 100])
def test_a_plain_name_is_a_condition_s(name: str):
    from components import config
    from components.config.settings import RecursionSettings

    conditions = json.dumps({name: {"real_fraction": 0.1}})
    assert name in config.load(RecursionSettings, ["--conditions", conditions]).conditions


@pytest.mark.parametrize(
    ("command", "field", "names"),
    [
        (gaussian, "preset", ["../gaussian/smoke", "/etc/passwd", "..", LONG, "smoke\n", "smoke.yaml"]),
        (sweep, "preset", ["../language/smoke", "..", LONG]),
        (sweep, "family", ["../gaussian", "/etc", LONG]),
        (sweep, "name", ["..", "../a", "/a", "a/b", ".a", "a b/..", LONG, '"a\\0b"', '"a\\nb"']),
    ],
)
def test_a_name_that_names_a_file_is_one_of_those_there_are_or_cannot_leave_its_folder(
    command, field: str, names: list[str], here: Path, capfd
):
    for name in names:
        assert fault(here, capfd, command, f"--{field}", name).startswith(f"{field} = ")


@pytest.mark.parametrize(
    "field",
    ["store.path", "store.cache", "corpus.path", "corpus.dataset", "model.name", "tokenizer", "tracking.experiment"],
)
@pytest.mark.parametrize("text", ['"a\\0b"', '"a\\nb"', '"a\\eb"', "a\udcffb", "a\x1bb"], ids=ascii)
def test_text_with_a_control_character_is_refused_wherever_it_is_given(field: str, text: str, here: Path, capfd):
    assert fault(here, capfd, recursion, f"--{field}", text).startswith(f"{field} = a")


def test_an_experiment_with_an_endless_name_is_refused(here: Path, capfd):
    assert fault(here, capfd, gaussian, "--tracking.experiment", LONG).startswith("tracking.experiment = xxx")


@pytest.mark.parametrize("by", ["setting", "environment"])
@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../../above",
        "/abs",
        "team/mine",
        ".",
        "...",
        "a/../../b",
        "%2e%2e/%2e%2e/a",
        "x" * 250,
        "a b",
        "~/a",
        "a?b#c",
    ],
)
def test_an_experiment_s_files_stay_beside_its_database_whatever_it_is_called(
    name: str, by: str, tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
):
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    project = tmp_path / "deep" / "project"
    project.mkdir(parents=True)
    (project / "mlflow.db").write_bytes(migrated.read_bytes())
    if by == "environment":
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
    settings = TrackingSettings(experiment=name) if by == "setting" else TrackingSettings()
    found = tracking.connect(settings, "gaussian", project)
    assert found.experiment.name == name
    study = tracking.open_study(found, name="a study", family="gaussian", identity="1", config="a: 1", settings={})
    tracking.close_study(study, "FINISHED")
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("mlflow.db")]
    assert [path.name for path in files] == ["config.yaml"]
    assert files[0].is_relative_to(project / "mlartifacts")
    assert len(files[0].relative_to(project / "mlartifacts").parts) == 4  # <experiment>/<run>/artifacts/config.yaml
    location = Path(unquote(urlsplit(found.experiment.artifact_location).path))
    assert location.parent == project / "mlartifacts"
    assert MlflowClient(found.uri).list_artifacts(study.run_id)[0].path == "config.yaml"


def test_two_experiments_have_two_folders(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch):
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "mlflow.db").write_bytes(migrated.read_bytes())
    names = ["a-b", "a/b", "a//b", "../a-b", "/a-b"]
    found = [tracking.connect(TrackingSettings(experiment=name), "gaussian", tmp_path).experiment for name in names]
    assert len({one.artifact_location for one in found}) == len(names)


def test_a_fault_is_one_line_whatever_it_is_about():
    assert str(BadInput("a\nb", "c\r\nd\x1b[2J", "give another")) == r"a\nb = c\r\nd\x1b[2J: give another"
