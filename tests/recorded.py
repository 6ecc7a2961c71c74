"""Generations as a store keeps them, made without a model being trained; and all that MLflow has of a study, read back."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.recursion.records import Chain, Generation
from components.tracking import Tracking

from mlflow.entities import LoggedModelStatus, Run  # isort: skip  # after our room, which sets MLflow's environment
from mlflow.tracking import MlflowClient  # isort: skip

BEGIN = datetime(2026, 11, 23, tzinfo=UTC)
STEPS, ROWS, NEW_TOKENS = 12, 20, 16

OF_GENERATION_0 = ("heldout/perplexity_under_generation0", "heldout/mauve")
"""Beginnings of metrics that are logged at generation 0 alone: later ones would be the same."""


def make_model(folder: Path) -> Path:
    """A random OPT of a few thousand parameters with a tokenizer of its own, as a fit leaves it."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

    text = ByteLevelBPETokenizer()
    text.train_from_iterator(["a model forgets its tails"], 300, special_tokens=["<s>", "<pad>", "</s>", "<unk>"])
    PreTrainedTokenizerFast(
        tokenizer_object=text._tokenizer, bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
    shape = {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 16, "num_attention_heads": 2}
    OPTForCausalLM(OPTConfig(vocab_size=320, num_hidden_layers=1, max_position_embeddings=64, **shape)).save_pretrained(
        folder
    )
    return folder


def make_chain(condition: str, seed: int) -> Chain:
    identity = hashlib.sha256(f"{condition} {seed}".encode()).hexdigest()
    settings = {
        "condition": {"regime": "replace", "real_fraction": 0.0},
        "sample": {"num_beams": 3, "repetition_penalty": 1.0},
        "train": {"epochs": 3},
    }
    return Chain("language", condition, seed, identity, settings)


def make_generation(store: Path, chain: Chain, index: int, model_folder: Path) -> Generation:
    """A generation as the store keeps it: a minute after the last, 30 s of fit, 20 s of sampling."""
    generator = np.random.default_rng([chain.seed, index])
    directories = {}
    identity = hashlib.sha256(f"{chain.identity} {index}".encode()).hexdigest()
    for phase, seconds, done in (("compose", 1, 1), ("fit", 30, 31), ("sample", 20, 51), ("measure", 5, 56)):
        directories[phase] = store / phase / identity
        directories[phase].mkdir(parents=True, exist_ok=True)
        created = (BEGIN + timedelta(minutes=index, seconds=done)).isoformat()
        manifest = {"kind": phase, "identity": identity, "seconds": seconds, "created": created}
        (directories[phase] / "manifest.json").write_text(json.dumps(manifest))
    sources = {"source": pa.array([index - 1] * ROWS, pa.int16()), "row": pa.array(range(ROWS), pa.int32())}
    pq.write_table(pa.table(sources), directories["compose"] / "composition.parquet")
    shutil.copytree(model_folder, directories["fit"] / "model", dirs_exist_ok=True)
    losses = {"step": range(STEPS), "epoch": [0] * STEPS, "loss": 4 - generator.random(STEPS)}
    pq.write_table(pa.table({k: list(v) for k, v in losses.items()}), directories["fit"] / "losses.parquet")
    tokens = pa.array(generator.integers(0, 300, ROWS * NEW_TOKENS), pa.int32())
    written = {"tokens": pa.FixedSizeListArray.from_arrays(tokens, NEW_TOKENS), "text": ["a model"] * ROWS}
    pq.write_table(pa.table(written), directories["sample"] / "synthetic.parquet")
    scores = {"set": ["test"] * ROWS, "row": list(range(ROWS)), "loss": generator.random(ROWS)}
    pq.write_table(pa.table(scores), directories["measure"] / "scores.parquet")
    metrics = {"test/perplexity": 40.0 * 2**index, "synthetic/distinct_2": 0.4 / (index + 1), "seconds/fit": 30.0}
    locations = {kind: directory.resolve().as_uri() for kind, directory in directories.items()}
    digests = {"training": identity, "evaluation": hashlib.sha256(b"test").hexdigest()}
    return Generation(chain, index, directories, metrics, digests, locations)


def runs(tracking: Tracking, kind: str) -> list[Run]:
    experiment = tracking.experiment.experiment_id
    found = tracking.client.search_runs([experiment], f"tags.`recursion.kind` = '{kind}'", max_results=1000)
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


def everything(tracking: Tracking) -> dict[str, object]:
    """All that a person sees of the runs and the registry, without the ids that differ between two stores."""
    client, seen = tracking.client, {}
    names = {
        run.info.run_id: run.info.run_name for kind in ("study", "chain", "generation") for run in runs(tracking, kind)
    }
    for kind in ("chain", "generation"):
        for run in runs(tracking, kind):
            tags = {
                k: v for k, v in run.data.tags.items() if k.startswith("recursion.") and k != "recursion.parent_model"
            }
            parent = names[run.data.tags["mlflow.parentRunId"]]
            history = {
                key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
                for key in run.data.metrics
            }
            data = sorted((d.dataset.name, d.dataset.digest, d.tags[0].value) for d in run.inputs.dataset_inputs)
            whole = client.get_run(run.info.run_id)  # a search leaves out the models that a run read
            models = (len(whole.inputs.model_inputs), len(whole.outputs.model_outputs) if whole.outputs else 0)
            files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
            key = (run.data.tags["recursion.chain"], run.info.run_name)
            assert key not in seen, "a chain or generation stands twice"
            seen[key] = (parent, run.info.status, tags, run.data.params, history, data, models, files)
    for model in client.search_registered_models():
        versions = client.search_model_versions(f"name = '{model.name}'")
        numbers = sorted((int(v.version), v.tags["generation"], v.tags["parent_version"]) for v in versions)
        aliases = client.get_registered_model(model.name).aliases
        seen[model.name] = (numbers, {alias: int(number) for alias, number in aliases.items()})
    return seen


def _generations_with(key: str, chain: Run, found: Mapping[str, Sequence[Run]]) -> list[int]:
    """The generations of a chain whose own runs have a metric."""
    return [
        int(run.data.tags["recursion.generation"])
        for run in found["generation"]
        if run.data.tags["recursion.chain"] == chain.data.tags["recursion.chain"] and key in run.data.metrics
    ]


def check_once(uri: str, experiment: str, chains: int, generations: int) -> None:
    """One study at its end, each of its chains and generations once, every step of every number once, and no model by
    halves. What earlier starts of it had is its own now; they themselves were stopped."""
    client = MlflowClient(tracking_uri=uri)
    number = client.get_experiment_by_name(experiment).experiment_id
    found = {
        kind: client.search_runs([number], f"tags.`recursion.kind` = '{kind}'", max_results=1000)
        for kind in ("study", "chain", "generation")
    }
    (ended,) = [run for run in found["study"] if run.info.status == "FINISHED"]
    assert {run.info.status for run in found["study"]} <= {"FINISHED", "FAILED", "KILLED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in found["chain"]} == {ended.info.run_id}
    assert [run.info.status for run in found["chain"]] == ["FINISHED"] * chains
    assert len({run.data.tags["recursion.chain"] for run in found["chain"]}) == chains
    places = [
        (run.data.tags["recursion.chain"], int(run.data.tags["recursion.generation"])) for run in found["generation"]
    ]
    assert len(places) == len(set(places)) == chains * generations
    assert {run.info.status for run in found["generation"]} == {"FINISHED"}
    for run in (*found["chain"], *found["generation"]):
        for key in run.data.metrics:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, key)]
            assert len(steps) == len(set(steps)), (run.info.run_name, key)
            if run in found["chain"] and not key.startswith(OF_GENERATION_0):
                # A measure of the samples can be undefined: the curve has the points of the generations that have it.
                every = range(generations) if not key.startswith("synthetic/") else _generations_with(key, run, found)
                assert sorted(steps) == sorted(every), key
    models = client.search_logged_models([number], max_results=500)
    assert [str(model.status) for model in models] == [str(LoggedModelStatus.READY)] * len(places)
    for run in found["chain"]:
        identity = run.data.tags["recursion.chain"]
        (registered,) = client.search_registered_models(f"tags.`recursion.chain` = '{identity}'")
        versions = client.search_model_versions(f"name = '{registered.name}'")
        assert sorted(int(version.tags["generation"]) for version in versions) == list(range(generations))
