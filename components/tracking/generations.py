"""One generation's run under its chain's: numbers, data, samples, and the models before and after.

`record` may be repeated at any time. Where it failed midway the next call completes what is there: runs are found
by their tags before one is made, and points that already stand are not written again.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    Run,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from components.measures.risk import RISKS
from components.recursion.records import PHASES, Chain, Generation
from components.tracking.connection import reaching
from components.tracking.descriptions import curve, of_generation, risk_of
from components.tracking.registry import model_version, versions_of_chain
from components.tracking.studies import PARAMS_A_BATCH, ChainRun, Study, as_text, flattened, forget, runs_of_kind

METRICS_A_BATCH = 1000
MOST_LOSSES = 200
"""Points of `train/loss` in MLflow, of one fit; the store has all of them."""
DIGEST_CHARACTERS = 36  # MLflow takes no longer digest; the whole one stands in the dataset's profile
TABLES = {"sample": "synthetic.parquet", "measure": "scores.parquet"}


@dataclass(frozen=True)
class Times:
    """When a generation was computed, from its manifests, in milliseconds since 1970."""

    start: int
    end: int
    fit_start: int
    fit_end: int


def record(study: Study, generation: Generation, artifacts: Mapping[str, Path | str] | None = None) -> str:
    """Writes a finished generation under its chain and returns its run id. In order within a chain.

    `artifacts`: name -> file or text, such as samples.md; synthetic.parquet and scores.parquet are taken from the
    generation's own directories. A generation that was recorded before is left as it is.

    Raises `TrackingUnavailable` if the store is away; the same call may be repeated later, as often as needed.
    """
    identity = generation.chain.identity
    with reaching(study.tracking):
        try:
            chain = study.chains.get(identity) or open_chain_run(study, generation)
            study.chains[identity] = chain
            if generation.index not in chain.finished:
                write_generation(study, chain, generation, artifacts or {})
                chain.finished.add(generation.index)
        except BaseException:
            forget(study, generation.chain)
            raise
    return chain.generations[generation.index]


def open_chain_run(study: Study, first: Generation) -> ChainRun:
    """The chain's run under this study, made if there is none, with all that the store holds of the chain."""
    tracking, client, chain = study.tracking, study.tracking.client, first.chain
    if study.adopted is None:
        below = runs_of_kind(tracking, "chain", {MLFLOW_PARENT_RUN_ID: study.run_id})
        study.adopted = {run.data.tags["recursion.chain"]: run for run in below}
    versions = versions_of_chain(tracking, chain.identity) if first.directories else {}  # in memory it has none
    if chain.identity not in study.adopted:
        tags = _tags("chain", chain) | study.origin | {MLFLOW_PARENT_RUN_ID: study.run_id}
        name = f"{chain.condition} seed {chain.seed}"
        run = client.create_run(tracking.experiment.experiment_id, _times(first).start, tags, name)
        study.adopted[chain.identity] = run
        return ChainRun(run.info.run_id, versions=versions, settings=chain.settings, steps=-1)
    run = study.adopted[chain.identity]
    if run.info.status != "RUNNING":
        client.update_run(run.info.run_id, status="RUNNING")
    known = ChainRun(run.info.run_id, versions=versions, settings=chain.settings)
    for child in runs_of_kind(tracking, "generation", {MLFLOW_PARENT_RUN_ID: run.info.run_id}):
        index = int(child.data.tags["recursion.generation"])
        known.generations[index] = child.info.run_id
        if child.info.status == "FINISHED":
            known.finished.add(index)
    if chain.family in RISKS:
        there = client.get_metric_history(run.info.run_id, curve(chain.family))
        known.first = next((point.value for point in there if point.step == 0), math.nan)
    return known


def reach(chain: ChainRun, generation: Generation) -> None:
    """Remember what the chain's description tells of a generation."""
    value = risk_of(generation)
    if generation.index == 0:
        chain.first = value
    chain.reached = max(chain.reached, (generation.index, value), key=lambda one: one[0])


def points_of_chain(generation: Generation, timestamp: int) -> list[Metric]:
    """A generation's metrics as points of its chain's curves, and the curve that MLflow shows first."""
    family = generation.chain.family
    values = dict(generation.metrics)
    if not math.isnan(risk := risk_of(generation)):
        values[curve(family)] = risk
    return [Metric(key, value, timestamp, generation.index) for key, value in values.items()]


def write_generation(
    study: Study,
    chain: ChainRun,
    generation: Generation,
    artifacts: Mapping[str, Path | str],
    on_chain: bool = True,
) -> None:
    client = study.tracking.client
    times = _times(generation)
    reach(chain, generation)
    before: Run | None = None
    if generation.index in chain.generations:
        run_id = chain.generations[generation.index]
        before = client.get_run(run_id)
    else:
        run_id = _new_run(study, chain, generation, times)
        chain.generations[generation.index] = run_id

    parent = chain.versions.get(generation.index - 1)
    known = chain.versions.get(generation.index)
    text = description(generation, chain)
    version = model_version(study, generation, run_id, text, parent, known, again=before is not None)
    model_id = None
    if version is not None:
        chain.versions[generation.index] = version
        model_id = version.tags["model_id"]
        outputs = before.outputs.model_outputs if before is not None and before.outputs is not None else []
        if model_id not in [output.model_id for output in outputs]:
            client.log_outputs(run_id, [LoggedModelOutput(model_id, step=generation.index)])
    models = [LoggedModelInput(parent.tags["model_id"])] if parent is not None else []
    _log_inputs(client, run_id, _datasets(generation), models)

    for name, content in artifacts.items():
        if isinstance(content, Path):
            client.log_artifact(run_id, str(content), str(Path(name).parent) if "/" in name else None)
        else:
            client.log_text(run_id, content, name)
    for phase, name in TABLES.items():
        if phase in generation.directories and (table := generation.directories[phase] / name).exists():
            client.log_artifact(run_id, str(table))

    points = [Metric(key, value, times.end, generation.index) for key, value in generation.metrics.items()]
    own = [Metric(p.key, p.value, p.timestamp, p.step, model_id=model_id, run_id=run_id) for p in points]
    settings = generation.chain.settings
    write_points(study, run_id, own + _losses(generation, times), settings, again=before is not None)
    if on_chain:
        curves = points_of_chain(generation, times.end)
        write_points(study, chain.run_id, curves, chain.settings, again=before is not None)
        chain.settings = {}
    client.set_terminated(run_id, "FINISHED", times.end)


