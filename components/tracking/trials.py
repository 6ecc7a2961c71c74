"""A sweep's trials: one run each between the sweep's and its chains', and which of them was best."""

from collections.abc import Collection, Mapping
from typing import Any

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from components.tracking.connection import Tracking, reaching
from components.tracking.registry import versions_of_chain
from components.tracking.studies import Status, Study, flattened, runs_of_kind, write_newest

BEST, PARETO, STATE, TRIAL = "recursion.best", "recursion.pareto", "recursion.state", "recursion.trial"
ENDS: Mapping[str, Status] = {"completed": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "running": "KILLED"}


def open_trial(sweep: Study, number: int, name: str, condition: str, point: Mapping[str, Any]) -> Study:
    """The run of a trial below its sweep's, found or made; `point`, what it was tried with, becomes its parameters.

    Raises `TrackingUnavailable`; may be repeated then.
    """
    tracking, client = sweep.tracking, sweep.tracking.client
    with reaching(tracking):
        found = _trials(sweep).get(number)
        if found is None:
            tags = sweep.origin | {
                MLFLOW_PARENT_RUN_ID: sweep.run_id,
                "recursion.kind": "trial",
                "recursion.family": sweep.family,
                "recursion.condition": condition,
                TRIAL: str(number),
            }
            found = client.create_run(tracking.experiment.experiment_id, tags=tags, run_name=name)
        run_id = found.info.run_id
        if found.info.status != "RUNNING":
            client.update_run(run_id, status="RUNNING")
        params = [Param(key, value) for key, value in flattened(point)]
        client.log_batch(run_id, params=params, tags=[RunTag(STATE, "running")])
    return Study(tracking, run_id, sweep.family, found.info.start_time, sweep.origin, "trial")


def record_report(trial: Study, generation: int, numbers: Mapping[str, float]) -> None:
    """What a trial reported after a generation, as metrics with that step. May be repeated. Raises `TrackingUnavailable`."""
    with reaching(trial.tracking):
        # A time that follows from the step makes a repeated point the same point, which MLflow keeps once.
        points = [Metric(key, value, trial.start_time + generation, generation) for key, value in numbers.items()]
        trial.tracking.client.log_batch(trial.run_id, points)


def end_trial(trial: Study, state: str) -> None:
    """Ends a trial's run, and those of its chains that were stopped on their way: `completed`, `pruned`, `failed`, or
    `running` where it was interrupted."""
    client = trial.tracking.client
    with reaching(trial.tracking):
        for known in trial.chains.values():
            write_newest(trial, known)
        for chain in runs_of_kind(trial.tracking, "chain", {MLFLOW_PARENT_RUN_ID: trial.run_id}):
            if chain.info.status == "RUNNING":
                client.set_terminated(chain.info.run_id, ENDS[state])
        client.set_tag(trial.run_id, STATE, state)
        client.set_terminated(trial.run_id, ENDS[state])


def ended_trials(sweep: Study) -> set[int]:
    """Numbers of the trials whose end has been written, and with it all that came before. Raises `TrackingUnavailable`."""
    with reaching(sweep.tracking):
        return {number for number, run in _trials(sweep).items() if run.data.tags.get(STATE, "running") != "running"}


def mark_best(sweep: Study, best: int | None, front: Collection[int]) -> None:
    """Tag the best trial and, of several objectives, the Pareto front; the best one's last models get the alias `best`.

    What was best before, and is not any more, loses both. Raises `TrackingUnavailable`; may be repeated.
    """
    client = sweep.tracking.client
    with reaching(sweep.tracking):
        for number, run in _trials(sweep).items():
            for tag, holds in ((BEST, number == best), (PARETO, number in front)):
                if holds:
                    client.set_tag(run.info.run_id, tag, "true")
                elif tag in run.data.tags:
                    client.delete_tag(run.info.run_id, tag)
            if number == best or BEST in run.data.tags:
                _alias(sweep.tracking, run, best=number == best)


def _alias(tracking: Tracking, trial: Run, best: bool) -> None:
    for chain in runs_of_kind(tracking, "chain", {MLFLOW_PARENT_RUN_ID: trial.info.run_id}):
        versions = versions_of_chain(tracking, chain.data.tags["recursion.chain"])
        if not versions:
            continue
        last = versions[max(versions)]
        if best:
            tracking.client.set_registered_model_alias(last.name, "best", last.version)
            continue
        try:
            tracking.client.delete_registered_model_alias(last.name, "best")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise


def _trials(sweep: Study) -> dict[int, Run]:
    below = runs_of_kind(sweep.tracking, "trial", {MLFLOW_PARENT_RUN_ID: sweep.run_id})
    return {int(run.data.tags[TRIAL]): run for run in below}
