"""What a line of a log says, for a person and for a machine, and how a worker's warning comes to the study's process."""

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pandas as pd
import pytest

from components import logs
from components.terminal import StudyProgress, print_table, say
from tests.studies import PROJECT

logger = logging.getLogger("components.a.room")


@pytest.fixture(autouse=True)
def own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Handlers and levels of this process are afterwards as they were."""
    monkeypatch.delenv(logs.lines.FORMAT, raising=False)
    monkeypatch.setattr(logs.lines, "_worker", False)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    root = logging.root
    before = root.level, {name: logging.getLogger(name).level for name in logs.lines.OURS}
    stop_listening()
    yield
    stop_listening()
    root.setLevel(before[0])
    for name, level in before[1].items():
        logging.getLogger(name).setLevel(level)


def stop_listening() -> None:
    """As before `begin`, here or in a study that ran in this process."""
    logging.captureWarnings(False)
    for handler in logs.lines._handlers:
        logging.root.removeHandler(handler)
    logs.lines._handlers.clear()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_person_reads_what_is_wrong_where_and_whose_it_is(capsys):
    logs.begin()
    logger.info("fit begins")
    with logs.at(study="s", chain="0123", condition="no-real-data", seed=3, generation=2, phase="fit", rank=1):
        logger.warning("the lease is %s", "old")
    logging.getLogger("mlflow.tracking").warning("the server is of another version")
    logging.getLogger("ray.train").info("resources are asked for")
    warnings.warn("this goes away", FutureWarning, stacklevel=1)
    assert capsys.readouterr().err.splitlines() == [
        "warning: the lease is old (no-real-data seed 3, generation 2, fit, worker 1)",
        "warning: mlflow.tracking: the server is of another version",
        f"warning: py.warnings: FutureWarning: this goes away ({__file__}:{line_of('this goes away')})",
    ]


def line_of(text: str) -> int:
    with open(__file__, encoding="utf-8") as file:  # noqa: PTH123
        return next(number for number, line in enumerate(file, 1) if text in line)


def test_a_machine_reads_one_object_a_line_with_the_fields_of_where_its_process_is(capsys, monkeypatch):
    monkeypatch.setenv(logs.lines.FORMAT, "json")
    logs.begin()
    where = {
        "study": "recursion-smoke-01234567",
        "chain": "0123",
        "condition": "keep 10 %",
        "seed": 3,
        "generation": 0,
        "phase": "fit",
        "rank": 0,
    }
    with logs.at(**where):
        logger.info("fit is done", extra={"seconds": 1.5})
    logger.warning("later")
    first, second = lines(capsys)
    assert {name: first[name] for name in where} == where
    assert set(logs.lines.FIELDS) == set(where)
    assert (first["level"], first["message"], first["seconds"]) == ("INFO", "fit is done", 1.5)
    assert pd.Timestamp(first["time"]).tzinfo is not None
    assert not set(where) & set(second)


def test_an_error_is_one_line_with_its_traceback(capsys, monkeypatch):
    monkeypatch.setenv(logs.lines.FORMAT, "json")
    logs.begin()
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        logger.exception("it failed")
    (line,) = lines(capsys)
    assert "RuntimeError: two\nlines" in line["exc_info"]


def test_progress_tables_and_sentences_are_records_too_where_lines_are_for_machines(capsys, monkeypatch):
    monkeypatch.setenv(logs.lines.FORMAT, "json")
    logs.begin()
    progress = StudyProgress({"a": "first seed 0"}, {"a": {(0, "fit"): 4.0}}, {"a": {"condition": "first", "seed": 0}})
    progress.at("a", 0, "fit", 1, 4)
    say("Browse it")
    print_table("Plan", pd.DataFrame({"condition": ["first"], "seed": [0]}))
    captured = capsys.readouterr()
    assert captured.out == ""
    at, sentence, table = (json.loads(line) for line in captured.err.splitlines())
    assert {name: at[name] for name in ("chain", "condition", "seed", "generation", "phase")} == {
        "chain": "a",
        "condition": "first",
        "seed": 0,
        "generation": 0,
        "phase": "fit",
    }
    assert "first seed 0: generation 0 · fit 25 %" in at["message"]
    assert sentence["message"] == "Browse it"
    assert (table["message"], table["table"]) == ("Plan", [{"condition": "first", "seed": "0"}])


def test_lines_are_for_machines_in_a_job_of_ray_and_for_people_elsewhere(monkeypatch):
    assert not logs.structured()
    monkeypatch.setenv(logs.lines.RAY_JOB, "{}")
    assert logs.structured()
    monkeypatch.setenv(logs.lines.FORMAT, "text")
    assert not logs.structured()


def test_another_format_is_refused_in_one_line():
    def command(arguments):
        pytest.fail("began")

    environment = os.environ | {"LOG_FORMAT": "xml"}
    source = "from pipelines.study import run_command; run_command(lambda arguments: print('began'), [])"
    ended = subprocess.run(
        [sys.executable, "-c", source], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=100
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "LOG_FORMAT = xml: lines are `json` or `text`; unset, what fits the place\n"


def test_a_workers_warning_is_said_by_the_studys_process_with_the_workers_fields(capsys):
    sent: list = []
    logs.begin_worker({"study": "s", "rank": 1}, sent.append)
    with logs.at(condition="no-real-data", seed=0, generation=2, phase="sample"):
        logger.info("sample begins")
        logger.warning("beam search without its compiled kernels")
    assert [line["message"] for line in lines(capsys)] == ["sample begins", "beam search without its compiled kernels"]
    (message,) = sent
    logs.lines._worker = False
    logs.lines._where.clear()
    logs.begin()
    logs.relay(message[logs.WORKER_MESSAGE])
    said = "warning: beam search without its compiled kernels (no-real-data seed 0, generation 2, sample, worker 1)"
    assert capsys.readouterr().err.splitlines() == [said]


def test_what_sending_warns_of_is_not_sent_and_a_queue_that_is_gone_stops_nothing(capsys):
    def send(message):
        logger.warning("sending is slow")
        raise RuntimeError("the queue is gone")

    logs.begin_worker({}, send)
    logger.warning("one")
    logger.warning("two")
    written = capsys.readouterr().err
    assert written.count('"sending is slow"') == 2
    assert written.count("RuntimeError: the queue is gone\n") == 2