def _log_inputs(
    client: MlflowClient, run_id: str, datasets: list[DatasetInput], models: list[LoggedModelInput]
) -> None:
    """MLflow looks whether it knows a dataset, and then inserts it: of two studies that bring the same one at the same moment,
    one is refused by the database, and finds it there the next time."""
    for last in (False, False, True):
        try:
            client.log_inputs(run_id, datasets=datasets, models=models)
            return
        except MlflowException as error:
            if last or "unique" not in str(error).lower():
                raise


def _new_run(study: Study, chain: ChainRun, generation: Generation, times: Times) -> str:
    parent = chain.versions.get(generation.index - 1)
    tags = _tags("generation", generation.chain) | study.origin
    tags |= {
        MLFLOW_PARENT_RUN_ID: chain.run_id,
        "recursion.generation": str(generation.index),
        "recursion.parent_model": parent.tags["model_id"] if parent is not None else "",
        MLFLOW_RUN_NOTE: as_text(description(generation, chain)),
    }
    experiment_id = study.tracking.experiment.experiment_id
    run = study.tracking.client.create_run(experiment_id, times.start, tags, f"generation {generation.index}")
    return str(run.info.run_id)


def description(generation: Generation, chain: ChainRun) -> str:
    return of_generation(generation.chain.family, generation.index, risk_of(generation), chain.first)


def _tags(kind: str, chain: Chain) -> dict[str, str]:
    return {
        "recursion.kind": kind,
        "recursion.family": chain.family,
        "recursion.condition": chain.condition,
        "recursion.seed": str(chain.seed),
        "recursion.chain": chain.identity,
    }


def write_points(
    study: Study, run_id: str, points: list[Metric], settings: Mapping[str, Any], *, again: bool = False
) -> None:
    """Every point once and the settings as parameters. `again`: an earlier attempt may have written some points."""
    client = study.tracking.client
    params = [Param(key, value) for key, value in flattened(settings)]
    if again:
        keys = {point.key for point in points}
        there = {(key, point.step) for key in keys for point in client.get_metric_history(run_id, key)}
        points = [point for point in points if (point.key, point.step) not in there]
    while points or params:
        client.log_batch(run_id, points[:METRICS_A_BATCH], params[:PARAMS_A_BATCH])
        points, params = points[METRICS_A_BATCH:], params[PARAMS_A_BATCH:]


def _losses(generation: Generation, times: Times) -> list[Metric]:
    """Return `train/loss` by optimiser step, evenly spaced where there are many; its times are spread evenly over the fit."""
    if "fit" not in generation.directories or not (file := generation.directories["fit"] / "losses.parquet").exists():
        return []
    columns = pyarrow.parquet.read_table(file, columns=["step", "loss"]).to_pydict()
    a_step = (times.fit_end - times.fit_start) / max(1, len(columns["step"]))
    steps, losses = columns["step"], columns["loss"]
    rows = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_LOSSES)).round().astype(int)).tolist()
    return [Metric("train/loss", losses[row], times.fit_start + round((row + 1) * a_step), steps[row]) for row in rows]


def _datasets(generation: Generation) -> list[DatasetInput]:
    """What the model was trained on and what it was measured on, by digest; the rows stay in the store."""
    sources = {"training": "compose", "evaluation": "data"}
    inputs = []
    for context, digest in generation.digests.items():
        profile: dict[str, object] = {"sha256": digest}
        directory = generation.directories.get(sources[context])
        if context == "training" and directory is not None:
            profile["num_rows"] = pyarrow.parquet.read_metadata(directory / "composition.parquet").num_rows
        dataset = Dataset(
            name=f"{context} data",
            digest=digest[:DIGEST_CHARACTERS],
            source_type="local",
            source=json.dumps({"uri": generation.locations.get(sources[context], "")}),
            profile=json.dumps(profile),
        )
        inputs.append(DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)]))
    return inputs


def _times(generation: Generation) -> Times:
    """A manifest's `created` is the moment a phase was finished, `seconds` how long it took."""
    now = round(time.time() * 1000)
    spans = {}
    for phase in PHASES:
        if phase in generation.directories:
            manifest = json.loads((generation.directories[phase] / "manifest.json").read_text("utf-8"))
            end = round(datetime.fromisoformat(manifest["created"]).timestamp() * 1000)
            spans[phase] = (end - round(1000 * manifest["seconds"]), end)
    start = min((span[0] for span in spans.values()), default=now)
    end = max((span[1] for span in spans.values()), default=now)
    return Times(start, end, *spans.get("fit", (start, end)))
