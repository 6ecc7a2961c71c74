"""The model registry: one registered model a chain, one version a generation, as MLflow loads a family's models.

`load_model("models:/<name>@generation-3")` works for both ways of keeping a model: `full` copies the weights,
`external` leaves them in the store and writes the same description with a pointer to them.
"""

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL, MLFLOW_MODEL_VERSIONS

from components.recursion.records import Chain, Generation
from components.tracking import flavors
from components.tracking.connection import Tracking
from components.tracking.studies import Study, flattened


def model_name(chain: Chain) -> str:
    """The registered model of a chain, such as `language-no-real-data-seed0-1a2b3c4d`."""
    condition = re.sub(r"[^\w.\-]+", "-", chain.condition)
    return f"{chain.family}-{condition}-seed{chain.seed}-{chain.identity[:8]}"


def versions_of_chain(tracking: Tracking, identity: str) -> dict[int, ModelVersion]:
    """The versions that a chain's registered model has, by generation; whichever study or sweep named it."""
    if tracking.models == "none":
        return {}
    models = tracking.client.search_registered_models(f"tags.`recursion.chain` = '{identity}'")
    if not models:
        return {}
    found = tracking.client.search_model_versions(f"name = '{models[0].name}'", max_results=10_000)
    return {int(version.tags["generation"]): version for version in found if "generation" in version.tags}


def model_version(
    study: Study,
    generation: Generation,
    run_id: str,
    description: str,
    parent: ModelVersion | None,
    known: ModelVersion | None,
    *,
    again: bool,
) -> ModelVersion | None:
    """The version of this generation's model, made unless `known`; None if it has no model or none is wanted.

    A version's number is MLflow's; its generation is the tag `generation` and the alias `generation-<i>`. The alias
    `latest` is MLflow's own and always means the highest version.
    """
    tracking = study.tracking
    folder = generation.directories["fit"] / "model" if "fit" in generation.directories else None
    if tracking.models == "none" or folder is None or not folder.is_dir():
        return None
    client, before = tracking.client, parent or known
    name = before.name if before is not None else model_name(generation.chain)
    link_is_missing = known is None or again
    if known is None:
        model = _logged_model(study, generation, run_id, folder, again=again)
        if parent is None:
            _register(client, name, generation.chain)
        tags = {
            "generation": str(generation.index),
            "parent_version": str(parent.version) if parent is not None else "",
            "data_digest": generation.digests.get("training", ""),
            "model_id": model.model_id,
            "store": f"{generation.locations['fit']}/model",
        }
        # The location, not `models:/<id>`: a database's registry would look that up in MLflow's global tracking store.
        known = client.create_model_version(
            name,
            model.artifact_location,
            run_id,
            tags,
            description=description,
            await_creation_for=0,
            model_id=model.model_id,
        )
    elif tracking.models == "full":
        model = client.get_logged_model(known.tags["model_id"])
        if MLFLOW_MODEL_IS_EXTERNAL in model.tags:  # registered by a study that did not copy the weights
            _upload(client, model, generation, folder, full=True)
            client.delete_logged_model_tag(model.model_id, MLFLOW_MODEL_IS_EXTERNAL)
    if link_is_missing:
        link = json.dumps([{"name": name, "version": int(known.version)}])  # what the UI reads on a model's page
        client.set_logged_model_tags(known.tags["model_id"], {MLFLOW_MODEL_VERSIONS: link})
    client.set_registered_model_alias(name, f"generation-{generation.index}", known.version)
    return known


def _register(client: MlflowClient, name: str, chain: Chain) -> None:
    text = (
        f"{chain.condition}, seed {chain.seed}: a version for every generation of this chain of {chain.family} models."
    )
    try:
        client.create_registered_model(name, {"recursion.chain": chain.identity}, text)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _logged_model(study: Study, generation: Generation, run_id: str, folder: Path, *, again: bool) -> LoggedModel:
    """The run's model with its files. `again`: one that an interrupted attempt left behind is completed."""
    client, chain, full = study.tracking.client, generation.chain, study.tracking.models == "full"
    experiment_id = study.tracking.experiment.experiment_id
    left = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'") if again else []
    if left:
        model = left[0]
    else:
        tags = {"recursion.chain": chain.identity, "recursion.generation": str(generation.index)}
        tags |= study.origin | {"store": f"{generation.locations['fit']}/model"}
        if not full:
            tags[MLFLOW_MODEL_IS_EXTERNAL] = "true"
        name = re.sub(r"[^\w\-]+", "-", f"generation-{generation.index}-{chain.condition}-seed{chain.seed}")
        params = dict(flattened(chain.settings))
        model = client.create_logged_model(experiment_id, name, run_id, tags, params, model_type=chain.family)
    _upload(client, model, generation, folder, full=full)
    return client.finalize_logged_model(model.model_id, "READY")


def _upload(client: MlflowClient, model: LoggedModel, generation: Generation, folder: Path, *, full: bool) -> None:
    with TemporaryDirectory() as temporary:
        flavors.write(Path(temporary), model, generation, folder, full=full)
        client.log_model_artifacts(model.model_id, temporary)
