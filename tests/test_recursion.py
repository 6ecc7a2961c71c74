"""The whole command, as a user gives it: `mlflow run . -e recursion` through real Ray, DeepSpeed and MLflow."""

import json
import pickle
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import matplotlib.pyplot as plt
import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
import torch
from datasets import load_dataset
from mlflow.tracking import MlflowClient
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.status import status
from tests.hosts import wait_for_port
from tests.metrics import documented
from tests.ports import free_port
from tests.studies import PROJECT, SECONDS, Place, left_of, train_workers

pytestmark = pytest.mark.timeout(2 * SECONDS)

METRICS = {
    "test/perplexity",
    "test/perplexity_without_separator",
    "test/sequence_perplexity_mean",
    "test/sequence_perplexity_std",
    "synthetic/perplexity_under_generation0_mean",
    "synthetic/perplexity_under_generation0_median",
    "synthetic/perplexity_under_generation0_p99",
    "synthetic/distinct_1",
    "synthetic/distinct_2",
    "synthetic/distinct_3",
    "synthetic/repetition_4",
    "synthetic/vocabulary_coverage",
    "synthetic/compression_ratio",
    "synthetic/entropy_2",
    "synthetic/rare_token_mass",
    "synthetic/kl_real_2",
    "synthetic/found_in_real_8",
    "synthetic/found_in_training_8",
    "synthetic/self_bleu",
    "heldout/distinct_2",
    "heldout/rare_token_mass",
    "heldout/rare_token_mass_error",
    "heldout/entropy_2_error",
    "measure/blocks",
    "test/calibration_error",
    "test/next_token_entropy",
    "seconds/fit",
    "seconds/sample",
    "seconds/measure",
    "tokens_per_second/fit",
    "tokens_per_second/sample",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Nothing is there: database, corpus and base are made by the study."""
    return Place(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def output(place: Place) -> Iterator[str]:
    """What `mlflow run` printed: two chains to generation 1. Whatever of it lives on does so until the last test here."""
    command = [sys.executable, "-m", "mlflow", "run", ".", "-e", "recursion", "--env-manager", "local"]
    settings = ["-P", "preset=smoke", "-P", f"store.path={place.store}", "-P", "seeds=2"]
    with place.start(command=[*command, *settings]) as study:
        written, said = study.communicate(timeout=SECONDS)
        assert study.returncode == 0, written[-1000:] + said[-3000:]
        (place.folder / "stderr").write_text(said)
        yield written


@pytest.fixture(scope="module")
def errors(place: Place, output: str) -> str:
    """What it printed beside."""
    return (place.folder / "stderr").read_text()


@pytest.fixture(scope="module")
def client(place: Place, output: str) -> MlflowClient:
    return MlflowClient(tracking_uri=place.uri)


def runs(client: MlflowClient, kind: str) -> list:
    experiment = client.get_experiment_by_name("recursion")
    return client.search_runs([experiment.experiment_id], f"tags.`recursion.kind` = '{kind}'", order_by=["start_time"])


def test_the_plan_comes_first_then_progress_then_the_table_and_the_address(output):
    order = [
        "2 chains (1 conditions x 2 seeds)",
        "each seed trains on its own 32 of 256 blocks",
        "TFLOP",
        "generation 1 done in",
        "distinct 2",
        "Browse it with `make ui`: http",
    ]
    places = [output.index(text) for text in order]
    assert places == sorted(places)
    assert re.search(r"no-real-data +│ +1 │ +2 │ +[\d,.]+ ± [\d,.]+ +│", output)


def test_nothing_of_the_study_lives_on_after_it(place, output):
    assert left_of(place) == []


def test_every_phase_is_computed_once_and_what_chains_share_for_both(place, output):
    counted = Counter(kind for kind, _ in place.computed())
    # each seed's generation 0 is composed of real data of its own
    assert counted == {"corpus": 1, "base": 1, "compose": 4, "fit": 4, "sample": 4, "measure": 4}
    assert len(set(place.computed())) == counted.total()


def test_the_study_holds_its_settings_numbers_figures_and_report(client):
    (study,) = runs(client, "study")
    assert study.info.status == "FINISHED"
    paths = {item.path for item in client.list_artifacts(study.info.run_id)}
    assert {"config.yaml", "metrics.parquet", "figures", "report.html"} <= paths
    figures = {item.path for item in client.list_artifacts(study.info.run_id, "figures")}
    for name in ("figure10_test_perplexity", "figure11_perplexity_histograms", "figure15_perplexity_3d"):
        assert {f"figures/{name}.png", f"figures/{name}.html"} <= figures
    frame = pd.read_parquet(client.download_artifacts(study.info.run_id, "metrics.parquet"))
    assert list(frame.columns) == ["condition", "seed", "generation", "metric", "value"]
    assert set(frame["metric"]) >= METRICS
    assert set(frame["metric"]) <= {name for names in documented().values() for name in names}  # docs/metrics.md
    assert len(frame.groupby(["condition", "seed", "generation"])) == 4
    assert "synthetic/beyond_real_p99" in set(frame["metric"])


def test_the_study_ends_with_a_scorecard_of_the_papers_claims(client, output):
    (study,) = runs(client, "study")
    card = pd.read_parquet(client.download_artifacts(study.info.run_id, "scorecard.parquet"))
    assert {"claim", "estimate", "low", "high", "verdict", "seeds", "definition"} <= set(card.columns)
    # Two seeds ran. What needs a condition that did not run has none; a seed without a number is named.
    assert all(row["seeds"] in (0, 2) or "has no number" in row["missing"] for row in card.to_dict("records"))
    rises = card[card["claim"].str.startswith("Perplexity on real data rises")].iloc[0]
    assert rises["low"] < rises["estimate"] < rises["high"]
    assert rises["generations"] == "1"
    (conditional,) = set(card["conditional_on"])
    assert "one test split" in conditional
    assert "The sampling error of the test split is included." in conditional
    assert conditional in " ".join(output.split())
    assert conditional.split(" (")[0] in study.data.tags["mlflow.note.content"]
    page = Path(client.download_artifacts(study.info.run_id, "report.html")).read_text("utf-8")
    assert ">Scorecard</h2>" in page
    assert all(claim in page for claim in card["claim"])
    assert "Scorecard" in output


def test_the_study_ends_with_a_collapse_profile(client, output):
    (study,) = runs(client, "study")
    profile = pd.read_parquet(client.download_artifacts(study.info.run_id, "profile.parquet"))
    assert len(profile) == 8
    assert {"definition", "meaning", "source", "addressed_by", "conditions", "estimate", "low", "high", "unit"} <= set(
        profile
    )
    asked = profile["verdict"] != "cannot be asked here"
    assert profile.loc[asked, "addressed_by"].ne("").all()
    assert profile.loc[~asked, "why_not"].ne("").all()
    assert asked.sum() >= 4  # two generations say nothing of what diverges
    assert "Collapse profile" in output
    assert all(definition.split()[0] in output for definition in profile["definition"])


def test_the_page_made_again_of_what_the_study_left_is_the_same_to_the_last_byte(client, place):
    (study,) = runs(client, "study")
    before = Path(client.download_artifacts(study.info.run_id, "report.html")).read_bytes()
    command = [sys.executable, "-m", "mlflow", "run", ".", "-e", "report", "--env-manager", "local"]
    asked = ["-P", f"studies={study.info.run_name}", "-P", f"output={place.folder / 'again.html'}"]
    with place.start(command=[*command, *asked]) as page:
        written, errors = page.communicate(timeout=SECONDS)
    assert page.returncode == 0, errors[-2000:]
    assert "again.html: " in written
    assert (place.folder / "again.html").read_bytes() == before
    assert Path(client.download_artifacts(study.info.run_id, "report.html")).read_bytes() == before


def test_chains_nest_under_the_study_and_generations_under_their_chain(client):
    (study,) = runs(client, "study")
    chains = runs(client, "chain")
    assert [chain.data.tags["mlflow.parentRunId"] for chain in chains] == [study.info.run_id] * 2
    assert sorted(chain.data.tags["recursion.seed"] for chain in chains) == ["0", "1"]
    for chain in chains:
        below = [run for run in runs(client, "generation") if run.data.tags["mlflow.parentRunId"] == chain.info.run_id]
        assert sorted(run.data.tags["recursion.generation"] for run in below) == ["0", "1"]


def test_every_metric_stands_on_its_generation_and_once_a_step_on_its_chain(client):
    for generation in runs(client, "generation"):
        assert set(generation.data.metrics) >= METRICS | {"train/loss"}
        assert generation.info.status == "FINISHED"
    for chain in runs(client, "chain"):
        for metric in METRICS:
            assert [point.step for point in client.get_metric_history(chain.info.run_id, metric)] == [0, 1], metric


def test_the_losses_by_step_stand_on_the_generation(client):
    for generation in runs(client, "generation"):
        steps = [point.step for point in client.get_metric_history(generation.info.run_id, "train/loss")]
        assert sorted(steps) == [0, 1]  # 32 blocks in batches of 16, one epoch


def test_a_generations_parent_is_its_input_and_its_own_model_its_output(client):
    for chain in runs(client, "chain"):
        below = [run for run in runs(client, "generation") if run.data.tags["mlflow.parentRunId"] == chain.info.run_id]
        below.sort(key=lambda run: run.data.tags["recursion.generation"])
        first, second = (client.get_run(run.info.run_id) for run in below)  # a search leaves inputs and outputs out
        assert first.data.tags["recursion.parent_model"] == ""
        (own,) = first.outputs.model_outputs
        assert second.data.tags["recursion.parent_model"] == own.model_id
        assert [model.model_id for model in second.inputs.model_inputs] == [own.model_id]


def test_each_chain_has_a_registered_model_with_a_version_a_generation(client):
    models = client.search_registered_models()
    assert len(models) == 2
    for model in models:
        versions = client.search_model_versions(f"name = '{model.name}'")
        assert sorted(version.tags["generation"] for version in versions) == ["0", "1"]
        assert client.get_model_version_by_alias(model.name, "generation-1").tags["generation"] == "1"
        assert client.get_model_version_by_alias(model.name, "latest").tags["generation"] == "1"


def test_the_same_prompts_stand_in_every_generations_samples_of_a_chain(client):
    pages: dict[str, list[list[str]]] = {}
    for generation in runs(client, "generation"):
        text = Path(client.download_artifacts(generation.info.run_id, "samples.md")).read_text()
        of_chain = pages.setdefault(generation.data.tags["recursion.seed"], [])
        of_chain.append(re.findall(r"## Prompt \d+\n\n```text\n(.*?)\n```", text, re.DOTALL))
    assert [len(of_chain) for of_chain in pages.values()] == [2, 2]
    for first, second in pages.values():
        assert len(first) == 8
        assert first == second
    assert pages["0"] != pages["1"]  # each seed continues blocks of its own


def test_each_seeds_model_is_trained_on_real_data_of_its_own(client):
    digests = {}
    for generation in runs(client, "generation"):
        inputs = client.get_run(generation.info.run_id).inputs.dataset_inputs
        [training] = [one.dataset.digest for one in inputs if one.dataset.name == "training data"]
        digests[generation.data.tags["recursion.seed"], generation.data.tags["recursion.generation"]] = training
    assert len({*digests.values()}) == 4


def test_any_generations_folder_is_a_model_for_transformers(place, output):
    folders = list(place.store.glob("fit/*/model"))
    assert len(folders) == 4
    for folder in folders:
        model = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert len(tokenizer) <= model.config.vocab_size


def test_any_generations_synthetic_set_is_a_dataset(place, client, tmp_path):
    sets = list(place.store.glob("sample/*/synthetic.parquet"))
    assert len(sets) == 4
    for file in sets:
        written = load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path))
        assert {"tokens", "text"} <= set(written.column_names)
        assert len(written) == 32
        assert {len(tokens) for tokens in written["tokens"]} == {16}


def test_the_notebook_draws_a_path_for_every_chain(place, output, monkeypatch):
    """Its cells one after the other, in this process: a kernel of Jupyter's would only do the same in another one."""
    monkeypatch.setattr(plt, "show", lambda: None)
    plt.switch_backend("agg")
    mlflow.set_tracking_uri(place.uri)
    notebook = json.loads((PROJECT / "docs" / "notebooks" / "own-figure.ipynb").read_text("utf-8"))
    namespace: dict = {}
    try:
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)
        axes = plt.gcf().axes[0]
        paths = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 2 and line.get_marker() == "o"]
        assert len(paths) == 2  # two seeds, two generations each
        for path in paths:
            assert path[0].tolist() == [0.0, 0.0]
            assert np.isfinite(path).all()
    finally:
        plt.close("all")
        mlflow.set_tracking_uri(None)


