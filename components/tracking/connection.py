"""Where the runs go: finds the tracking store, makes sure that it answers, and makes the experiment.

Everything that a user can have got wrong about it ends here, within seconds, before anything is computed.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import requests
import sqlalchemy
from mlflow.entities import Experiment, LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from components.config.errors import BadInput
from components.config.settings import TrackingSettings

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
DEFAULT_EXPERIMENT = "0"
EXPERIMENT_KIND = "mlflow.experimentKind"
FOLDER_CHARACTERS = 60
FEWEST_CHARACTERS = 4  # of a password that is searched for in a message
_ANSWER_SECONDS = 5
_BEFORE_AT = re.compile(r"(://[^:/@\s]*:)(\S+)(?=@)")
_AMONG_OPTIONS = re.compile(r"(?i)([?&;](?:password|passwd|sslpassword|token|secret)=)[^&;#\s]+")
_PASSING_ERRORS = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED")


class TrackingUnavailable(Exception):
    """The tracking store does not answer for now. Nothing is lost: repeat the same call later."""


@dataclass(frozen=True)
class Tracking:
    """A tracking store that answered. `launcher` is the run that `mlflow run` made for this process, if it did."""

    client: MlflowClient
    uri: str
    experiment: Experiment
    entry_point: str
    models: Literal["full", "external", "none"]
    launcher: Run | None


@dataclass(frozen=True)
class Reading:
    """A tracking store that answered, to be read."""

    client: MlflowClient
    uri: str


def connect(settings: TrackingSettings, entry_point: str, project: Path) -> Tracking:
    """The store named by `MLFLOW_TRACKING_URI`, else `<project>/mlflow.db`, with the study's experiment in it.

    The experiment is `tracking.experiment`, else the one chosen at `mlflow run --experiment-name`, else
    `MLFLOW_EXPERIMENT_NAME`, else `entry_point`. `mlflow run` without a choice puts its run into "Default":
    that is none. A new database is migrated here, once; its artifacts go beside it, into `mlartifacts`.
    `MLFLOW_RUN_ID` is taken out of the environment, so that no worker writes to the study's run by mistake.

    Raises `BadInput` if the store cannot be reached, written to or is none of MLflow's.
    """
    uri = _address(project)
    with _answering(uri, "that we may write to"):
        client = MlflowClient(tracking_uri=uri)
        launcher = _launcher(client)
        experiment = _experiment(client, uri, settings, entry_point, launcher)
        _name_kind(client, experiment)
    os.environ.pop("MLFLOW_RUN_ID", None)
    return Tracking(client, uri, experiment, entry_point, settings.models, launcher)


def connect_to_read(project: Path) -> Reading:
    """The same store, of which nothing is made: neither a database nor an experiment.

    Raises `BadInput` if it cannot be reached, is not there or is none of MLflow's.
    """
    uri = _address(project, writing=False)
    with _answering(uri, "that we may read"):
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return Reading(client, uri)


def _address(project: Path, writing: bool = True) -> str:
    """The store's URI; it is there, or for writing can be made."""
    default = f"sqlite:///{project.resolve() / 'mlflow.db'}"
    uri = os.environ.get("MLFLOW_TRACKING_URI") or default
    scheme = urlsplit(uri).scheme.split("+")[0]
    if scheme in DATABASES:
        _check_database(uri, writing)
    elif scheme in ("http", "https"):
        _check_server(uri)
    elif not scheme.startswith("databricks") and uri != "databricks":
        raise _bad_uri(uri, f"MLflow keeps no runs in plain folders; a server (http://...) or a database ({default})")
    return uri


