"""How a family's models are laid out for MLflow, without being loaded and without a pickle.

The weights are the store's own bytes: their sha256 is the one in the manifest of the fit. `full` copies them; else the
description points into the store.
"""

import json
import platform
import shutil
from importlib.metadata import version as installed_version
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pyarrow.parquet
import yaml
from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from components.families.vae import model as vae
from components.recursion.records import Generation
from components.tracking.studies import flattened

ENVIRONMENT = {"conda_env": "conda.yaml", "python_env": "python_env.yaml"}
VAE_LOADER = "model_collapse_vae"
LANGUAGE_PACKAGES: tuple[str, ...] = ("torch", "transformers", "tokenizers", "safetensors")


def write(target: Path, model: LoggedModel, generation: Generation, folder: Path, *, full: bool) -> None:
    """Writes the folder that MLflow loads a generation's model from; its weights lie in `folder`."""
    description = Model(
        artifact_path=model.artifact_location,
        run_id=model.source_run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
    )
    if generation.chain.family == vae.FAMILY:
        _vae(target, description, folder, full=full)
        packages = vae.PACKAGES
    else:
        _language(target, description, generation, folder, full=full)
        packages = LANGUAGE_PACKAGES
    description.save(str(target / "MLmodel"))
    _write_environment(target, packages)


def _language(target: Path, description: Model, generation: Generation, folder: Path, *, full: bool) -> None:
    """As `mlflow.transformers.save_model` lays a text generation pipeline out."""
    for part, files in (("components/tokenizer", _tokenizer_files(folder)), ("model", _model_files(folder))):
        if full or part != "model":
            (target / part).mkdir(parents=True)
            for file in files:
                shutil.copy(file, target / part)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    description.signature = _signature(generation)
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
    mlflow.pyfunc.add_to_model(description, loader_module="mlflow.transformers", **ENVIRONMENT)


def _vae(target: Path, description: Model, folder: Path, *, full: bool) -> None:
    """Latents in, images out; the family's own module travels along to load it wherever torch and safetensors are."""
    (target / "code").mkdir()
    shutil.copy(str(vae.__file__), target / "code" / f"{VAE_LOADER}.py")
    if full:
        shutil.copytree(folder, target / "data")
    shape = vae.Shape(**json.loads((folder / vae.CONFIG).read_text("utf-8")))
    numbers = np.dtype(np.float32)
    description.signature = ModelSignature(
        inputs=Schema([TensorSpec(numbers, (-1, shape.latents))]),
        outputs=Schema([TensorSpec(numbers, (-1, shape.height, shape.width))]),
    )
    data = "data" if full else folder.resolve().as_posix()
    mlflow.pyfunc.add_to_model(description, loader_module=VAE_LOADER, data=data, code="code", **ENVIRONMENT)


def _model_files(folder: Path) -> list[Path]:
    return [*folder.glob("*config.json"), *folder.glob("*.safetensors*")]


def _tokenizer_files(folder: Path) -> list[Path]:
    """All that is no weights. config.json too: where a tokenizer does not name its class, the model's type does."""
    return [file for file in folder.iterdir() if file.is_file() and ".safetensors" not in file.name]


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


def _write_environment(target: Path, packages: tuple[str, ...]) -> None:
    """The pins that a server needs to load the model; without a local part such as `+cpu`, which no index has."""
    pins = [f"mlflow=={installed_version('mlflow')}"]
    pins += [f"{package}=={installed_version(package).split('+')[0]}" for package in packages]
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