def test_status_tells_of_the_study_when_it_is_over(place, output, capsys):
    status(["--store.path", str(place.store)])
    said = capsys.readouterr().out
    assert re.search(r"^recursion-smoke-[0-9a-f]{8} is finished", said)
    assert len(re.findall(r"no-real-data seed [01] +│ +2 of 2 │ finished", said)) == 2


MEANT = (
    r"\d+ chains? \(.*\), generations 0-1; OPT with .* million parameters, fine-tuned in .*",
    r"\d+ chains? side by side: .*",
    r"Missing: .*",
    r"Intervals cover the seeds of this study only\..*",
    r"blocks of \d+ tokens: .*",
    r"text is measured over 32 blocks, of samples and of held-out text alike \(measure\.blocks\)",
    r"[\d,]+ tokens to train on, [\d,]+ to generate, about .* TFLOP",
    r".* MB in the store, .* on this machine \(.*\)",
    r"(?:Plan|Recursion: preset smoke|Scorecard|Collapse profile)",
    r"[┏┡┃│└├╇━─].*",
    r"(?:base model|no-real-data seed \d): .*(?:left|nearly done|not known yet)",
    r"\d+ of \d+ verdicts (?:is|are) open\. .*",  # as numbers have it, which are not the same on every processor
    r"Browse it with `make ui`: http.*",
)
"""What a study prints, line by line, where it is no terminal."""


