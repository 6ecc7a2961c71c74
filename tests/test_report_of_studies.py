"""`mlflow run . -e report`: any studies of the tracking store on one page; what cannot be is told in one line, or on the page."""

import hashlib
import itertools
import shlex
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pandas as pd
import pytest

from components import config, tracking
from components.config import sweep
from components.config.command import command
from components.config.settings import RecursionSettings, TrackingSettings
from components.report import Contents, write_report
from components.tracking import Study, close_study, connect, end_chain, open_study, record
from pipelines.report import report
from pipelines.study import run_command
from tests import pages
from tests.recorded import make_chain, make_generation

SETTINGS = config.load(RecursionSettings, ["--preset", "smoke"])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty tracking store, and the folder that commands are given in."""
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(migrated, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    on_terminate = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, on_terminate)


def finished(here: Path, model: Path, name: str, figures: Sequence[Path] = (), close: bool = True) -> Study:
    """A study with a chain of two generations in the store, closed as a recorder closes it."""
    tracker = connect(TrackingSettings(models="full"), "recursion", here)
    dump = SETTINGS.model_dump(mode="json")
    identity = hashlib.sha256(name.encode()).hexdigest()
    study = open_study(
        tracker, name=name, family="language", identity=identity, config=config.to_yaml(SETTINGS), settings=dump
    )
    chain = make_chain("no-real-data", 0)
    for index in range(2):
        record(study, make_generation(here / "store" / name, chain, index, model))
    end_chain(study, chain, "FINISHED")
    if not close:
        return study
    folder = here / f"{name} closing"
    folder.mkdir()
    rows = [("no-real-data", 0, index, "test/perplexity", 40.0 * 2**index) for index in range(2)]
    metrics = pd.DataFrame(rows, columns=["condition", "seed", "generation", "metric", "value"])
    table = pd.DataFrame(
        {"condition": ["no-real-data"] * 2, "generation": ["0", "1"], "test perplexity": ["40.0", "80.0"]}
    )
    run, runs = tracking.read_back(study)
    drawn = []
    if figures:
        (folder / "figures").mkdir()
        drawn = [Path(shutil.copy(path, folder / "figures")) for path in figures]
    write_report(
        folder / "report.html",
        f"Study {name}",
        dump,
        table,
        drawn,
        {},
        pages.samples()[:2],
        metrics=metrics,
        run=run,
        runs=runs,
    )
    close_study(
        study,
        "FINISHED",
        metrics=metrics,
        report=folder / "report.html",
        figures=folder / "figures" if figures else None,
    )
    return study


def files(study: Study) -> Path:
    """Where the files of its run lie."""
    uri = study.tracking.client.get_run(study.run_id).info.artifact_uri
    return Path(url2pathname(urlsplit(uri).path))


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command ends with, and status 2; no page is written."""
    with pytest.raises(SystemExit) as end:
        run_command(report, arguments)
    assert end.value.code == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1
    assert not Path("report.html").exists()
    return errors


# --- what is there ---


def test_one_study_gives_a_page_which_goes_into_its_run_too(
    here: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
):
    study = finished(here, model_folder, "laptop, four chains")
    run_command(report, ["--studies", study.run_id, "--output", str(here / "page.html")])
    page = (here / "page.html").read_text("utf-8")
    assert "Study laptop, four chains" in page
    assert "page.html: laptop, four chains (" in capsys.readouterr().out
    assert (files(study) / "report.html").read_text("utf-8") == page
    text = " ".join(page.split())
    for said in ("Seeds: 1 of the 5", "the cat sat on the mat", "language-no-real-data-seed0", "80.0"):
        assert said in text
    pages_of = [
        f"#/experiments/{study.tracking.experiment.experiment_id}/runs/{run}"
        for run in study.chains[make_chain("no-real-data", 0).identity].generations.values()
    ]
    assert all(f"http://127.0.0.1:5000/{one}" in text for one in pages_of)


