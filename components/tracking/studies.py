"""A study's run, or a sweep's: opened before anything is computed, closed with its tables and figures.

A study that was interrupted and is run again continues its chains: the new study run adopts them, so that every
chain, generation and step stands once. A sweep does so with its trials, also where it had come to its end.
"""

import html
import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pandas
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_COMMIT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)

from components.config import dotted
from components.recursion.records import Chain
from components.tracking.connection import Tracking, reaching, without_password
from components.tracking.descriptions import of_chain

Status = Literal["FINISHED", "FAILED", "KILLED"]
Kind = Literal["study", "sweep", "trial", "pretraining"]
BELOW: Mapping[Kind, str] = {"study": "chain", "sweep": "trial", "trial": "chain"}
"""What hangs under a run of each kind; nothing under a pretraining."""

COMMAND = "recursion.command"
LOCAL_SERVER = "http://127.0.0.1:5000"
"""Where `make ui` serves a database."""

PARAMS_A_BATCH = 100
CHARACTERS_A_PARAM = 6000
_ORIGIN = (MLFLOW_USER, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, MLFLOW_GIT_COMMIT)
_NAME_FROM_MLFLOW = re.compile(r"[a-z]+-[a-z]+-\d{1,3}")  # `mlflow run` without --run-name: "skittish-perch-880"


