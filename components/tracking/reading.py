"""Studies read back: which there are, what their runs hold, and how their generations hang together.

Nothing is written here but a page into the run that it is about (`attach`).
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pandas as pd
from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID

from components.config.errors import BadInput
from components.recursion.records import StudyRun
from components.tracking.connection import Reading, Tracking, reaching, without_password
from components.tracking.studies import LOCAL_SERVER, Study, page_of
from components.tracking.trials import BEST

KINDS = ("study", "sweep")
SHOWN = 5
LINEAGE = [
    "condition", "seed", "generation", "status", "page", "data", "evaluation", "model", "model_page", "parent_model",
]  # fmt: skip
_SETTING = "studies"


class FilesUnreadable(Exception):
    """A run's files cannot be had: the place is empty, away, or not to be read from here."""


def find_studies(reading: Reading, asked: str) -> list[StudyRun]:
    """The studies and sweeps that are asked for by run id or name, with commas between them, in that order, each once.

    A name may itself hold commas. Raises `BadInput` for one that is not there, deleted, no study, or that several bear.
    """
    with reaching(reading):
        known = _studies(reading)
        parts, found = [part.strip() for part in asked.split(",")], list[Run]()
        if not asked.strip():
            raise BadInput(
                _SETTING, asked, f"give run ids or names of studies, with commas between them; {_there(known)}"
            )
        while parts:
            for taken in range(len(parts), 0, -1):  # the longest name that is one
                if runs := _named(known, ", ".join(parts[:taken])) or _named(known, ",".join(parts[:taken])):
                    break
            else:
                taken, runs = 1, [_by_id(reading, parts[0], known)]
            found += [_only(runs, ", ".join(parts[:taken]))]
            parts = parts[taken:]
        return [study_run(reading, run) for run in {run.info.run_id: run for run in found}.values()]


def study_run(reading: Reading | Tracking, run: Run) -> StudyRun:
    """What a page says of where a study comes from."""
    experiment = reading.client.get_experiment(run.info.experiment_id)
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return StudyRun(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        kind=run.data.tags["recursion.kind"],
        family=run.data.tags["recursion.family"],
        status=run.info.status,
        experiment=experiment.name,
        started=f"{started:%Y-%m-%d %H:%M} UTC",
        commit=run.data.tags.get(MLFLOW_GIT_COMMIT, ""),
        page=f"{_server(reading.uri)}/{page_of(run.info.experiment_id, run.info.run_id)}",
    )


def read_back(study: Study) -> tuple[StudyRun, pd.DataFrame]:
    """An open study's own run, and its lineage. Raises `TrackingUnavailable`."""
    reading = Reading(study.tracking.client, study.tracking.uri)
    with reaching(reading):
        run = study_run(reading, reading.client.get_run(study.run_id))
    return run, lineage(reading, run)


def lineage(reading: Reading, study: StudyRun) -> pd.DataFrame:
    """A row for each generation that has a run, in the order in which its chain began.

    condition, seed, generation, status, page (in the UI), data and evaluation (digests of what it was trained and measured on),
    model and model_page (the registered version), parent_model (the version that it came from); empty where there is none.
    Of a sweep the chains of the best trial. Raises `TrackingUnavailable`.
    """
    with reaching(reading):
        experiment = reading.client.get_run(study.run_id).info.experiment_id
        above = [study.run_id]
        if study.kind == "sweep":
            trials = _below(reading, experiment, "trial", study.run_id)
            above = [trial.info.run_id for trial in trials if BEST in trial.data.tags]
        chains = [chain for one in above for chain in _below(reading, experiment, "chain", one)]
        rows = [row for chain in chains for row in _generations(reading, experiment, chain)]
    return pd.DataFrame(rows, columns=LINEAGE)


def fetch(reading: Reading, study: StudyRun, folder: Path) -> None:
    """Bring the files of a study's run into `folder`.

    Raises `FilesUnreadable` where there are none, or their place cannot be read from here; `TrackingUnavailable` as ever.
    """
    with reaching(reading):
        where = without_password(reading.client.get_run(study.run_id).info.artifact_uri, reading.uri)
        try:
            listed = reading.client.list_artifacts(study.run_id)
            for file in listed:
                reading.client.download_artifacts(study.run_id, file.path, str(folder))
        except (OSError, MlflowException) as error:
            reason = without_password(str(error).splitlines()[0], reading.uri)[:200]
            raise FilesUnreadable(f"its files cannot be read from {where} ({reason})") from error
    if not listed:
        raise FilesUnreadable(f"there are no files at {where}: they were deleted, or lie elsewhere now")


def attach(reading: Reading, study: StudyRun, page: Path) -> None:
    """Put a page into the study's run, in the place of the one that is there. Raises `TrackingUnavailable`."""
    with reaching(reading):
        reading.client.log_artifact(study.run_id, str(page))