def test_studies_are_named_by_id_or_name_also_with_commas_in_it_and_stand_in_that_order(here: Path, model_folder: Path):
    first, second, third = (finished(here, model_folder, name) for name in ("a study, with commas", "b", "c"))
    run_command(report, ["--studies", f"c, {second.run_id},a study, with commas, c"])
    page = (here / "report.html").read_text("utf-8")
    titles = [
        page.index(f"{number}. Study {name}</h2>") for number, name in enumerate(("c", "b", "a study, with commas"), 1)
    ]
    assert titles == sorted(titles)
    assert "4. Study" not in page
    for study in (first, second, third):  # a page about several is nobody's own
        assert "3 studies of model collapse" not in (files(study) / "report.html").read_text("utf-8")


def test_the_run_that_mlflow_run_made_leads_to_its_study(here: Path, model_folder: Path):
    study = finished(here, model_folder, "a")
    launcher = study.tracking.client.create_run("0", tags={"recursion.study_run": study.run_id})
    run_command(report, ["--studies", launcher.info.run_id])
    assert "Study a" in (here / "report.html").read_text("utf-8")


def test_a_study_that_is_not_at_its_end_has_what_there_is(here: Path, model_folder: Path):
    study = finished(here, model_folder, "half", close=False)
    run_command(report, ["--studies", study.run_id])
    page = (here / "report.html").read_text("utf-8")
    for said in (
        "It was still running when this page was made.",
        "(metrics.parquet) are missing",
        "Its figures are missing",
        "generation 1",
    ):
        assert said in page


def test_a_study_whose_figures_were_deleted_has_a_page_without(here: Path, model_folder: Path, whole_study: Contents):
    study = finished(here, model_folder, "a", whole_study.figures)
    run_command(report, ["--studies", "a"])
    assert "<figure" in (here / "report.html").read_text("utf-8")
    shutil.rmtree(files(study) / "figures")
    run_command(report, ["--studies", "a"])
    page = (here / "report.html").read_text("utf-8")
    assert "<figure" not in page
    assert "Its figures are missing." in page


def test_of_several_one_that_left_nothing_is_said_on_the_page_and_at_the_terminal(
    here: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
):
    kept, lost = (finished(here, model_folder, name) for name in ("kept", "lost"))
    shutil.rmtree(files(lost))
    run_command(report, ["--studies", f"{kept.run_id},{lost.run_id}"])
    page = (here / "report.html").read_text("utf-8")
    assert "Study kept" in page
    assert "The files of this study&#39;s run cannot be read" in page
    assert page.count("language-no-real-data-seed0") > 4  # its lineage is in the database
    assert "lost: there are no files at" in capsys.readouterr().out
    assert str(here) not in page


# --- what cannot be ---


def test_nothing_asked_for_names_what_there_is(here: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]):
    assert "there is none in this store" in told(capsys)
    study = finished(here, model_folder, "a")
    assert f"the newest are {study.run_id} (a)" in told(capsys, "--studies", " ")


def test_a_run_that_does_not_exist(here: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]):
    study = finished(here, model_folder, "a")
    line = told(capsys, "--studies", f"{study.run_id},{'0' * 32}")
    assert line.startswith(f"studies = {'0' * 32}: no run of this tracking store has this id")
    assert study.run_id in line
    assert told(capsys, "--studies", "no such name").startswith("studies = no such name: ")
    assert told(capsys, "--studies", "../../etc").startswith("studies = ../../etc: ")


def test_a_run_that_is_no_study_leads_to_its_study(here: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]):
    study = finished(here, model_folder, "a")
    chain = study.chains[make_chain("no-real-data", 0).identity]
    assert f"it is a chain; its study is {study.run_id}" in told(capsys, "--studies", chain.run_id)
    assert f"it is a generation; its study is {study.run_id}" in told(capsys, "--studies", chain.generations[1])
    other = study.tracking.client.create_run("0")
    assert "no study of this project wrote it" in told(capsys, "--studies", other.info.run_id)


def test_a_study_that_was_deleted(here: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]):
    study = finished(here, model_folder, "a")
    study.tracking.client.delete_run(study.run_id)
    line = told(capsys, "--studies", study.run_id)
    assert f"mlflow runs restore --run-id {study.run_id}" in line