def test_whatever_a_study_prints_is_meant_to_be_printed(output, errors):
    assert [line for line in output.splitlines() if not any(re.fullmatch(meant, line) for meant in MEANT)] == []
    said = [line for line in errors.splitlines() if not re.search(r" INFO mlflow\.(?:projects|store\.db)", line)]
    assert said == []  # what `mlflow run` itself says apart


@pytest.mark.slow
def test_mlflow_serves_a_generation(place, output, client):
    """A real server on a port of its own, asked as the documentation asks it."""
    name = client.search_registered_models()[0].name
    port = free_port()
    uri = f"models:/{name}@generation-1"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        uri,
        "--env-manager",
        "local",
        "--port",
        str(port),
    ]
    with place.start(command=command) as server:
        wait_for_port("127.0.0.1", port, server)
        body = {"inputs": ["The statement", "A list"], "params": {"max_new_tokens": 4}}
        answer = requests.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=SECONDS)
        assert answer.status_code == 200, answer.text
        written = answer.json()["predictions"]
        assert [text.startswith(prompt) for text, prompt in zip(written, body["inputs"], strict=True)] == [True, True]
        assert all(len(text) > len(prompt) for text, prompt in zip(written, body["inputs"], strict=True))
        refused = requests.post(f"http://127.0.0.1:{port}/invocations", json={"prompts": ["A list"]}, timeout=SECONDS)
        assert refused.status_code == 400


