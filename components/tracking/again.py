"""A command that is given again: the study that it made, if that came to its end, instead of the same runs once more."""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from components.tracking.connection import Tracking, reaching
from components.tracking.studies import COMMAND, as_text, page_of, server_of


@dataclass(frozen=True)
class Earlier:
    """A finished study: what its page says (report.json), and its address."""

    said: dict[str, Any]
    address: str


def earlier(tracking: Tracking, identity: str, command: str) -> Earlier | None:
    """The newest finished run of this very study by this very command; None where there is none, or its page is gone.

    The run that `mlflow run` made for the command gets a link to it.

    Args:
        command: digest of the code and of all settings that a page shows.

    Raises:
        TrackingUnavailable: the store is away.
    """
    query = (
        f"tags.`recursion.study` = '{identity}' and tags.`{COMMAND}` = '{command}' and attributes.status = 'FINISHED'"
    )
    with reaching(tracking):
        experiment = tracking.experiment.experiment_id
        found = tracking.client.search_runs([experiment], query, max_results=1, order_by=["attributes.start_time DESC"])
        if not found or (said := _said(tracking, found[0])) is None:
            return None
        page = page_of(experiment, found[0].info.run_id)
        if (launcher := tracking.launcher) is not None:
            name = as_text(f"{tracking.experiment.name} / {found[0].info.run_name}")
            link = f"Nothing was left to compute. The study: [{name}]({page})"
            tags = {"recursion.study_run": found[0].info.run_id, MLFLOW_RUN_NOTE: link}
            tracking.client.log_batch(launcher.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            tracking.client.set_terminated(launcher.info.run_id, "FINISHED")
    return Earlier(said, f"{server_of(tracking)}/{page}")


def _said(tracking: Tracking, run: Run) -> dict[str, Any] | None:
    with TemporaryDirectory() as folder:
        try:
            file = tracking.client.download_artifacts(run.info.run_id, "report.json", folder)
        except (OSError, MlflowException):
            return None  # the study is written once more
        said: dict[str, Any] = json.loads(Path(file).read_text(encoding="utf-8"))
        return said