def test_a_name_that_several_studies_bear(here: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]):
    first, second = finished(here, model_folder, "a"), finished(here, model_folder, "b")
    second.tracking.client.update_run(second.run_id, name="a")
    line = told(capsys, "--studies", "a")
    assert "2 studies bear this name" in line
    assert first.run_id in line
    assert second.run_id in line


def test_a_study_that_was_continued_is_the_one_that_continued_it(here: Path, model_folder: Path):
    first = finished(here, model_folder, "a", close=False)
    close_study(first, "KILLED")
    second = finished(here, model_folder, "a")
    for asked in (first.run_id, "a"):
        run_command(report, ["--studies", asked])
        assert second.run_id in (here / "report.html").read_text("utf-8")


def test_a_study_whose_files_are_gone_or_whose_store_was_moved(
    here: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    study = finished(here, model_folder, "a")
    (here / "moved").mkdir()
    for name in ("mlflow.db", "mlartifacts"):
        shutil.move(here / name, here / "moved" / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here / 'moved' / 'mlflow.db'}")
    line = told(capsys, "--studies", study.run_id)
    assert "there are no files at" in line
    assert "they were deleted, or lie elsewhere now; nothing is left to make a page of" in line


def test_a_tracking_store_that_is_not_there_is_not_made(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here / 'other.db'}")
    assert "MLFLOW_TRACKING_URI" in told(capsys, "--studies", "a")
    assert not (here / "other.db").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(here))
    assert "MLflow keeps no runs in plain folders" in told(capsys, "--studies", "a")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--output", "nowhere/report.html"], "output = nowhere/report.html: there is no such folder"),
        (["--output", "."], "output = .: this is a folder"),
        (["--outptu", "x"], "outptu = x: no such setting; there are studies, output"),
        (["--output", "a\x1bb"], "output"),
    ],
)
def test_settings_that_cannot_be(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    assert told(capsys, "--studies", "a", *arguments).startswith(line)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.parquet", "report.json"])
def test_a_file_that_is_damaged_is_left_out_and_said(here: Path, model_folder: Path, name: str):
    study = finished(here, model_folder, "a")
    (files(study) / name).write_text('{"a": [')
    run_command(report, ["--studies", "a"])
    page = (here / "report.html").read_text("utf-8")
    assert f"{name} cannot be read (" in page
    assert "language-no-real-data-seed0" in page


# --- the command that makes a study again ---


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--generations", "9", "--seeds", "[3, 5]"],
        [
            "--preset",
            "smoke",
            "--conditions.half.real_fraction",
            "0.5",
            "--seeds",
            "3",
            "--conditions.plain.epochs",
            "null",
        ],
        [
            "--preset",
            "laptop",
            "--conditions.no-real-data",
            "null",
            "--corpus.block_size",
            "32",
            "--train.engine",
            "torch",
        ],
        [
            "--preset",
            "paper",
            "--corpus.dataset_config",
            "it's",
            "--tokenizer",
            "train",
            "--conditions.a b.regime",
            "accumulate",
        ],
        ["--conditions.no-real-data.start", "scratch", "--tokenizer", "null", "--model.name", '"123"'],
    ],
)
def test_the_command_makes_the_same_settings(arguments: list[str]):
    settings = config.load(RecursionSettings, arguments)
    words = shlex.split(command("language", settings.model_dump(mode="json")))
    assert words[:6] == ["mlflow", "run", ".", "-e", "recursion", "--env-manager"]
    pairs = [word.partition("=") for flag, word in itertools.pairwise(words) if flag == "-P"]
    again = config.load(RecursionSettings, [part for name, _, value in pairs for part in (f"--{name}", value)])
    assert again == settings


def test_a_sweep_s_command_makes_the_same_sweep():
    for arguments in (
        ["--preset", "smoke", "--trials", "5"],
        ["--family", "gaussian", "--search.sample_size", "randint(20,500)", "--condition.regime", "accumulate"],
    ):
        chosen = sweep.load(arguments)
        words = shlex.split(command(chosen.settings.family, chosen.dump(), "sweep"))
        pairs = [word.partition("=") for flag, word in itertools.pairwise(words) if flag == "-P"]
        again = sweep.load([part for name, _, value in pairs for part in (f"--{name}", value)])
        assert again.dump() == chosen.dump()