def holds_a_pickle(path: Path) -> bool:
    """Judged by its content: a pickle's header, what `torch.save` writes, or an array of Python objects."""
    if path.suffix == ".safetensors":  # begins with a length, of which every value may occur
        with safe_open(path, "pt"):
            return False
    if path.suffix == ".npy":
        np.load(path, allow_pickle=False)
        return False
    if zipfile.is_zipfile(path):
        return any(name.endswith(".pkl") for name in zipfile.ZipFile(path).namelist())
    with path.open("rb") as file:
        return re.match(rb"\x80[\x02-\x05]", file.read(2)) is not None


def test_nothing_that_was_written_is_a_pickle(place, output, tmp_path):
    for folder in (place.store, place.folder / "mlartifacts"):
        written = [path for path in folder.rglob("*") if path.is_file()]
        assert {".json", ".parquet", ".safetensors"} <= {path.suffix for path in written}
    assert [path for path in place.folder.rglob("*") if path.is_file() and holds_a_pickle(path)] == []
    torch.save({"weights": torch.zeros(1)}, tmp_path / "model.bin")
    (tmp_path / "object").write_bytes(pickle.dumps({"weights": [0.0]}))
    assert all(holds_a_pickle(path) for path in tmp_path.iterdir())


def test_a_dry_run_prints_the_plan_and_starts_nothing(place, output):
    before = place.computed()
    ended = place.run("--dry_run", "true", "--seeds", "7")
    assert ended.returncode == 0
    assert "7 chains" in ended.stdout
    assert re.search("tokens to train on, .* to generate, about .* TFLOP", ended.stdout)
    assert re.search("MB in the store, .* on this machine", ended.stdout)
    assert place.computed() == before