def _studies(reading: Reading) -> list[Run]:
    """Newest first, without those that another start continued."""
    experiments = [one.experiment_id for one in reading.client.search_experiments()]
    found = [
        run
        for kind in KINDS
        for run in reading.client.search_runs(experiments, f"tags.`recursion.kind` = '{kind}'", max_results=10_000)
        if "recursion.continued_by" not in run.data.tags
    ]
    return sorted(found, key=lambda run: run.info.start_time, reverse=True)


def _there(known: Sequence[Run]) -> str:
    if not known:
        return "there is none in this store"
    names = [f"{run.info.run_id} ({run.info.run_name})" for run in known[:SHOWN]]
    return f"the newest are {', '.join(names)}"


def _named(known: Sequence[Run], name: str) -> list[Run]:
    return [run for run in known if name in (run.info.run_name, run.info.run_id)]


def _only(runs: Sequence[Run], name: str) -> Run:
    if len(runs) > 1:
        ids = ", ".join(run.info.run_id for run in runs)
        raise BadInput(_SETTING, name, f"{len(runs)} studies bear this name; give the id of one: {ids}")
    return runs[0]


def _by_id(reading: Reading, name: str, known: Sequence[Run]) -> Run:
    """The study of the launcher's run, or why there is none."""
    try:
        run = reading.client.get_run(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        remedy = f"no run of this tracking store has this id, and no study this name; {_there(known)}"
        raise BadInput(_SETTING, name, remedy) from error
    tags = run.data.tags
    if run.info.lifecycle_stage != LifecycleStage.ACTIVE:
        remedy = f"this run was deleted; `mlflow runs restore --run-id {run.info.run_id}` brings it back"
        raise BadInput(_SETTING, name, remedy)
    if following := tags.get("recursion.continued_by") or tags.get("recursion.study_run"):
        return _by_id(reading, following, known)
    if tags.get("recursion.kind") in KINDS:
        return run
    kind = f"it is a {tags['recursion.kind']}" if "recursion.kind" in tags else "no study of this project wrote it"
    while (parent := tags.get(MLFLOW_PARENT_RUN_ID)) and tags.get("recursion.kind") not in KINDS:
        run = reading.client.get_run(parent)
        tags = run.data.tags
    its = f"; its study is {run.info.run_id}" if tags.get("recursion.kind") in KINDS else f"; {_there(known)}"
    raise BadInput(_SETTING, name, f"this run is no study: {kind}{its}")


def _below(reading: Reading, experiment: str, kind: str, parent: str) -> list[Run]:
    query = f"tags.`recursion.kind` = '{kind}' and tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"
    found = reading.client.search_runs([experiment], query, max_results=10_000)
    return sorted(found, key=lambda run: run.info.start_time)


def _generations(reading: Reading, experiment: str, chain: Run) -> list[dict[str, object]]:
    versions = _versions(reading, chain.data.tags["recursion.chain"])
    rows = []
    for run in _below(reading, experiment, "generation", chain.info.run_id):
        tags, index = run.data.tags, int(run.data.tags["recursion.generation"])
        digests: dict[str, str] = {}
        for one in run.inputs.dataset_inputs if run.inputs else ():
            whole = json.loads(one.dataset.profile or "{}").get("sha256", one.dataset.digest)
            digests |= {tag.value: whole for tag in one.tags}
        name, version, parent = versions.get(index, ("", "", ""))
        rows.append(
            {
                "condition": tags["recursion.condition"],
                "seed": int(tags["recursion.seed"]),
                "generation": index,
                "status": run.info.status,
                "page": f"{_server(reading.uri)}/{page_of(run.info.experiment_id, run.info.run_id)}",
                "data": digests.get("training", ""),
                "evaluation": digests.get("evaluation", ""),
                "model": f"{name}, version {version}" if name else "",
                "model_page": f"{_server(reading.uri)}/#/models/{name}/versions/{version}" if name else "",
                "parent_model": f"version {parent}" if parent else "",
            }
        )
    return sorted(rows, key=lambda row: int(str(row["generation"])))


def _versions(reading: Reading, chain: str) -> dict[int, tuple[str, str, str]]:
    """By generation: the registered model's name, its version, and the version of its parent."""
    models = reading.client.search_registered_models(f"tags.`recursion.chain` = '{chain}'")
    if not models:
        return {}
    found = reading.client.search_model_versions(f"name = '{models[0].name}'", max_results=10_000)
    return {
        int(one.tags["generation"]): (one.name, str(one.version), one.tags.get("parent_version", ""))
        for one in found
        if "generation" in one.tags
    }


def _server(uri: str) -> str:
    """Where the UI is: at the server, without a user's name; of a database where `make ui` serves it."""
    if not uri.startswith("http"):
        return LOCAL_SERVER
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