@contextmanager
def _answering(uri: str, which: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = without_password(str(error).splitlines()[0], uri)[:300]
        raise _bad_uri(uri, f"no MLflow tracking store of this version {which} ({reason})") from error


def _name_kind(client: MlflowClient, experiment: Experiment) -> None:
    """Without its kind the UI opens an experiment with its pages for language agents."""
    if EXPERIMENT_KIND in experiment.tags:
        return
    try:
        client.set_experiment_tag(experiment.experiment_id, EXPERIMENT_KIND, "custom_model_development")
    except MlflowException:  # of studies that start at the same moment, the database refuses all but one
        if EXPERIMENT_KIND not in client.get_experiment(experiment.experiment_id).tags:
            raise


@contextmanager
def reaching(tracking: Tracking | Reading) -> Iterator[None]:
    """Turns the errors of a store that is away for now into `TrackingUnavailable`; all others pass as they are."""
    try:
        yield
    except (requests.RequestException, MlflowException) as error:
        if not _passes(error):
            raise
        raise TrackingUnavailable(without_password(f"{tracking.uri}: {error}", tracking.uri)) from error


def _passes(error: BaseException | None) -> bool:
    """MLflow wraps some errors of the connection into "invalid parameter"; what lies below them tells."""
    while error is not None:
        if isinstance(error, requests.RequestException):
            return True
        if isinstance(error, MlflowException) and error.error_code in _PASSING_ERRORS:
            return True
        error = error.__cause__ or error.__context__
    return False


def without_password(text: str, uri: str = "") -> str:
    """A URI, or a message of others with URIs in it, as it may be shown: every password in it is replaced.

    Passwords stand before the @ (whose own @ or / people forget to escape) or among a database's options. `uri`: what the
    message is about; it may tell a part of what stands before its @ without the rest.
    """
    for _, password in _BEFORE_AT.findall(uri):
        for part in re.split("[@/]", password):
            text = text.replace(part, "***") if len(part) >= FEWEST_CHARACTERS else text
    return _AMONG_OPTIONS.sub(r"\1***", _BEFORE_AT.sub(r"\1***", text))


def _bad_uri(uri: str, remedy: str) -> BadInput:
    return BadInput("MLFLOW_TRACKING_URI", without_password(uri), remedy)


def _check_server(uri: str) -> None:
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=_ANSWER_SECONDS)
    except (requests.RequestException, ValueError) as error:
        reason = type(error).__name__
        raise _bad_uri(
            uri, f"no answer ({reason}); start it, correct the address, or unset it (local database)"
        ) from error


def _check_database(uri: str, writing: bool) -> None:
    """One connection by ourselves: MLflow tries for 100 seconds before it says that a database cannot be opened."""
    try:
        file = sqlalchemy.make_url(uri).database if uri.startswith("sqlite") else None
        if file and not writing:
            Path(file).open("rb").close()  # SQLite would make it
        elif file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
        engine = sqlalchemy.create_engine(uri)
        with engine.connect() as connection:
            if file:
                connection.exec_driver_sql("PRAGMA schema_version")
                if writing:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")  # fails where the file may only be read
        engine.dispose()
    except (OSError, ImportError, ValueError, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = without_password(str(getattr(error, "orig", None) or error).splitlines()[0], uri)
        what = "cannot be opened" + " for writing" * writing
        raise _bad_uri(uri, f"{what} ({reason}); name a database that can be") from error


def _launcher(client: MlflowClient) -> Run | None:
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise BadInput("MLFLOW_RUN_ID", run_id, "no such run in this tracking store; unset it for a new run") from error
    if run.info.lifecycle_stage != LifecycleStage.ACTIVE:
        raise BadInput("MLFLOW_RUN_ID", run_id, "this run was deleted; unset it for a new run")
    return run


def _experiment(
    client: MlflowClient, uri: str, settings: TrackingSettings, entry_point: str, launcher: Run | None
) -> Experiment:
    name = settings.experiment
    if name is None and launcher is not None and launcher.info.experiment_id != DEFAULT_EXPERIMENT:
        return client.get_experiment(launcher.info.experiment_id)
    name = name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or entry_point
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = None
        if uri.startswith("sqlite"):
            beside = Path(sqlalchemy.make_url(uri).database or "").resolve().parent
            location = (beside / "mlartifacts" / _folder(name)).as_uri()
        try:
            client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another study was quicker
                raise
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        raise BadInput("tracking.experiment", name, "this experiment was deleted; restore it in MLflow or name another")
    return experiment


def _folder(experiment: str) -> str:
    """An experiment's name where it can be a folder's; of `../..` or `/tmp`, say, what is left of it and a digest."""
    safe = re.sub(r"[^\w.\- ]+", "-", experiment).lstrip(".- ")[:FOLDER_CHARACTERS]
    return experiment if safe == experiment else f"{safe}-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}"