@pytest.mark.slow
def test_two_workers_a_chain_give_the_numbers_of_one_up_to_rounding(place, output, prepared, tmp_path):
    """DeepSpeed over two ranks, ZeRO 2; each samples and scores its share."""
    other = prepared.copy_to(tmp_path).take(place, "base")
    with other.start("--train.workers", "2", "--train.zero_stage", "2") as study:
        other.wait_for("fit", study)
        assert len(train_workers(study)) == 2
        _, errors = study.communicate(timeout=SECONDS)
    assert study.returncode == 0, errors[-3000:]
    one, two = place.numbers(), other.numbers()
    assert set(two.index) <= set(one.index)  # the same chain, by its identity
    fitted = [
        key
        for key in two.index
        if key[2] in ("validation/perplexity", "test/perplexity") and key[1] == "generation-000"
    ]
    assert len(fitted) == 2
    assert two[fitted].tolist() == pytest.approx(one[fitted].tolist(), rel=1e-3)


def test_presets_that_need_the_hub_say_so_at_once_where_it_cannot_be_reached(prepared, tmp_path):
    place = prepared.copy_to(tmp_path)
    command = [sys.executable, "-m", "pipelines.recursion", "--preset", "paper", "--store.path", str(place.store)]
    environment = place.environment | {"HF_HUB_CACHE": str(tmp_path / "empty"), "HF_HUB_OFFLINE": "1"}
    with place.start(command=command, environment=environment) as study:
        _, errors = study.communicate(timeout=60)
    assert study.returncode == 2
    assert "model.name = facebook/opt-125m" in errors
    assert "preset=laptop" in errors
    assert len(errors.strip().splitlines()) == 1


@pytest.mark.slow
def test_ones_own_text_and_model_with_real_blocks_kept_and_a_penalty(
    place: Place, output: str, prepared: Place, tmp_path: Path
):
    """A folder of text, a folder with an OPT and its tokenizer, bf16 generation, plain torch; MAUVE by that OPT."""
    topics_of_cpython = [text for _, text in sorted(topics.items())]
    for split, chosen in {"train": slice(0, 50), "valid": slice(50, 60), "test": slice(60, 70)}.items():
        (tmp_path / "text").mkdir(exist_ok=True)
        (tmp_path / "text" / f"{split}.txt").write_text("\n".join(topics_of_cpython[chosen]), encoding="utf-8")
    (base,) = place.store.glob("base/*/model")  # any OPT with a tokenizer beside it
    other = prepared.copy_to(tmp_path)
    arguments = {
        "corpus.path": tmp_path / "text",
        "model.name": base,
        "tokenizer": "None",
        "train.engine": "torch",
        "generate.precision": "bf16",
        "conditions.no-real-data.real_fraction": 0.25,
        "conditions.no-real-data.repetition_penalty": 2.0,
        "measure.mauve": base,
    }
    ended = other.run(*[str(part) for name, value in arguments.items() for part in (f"--{name}", value)])
    assert ended.returncode == 0, ended.stderr[-3000:]
    numbers = other.numbers()
    assert numbers.xs("generation-001", level=1).xs("data/gamma", level=1).tolist() == [0.25]
    likeness = numbers.xs("synthetic/mauve", level=2)
    assert len(likeness) == 2
    assert likeness.between(0, 1).all()
    client = MlflowClient(tracking_uri=other.uri)
    (study,) = runs(client, "study")
    assert study.data.metrics["base/test_perplexity"] > 1