@dataclass
class ChainRun:
    """What the store already holds of a chain: the runs of its generations and the versions of its model.

    `settings`: the chain's, to be written as parameters with its next points. `first` and `reached`: the error on real data
    of generation 0, and the newest generation with its own, which the chain's description tells. Of a long chain also `steps`, the last step
    of its curves, and `newest`, the metrics of its newest generation, the last point if no further generation comes.
    """

    run_id: str
    generations: dict[int, str] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    versions: dict[int, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    first: float = math.nan
    reached: tuple[int, float] = (-1, math.nan)
    steps: int | None = None
    newest: Sequence[Metric] = ()


@dataclass
class Study:
    """An open run of a study, a sweep or a trial, and what we know of its chains, so that nothing is asked of the store twice.

    `origin`: the tags that say who ran which commit of what; every run below bears them too. `adopted`: the runs of
    chains that stood below it when one was first asked for, by identity; None before that, and after an error.
    """

    tracking: Tracking
    run_id: str
    family: str
    start_time: int
    origin: dict[str, str]
    kind: Kind = "study"
    chains: dict[str, ChainRun] = field(default_factory=dict)
    adopted: dict[str, Run] | None = None


def open_study(
    tracking: Tracking,
    *,
    name: str,
    family: str,
    identity: str,
    config: str,
    settings: Mapping[str, Any],
    kind: Kind = "study",
    command: str = "",
) -> Study:
    """Opens the run of the study or sweep `identity` (a hash of what determines it) and adopts what was interrupted.

    The run that `mlflow run` made is the study's own if it is in the study's experiment. If it is in another
    (plain `mlflow run` always uses "Default", and MLflow cannot move runs), the study gets a run of its own and
    the launcher's is left with a link to it. `config` becomes config.yaml; `settings` become parameters
    `settings.<dotted name>`, apart from those that `mlflow run` stores itself. Neither may hold secrets. `command`: by which
    the same command finds the study again (`earlier`).

    Raises `TrackingUnavailable`; may be repeated then.
    """
    client, launcher = tracking.client, tracking.launcher
    tags = {"recursion.kind": kind, "recursion.family": family, f"recursion.{kind}": identity} | (
        {COMMAND: command} if command else {}
    )
    with reaching(tracking):
        if launcher is not None and launcher.info.experiment_id == tracking.experiment.experiment_id:
            run = launcher
            if _NAME_FROM_MLFLOW.fullmatch(run.info.run_name or ""):
                client.update_run(run.info.run_id, name=name)
        else:
            run = _new_run(tracking, name, tags)
        run_id = run.info.run_id
        params = [Param(f"settings.{key}", value) for key, value in flattened(settings)]
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        for start in range(0, len(params), PARAMS_A_BATCH):
            client.log_batch(run_id, params=params[start : start + PARAMS_A_BATCH])
        client.log_text(run_id, config, "config.yaml")
        _adopt(tracking, run_id, kind, identity)
    origin = {key: value for key, value in run.data.tags.items() if key in _ORIGIN}
    return Study(tracking, run_id, family, run.info.start_time, origin, kind)


def end_chain(study: Study, chain: Chain, status: Status) -> None:
    """Ends the chain's run. Recording a further generation opens it again. Raises `TrackingUnavailable`."""
    with reaching(study.tracking):
        if (known := study.chains.get(chain.identity)) is not None:
            write_newest(study, known)
            note = as_text(of_chain(chain, *known.reached, known.first))
            study.tracking.client.set_tag(known.run_id, MLFLOW_RUN_NOTE, note)
            study.tracking.client.set_terminated(known.run_id, status)


def forget(study: Study, chain: Chain) -> None:
    """Look up again the next time what of a chain reached the store."""
    study.chains.pop(chain.identity, None)
    study.adopted = None


def write_newest(study: Study, chain: ChainRun) -> None:
    """Give the curves of a long chain their last point, if they have none there yet. May be repeated."""
    if chain.newest:
        study.tracking.client.log_batch(chain.run_id, chain.newest)
        chain.steps = chain.newest[0].step
        chain.newest = ()


def close_study(
    study: Study,
    status: Status,
    *,
    metrics: pandas.DataFrame | None = None,
    figures: Path | None = None,
    report: Path | None = None,
    summary: Mapping[str, float] | None = None,
    tables: Mapping[str, pandas.DataFrame] | None = None,
    files: Sequence[Path] = (),
    curves: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    description: str = "",
) -> None:
    """Ends the study's run, and what still runs below it, with `status`.

    `metrics` (condition, seed, generation, metric, value) becomes metrics.parquet, each of `tables` a file of its name; the
    folder `figures` becomes figures/; `files` lie beside it; the page `report` becomes report.html, and what lies beside it under its name report.json;
    `summary` the study's own metrics, and `curves` those with (step, value); `description`, plain text, is shown above the run. May be repeated.
    Raises `TrackingUnavailable`.
    """
    client = study.tracking.client
    with reaching(study.tracking):
        with TemporaryDirectory() as folder:
            for name, table in {**(tables or {}), **({} if metrics is None else {"metrics": metrics})}.items():
                table.to_parquet(Path(folder) / f"{name}.parquet", index=False)
            if report is not None:
                shutil.copy(report, Path(folder) / "report.html")
                if (said := report.with_suffix(".json")).exists():
                    shutil.copy(said, Path(folder) / "report.json")
            if figures is not None:
                shutil.copytree(figures, Path(folder) / "figures")
            for file in files:
                shutil.copy(file, folder)
            client.log_artifacts(study.run_id, folder)
        # A fixed time makes a repeated point the same point, which MLflow keeps once.
        points = [Metric(allowed(key), value, study.start_time, 0) for key, value in (summary or {}).items()]
        points += [
            Metric(key, value, study.start_time, step) for key, of in (curves or {}).items() for step, value in of
        ]
        if points:
            client.log_batch(study.run_id, metrics=points)
        if description:
            where = f"#/experiments/{study.tracking.experiment.experiment_id}/runs/{study.run_id}/artifacts"
            links = [f"[The report]({where}/report.html)"] if report is not None else []
            links += [f"[the figures]({where}/figures)"] if figures is not None else []
            client.set_tag(study.run_id, MLFLOW_RUN_NOTE, "\n\n".join([as_text(description), ", ".join(links)]).strip())
        for chain in study.chains.values():
            write_newest(study, chain)
        if kind := BELOW.get(study.kind):
            for below in runs_of_kind(study.tracking, kind, {MLFLOW_PARENT_RUN_ID: study.run_id}):
                if below.info.status == "RUNNING":
                    client.set_terminated(below.info.run_id, status)
        client.set_terminated(study.run_id, status)
        launcher = study.tracking.launcher
        if launcher is not None and launcher.info.run_id != study.run_id:
            client.set_terminated(launcher.info.run_id, status)


def allowed(metric: str) -> str:
    """The name of a metric as MLflow's server takes it: a condition's name may hold other characters, such as `%`."""
    return re.sub(r"[^\w\-. :/]", "_", metric.replace("%", "percent"))


def address(study: Study) -> str:
    """The study's page: on its server, or for a database as `make ui` serves it."""
    return f"{server_of(study.tracking)}/{page_of(study.tracking.experiment.experiment_id, study.run_id)}"


def server_of(tracking: Tracking) -> str:
    """The tracking server; of a database, where `make ui` serves it."""
    server = tracking.uri if tracking.uri.startswith("http") else LOCAL_SERVER
    return without_password(server).rstrip("/")


def runs_of_kind(tracking: Tracking, kind: str, tags: Mapping[str, str]) -> list[Run]:
    """The experiment's runs with the tag `recursion.kind` = `kind` and all of `tags`."""
    wanted = {"recursion.kind": kind} | dict(tags)
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
    return list(tracking.client.search_runs([tracking.experiment.experiment_id], query, max_results=10_000))


def flattened(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(dotted name, value) of nested settings, in characters and lengths that MLflow takes as a parameter."""
    for name, value in dotted(settings):
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
        yield re.sub(r"[^\w.\-/ ]", "_", name), text[:CHARACTERS_A_PARAM]


def _new_run(tracking: Tracking, name: str, tags: dict[str, str]) -> Run:
    """A study run of our own; what `mlflow run` knows (entry point, commit, user) is taken from its run."""
    client, launcher = tracking.client, tracking.launcher
    if launcher is None:
        return client.create_run(tracking.experiment.experiment_id, tags=resolve_tags(tags), run_name=name)
    known = {key: value for key, value in launcher.data.tags.items() if key != MLFLOW_RUN_NAME}
    if not _NAME_FROM_MLFLOW.fullmatch(launcher.info.run_name or ""):
        name = launcher.info.run_name
    tags = known | tags | {"recursion.launcher": launcher.info.run_id}
    run = client.create_run(tracking.experiment.experiment_id, launcher.info.start_time, tags, name)
    client.log_batch(run.info.run_id, params=[Param(key, value) for key, value in launcher.data.params.items()])
    text = as_text(f"{tracking.experiment.name} / {name}")
    link = f"The study: [{text}]({page_of(tracking.experiment.experiment_id, run.info.run_id)})"
    link_tags = {"recursion.study_run": run.info.run_id, MLFLOW_RUN_NOTE: link}
    client.log_batch(launcher.info.run_id, tags=[RunTag(key, value) for key, value in link_tags.items()])
    return run


def as_text(text: str) -> str:
    """Text in Markdown, of which nothing is read as a link, an image or HTML."""
    return re.sub(r"([\\`*_\[\]()!#])", r"\\\1", html.escape(text, quote=False))


def page_of(experiment_id: str, run_id: str) -> str:
    """A run's place in the UI, with MLflow's view of experiments that train models; it opens with that for agents otherwise."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def _adopt(tracking: Tracking, run_id: str, kind: Kind, identity: str) -> None:
    """Hangs what is below unfinished runs of the same study under `run_id`; of a sweep, which may grow, below any.

    `continued_by` is written last: an adoption that is itself interrupted is finished by the next one.
    """
    client = tracking.client
    for earlier in runs_of_kind(tracking, kind, {f"recursion.{kind}": identity}):
        earlier_id, done = earlier.info.run_id, earlier.info.status == "FINISHED" and kind == "study"
        if earlier_id == run_id or done or "recursion.continued_by" in earlier.data.tags:
            continue
        under = BELOW.get(kind)
        for below in runs_of_kind(tracking, under, {MLFLOW_PARENT_RUN_ID: earlier_id}) if under else ():
            client.set_tag(below.info.run_id, MLFLOW_PARENT_RUN_ID, run_id)
        if earlier.info.status == "RUNNING":
            client.set_terminated(earlier_id, "KILLED")
        if (launcher := earlier.data.tags.get("recursion.launcher")) is not None:
            _end_launcher(tracking, launcher)
        client.set_tag(earlier_id, "recursion.continued_by", run_id)


def _end_launcher(tracking: Tracking, launcher: str) -> None:
    """The run that an interrupted `mlflow run` left behind running; a user may have deleted it since."""
    try:
        if tracking.client.get_run(launcher).info.status == "RUNNING":
            tracking.client.set_terminated(launcher, "KILLED")
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
