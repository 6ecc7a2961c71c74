"""The model registry: one registered model a chain, one version a generation, in MLflow's transformers format.

`mlflow.transformers.load_model("models:/<name>@generation-3")` works for both ways of keeping a model: `full` copies
the weights, `external` leaves them in the store and writes the same description with a pointer to them.
"""

import json
import platform
import re
import shutil
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow.pyfunc
import pyarrow.parquet
import yaml
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL, MLFLOW_MODEL_VERSIONS

from components.recursion.records import Chain, Generation
from components.tracking.connection import Tracking
from components.tracking.studies import Study, flattened

NEEDED_TO_LOAD = ("torch", "transformers", "tokenizers", "safetensors")


def model_name(chain: Chain) -> str:
    """The registered model of a chain, such as `language-no-real-data-seed0-1a2b3c4d`."""
    condition = re.sub(r"[^\w.\-]+", "-", chain.condition)
    return f"{chain.family}-{condition}-seed{chain.seed}-{chain.identity[:8]}"


def versions_of_chain(tracking: Tracking, chain: Chain) -> dict[int, ModelVersion]:
    """The versions that the chain's registered model has, by generation."""
    if tracking.models == "none":
        return {}
    found = tracking.client.search_model_versions(f"name = '{model_name(chain)}'", max_results=10_000)
    return {int(version.tags["generation"]): version for version in found if "generation" in version.tags}


def model_version(
    study: Study,
    generation: Generation,
    run_id: str,
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
    client, name = tracking.client, model_name(generation.chain)
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
            "store": folder.resolve().as_uri(),
        }
        # The location, not `models:/<id>`: a database's registry would look that up in MLflow's global tracking store.
        known = client.create_model_version(
            name,
            model.artifact_location,
            run_id,
            tags,
            description=f"Generation {generation.index}",
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
        tags |= study.origin | {"store": folder.resolve().as_uri()}
        if not full:
            tags[MLFLOW_MODEL_IS_EXTERNAL] = "true"
        name = re.sub(r"[^\w\-]+", "-", f"generation-{generation.index}-{chain.condition}-seed{chain.seed}")
        params = dict(flattened(chain.settings))
        model = client.create_logged_model(experiment_id, name, run_id, tags, params, model_type=chain.family)
    _upload(client, model, generation, folder, full=full)
    return client.finalize_logged_model(model.model_id, "READY")


def _upload(client: MlflowClient, model: LoggedModel, generation: Generation, folder: Path, *, full: bool) -> None:
    """Writes the model's folder as `mlflow.transformers.save_model` lays it out, without loading the model.

    The weights are the store's own bytes: their sha256 is the one in the manifest of the fit.
    """
    with TemporaryDirectory() as temporary:
        target = Path(temporary)
        for part, files in (("components/tokenizer", _tokenizer_files(folder)), ("model", _model_files(folder))):
            if full or part != "model":
                (target / part).mkdir(parents=True)
                for file in files:
                    shutil.copy(file, target / part)
        _describe(model, generation, folder, full=full).save(str(target / "MLmodel"))
        _write_environment(target)
        client.log_model_artifacts(model.model_id, str(target))


def _model_files(folder: Path) -> list[Path]:
    return [*folder.glob("*config.json"), *folder.glob("*.safetensors*")]


def _tokenizer_files(folder: Path) -> list[Path]:
    """All that is no weights. config.json too: where a tokenizer does not name its class, the model's type does."""
    return [file for file in folder.iterdir() if file.is_file() and ".safetensors" not in file.name]


def _describe(model: LoggedModel, generation: Generation, folder: Path, *, full: bool) -> Model:
    """The file `MLmodel`: how MLflow loads the weights, and what text and parameters go in and out."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    description = Model(
        artifact_path=model.artifact_location,
        run_id=model.source_run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
        signature=_signature(generation),
    )
    description.add_flavor(
        "transformers",
        transformers_version=installed_version("transformers"),
        code=None,
        task="text-generation",
        instance_type="TextGenerationPipeline",
        pipeline_model_type=config["architectures"][0],
        source_model_name=folder.resolve().as_posix(),
        components=["tokenizer"],
        tokenizer_type="AutoTokenizer",
        **({"model_binary": "model"} if full else {"local_base_model_path": folder.resolve().as_posix()}),
    )
    mlflow.pyfunc.add_to_model(
        description, loader_module="mlflow.transformers", conda_env="conda.yaml", python_env="python_env.yaml"
    )
    return description


def _signature(generation: Generation) -> ModelSignature:
    """Text in, text out; the parameters are those of the chain's own beam search."""
    settings = dict(flattened(generation.chain.settings))
    tokens = 64
    if "sample" in generation.directories:
        schema = pyarrow.parquet.read_schema(generation.directories["sample"] / "synthetic.parquet")
        tokens = schema.field("tokens").type.list_size
    params = [
        ParamSpec("max_new_tokens", DataType.long, tokens),
        ParamSpec("num_beams", DataType.long, int(settings.get("sample.num_beams", 5))),
        ParamSpec("repetition_penalty", DataType.double, float(settings.get("sample.repetition_penalty", 1.0))),
        ParamSpec("do_sample", DataType.boolean, False),
    ]
    text = Schema([ColSpec(DataType.string)])
    return ModelSignature(inputs=text, outputs=text, params=ParamSchema(params))


def _write_environment(target: Path) -> None:
    """The pins that a server needs to load the model; without a local part such as `+cpu`, which no index has."""
    pins = [f"mlflow=={installed_version('mlflow')}"]
    pins += [f"{package}=={installed_version(package).split('+')[0]}" for package in NEEDED_TO_LOAD]
    python = platform.python_version()
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": pins}],
    }
    build = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (target / "requirements.txt").write_text("\n".join(pins) + "\n", "utf-8")
    (target / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False), "utf-8")
    (target / "python_env.yaml").write_text(yaml.safe_dump(build, sort_keys=False), "utf-8")
