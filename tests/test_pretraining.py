"""`mlflow run . -e pretrain`: parts that a kill does not undo, and a folder that any study takes as its model."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.config import pretrain as config
from components.config.errors import BadInput
from components.corpus import documentation, pretraining
from components.families.language import architecture
from components.families.language import model as opt
from components.families.language.pretraining import OPTIMIZER, Schedule, train_part
from components.recursion.peers import Peers
from pipelines import pretrain

SIZE = architecture.ModelSize(128, 32, 2, 2, 64, 64, 0.1)
BLOCKS = np.random.default_rng(0).integers(4, 128, (97, 16)).astype(np.int32)
SCHEDULE = Schedule(epochs=2, learning_rate=1e-3, weight_decay=0.1, batch_size=8)


def silent(done: int, total: int) -> None:
    pass


def trained(folder: Path, parts: int, schedule: Schedule = SCHEDULE) -> Path:
    before = None
    for part in range(parts):
        out = folder / f"part-{part}"
        out.mkdir(parents=True)
        train_part(SIZE, BLOCKS, schedule, "fp32", part, parts, before, out, 0, Peers(), silent)
        before = out
    assert before is not None
    return before


def test_a_training_in_parts_ends_with_the_very_weights_of_one_in_one_piece(tmp_path: Path) -> None:
    one, five = (opt.load(trained(tmp_path / str(parts), parts) / "model").state_dict() for parts in (1, 5))
    assert all(torch.equal(one[name], five[name]) for name in one)


def test_the_training_is_that_of_plain_torch(tmp_path: Path) -> None:
    """AdamW with torch's clipping and the loss of transformers' own model; without dropout, which is drawn otherwise."""
    size = architecture.ModelSize(128, 32, 2, 2, 64, 64, 0.0)
    out = tmp_path / "ours"
    out.mkdir()
    train_part(size, BLOCKS, SCHEDULE, "fp32", 0, 1, None, out, 0, Peers(), silent)
    model = architecture.create(size, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.1)
    order, steps = SCHEDULE.order(len(BLOCKS), 0), SCHEDULE.steps(len(BLOCKS))
    for step in range(steps):
        ids = torch.from_numpy(BLOCKS[order[step * 8 : (step + 1) * 8]].astype(np.int64))
        for group in optimizer.param_groups:
            group["lr"] = SCHEDULE.rate(step, steps)
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), SCHEDULE.clip)
        optimizer.step()
        optimizer.zero_grad()
    ours, theirs = opt.load(out / "model").state_dict(), model.state_dict()
    for name, weights in theirs.items():
        if not name.endswith("k_proj.bias"):  # no loss depends on it, and AdamW makes steps of its rounding
            assert (ours[name] - weights).norm() < 1e-3 * weights.norm(), name


def test_the_rate_rises_then_falls_as_a_cosine_and_every_block_is_seen_once_per_epoch() -> None:
    schedule = Schedule(epochs=3, learning_rate=2.0, weight_decay=0.0, batch_size=10, warm_up=0.1, final=0.1)
    rates = [schedule.rate(step, 100) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[0] == pytest.approx(0.2, rel=0.01)
    assert max(rates) == rates[9] == pytest.approx(2.0, rel=0.03)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.2, rel=0.01)
    order = schedule.order(7, seed=1).reshape(3, 7)
    assert (np.sort(order) == np.arange(7)).all()
    assert schedule.steps(7) == 3


def test_the_optimizers_state_is_safetensors_with_both_moments_of_every_weight(tmp_path: Path) -> None:
    with safe_open(trained(tmp_path, 1) / OPTIMIZER, "pt") as file:
        names = set(file.keys())
    count = len(list(architecture.create(SIZE, 0).parameters()))
    wanted = {f"{place}.{name}" for place in range(count) for name in ("step", "exp_avg", "exp_avg_sq")}
    assert names == wanted


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--heads", "3"], "heads = 3: must divide hidden_size .256."),
        (["--positions", "100"], "positions = 100: a prompt and its continuation need 128"),
        (["--preset", "huge"], "preset = huge: no such preset; there are builtin"),
        (["--layer", "3"], "layer = 3: no such setting"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(arguments: list[str], line: str) -> None:
    with pytest.raises(BadInput, match=line):
        config.load(arguments)


def test_a_folder_with_other_files_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="output"):
        pretrain.pretrain(["--output", str(tmp_path), "--store.path", str(tmp_path / "store")])


def test_a_model_is_made_scored_and_told_and_a_second_start_has_nothing_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real thing on two small packages instead of all, which take two minutes to read."""
    monkeypatch.setattr(documentation, "PRETRAINING", {"click": "BSD-3-Clause", "rich": "MIT"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    arguments = [
        "--vocabulary_size", "400", "--hidden_size", "32", "--layers", "1", "--heads", "2", "--ffn_size", "48",
        "--blocks", "200", "--parts", "3", "--workers", "1", "--store.path", str(tmp_path / "store"),
        "--output", str(tmp_path / "base"),
    ]  # fmt: skip
    pretrain.pretrain(arguments)
    folder = tmp_path / "base"
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer) == 400
    card = (folder / "README.md").read_text()
    (prepared,) = (tmp_path / "store" / "pretraining-text").iterdir()
    assert json.loads((prepared / "digests.json").read_text())["train"] in card
    assert "| click | " in card
    assert "-P hidden_size=32" in card
    client = MlflowClient()
    experiment = client.get_experiment_by_name("pretrain")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags["recursion.kind"]) == ("FINISHED", "pretraining")
    assert 1 < run.data.metrics["test/perplexity"] < 400
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"README.md", "loss.png", "losses.parquet"}
    losses = [point.value for point in client.get_metric_history(run.info.run_id, "train/loss")]
    assert math.log(400) + 0.5 > losses[0] > losses[-1]
    before = (tmp_path / "store" / "journal.jsonl").read_text()
    pretrain.pretrain(arguments)
    assert (tmp_path / "store" / "journal.jsonl").read_text() == before


def test_the_pretraining_text_has_nothing_of_the_studys_and_its_splits_share_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documentation, "PRETRAINING", {"click": "BSD-3-Clause", "rich": "MIT"})
    found = pretraining.prepare(400, 16, 50, tmp_path)
    blocks = pretraining.load(tmp_path)
    assert len(blocks.train) == found["blocks/train"] == 50
    assert found["documents/train"] > 40 * found["documents/test"] > 0
    assert set(blocks.digests) == {"tokenizer", "train", "validation", "test", "study"}
    tokenizer = AutoTokenizer.from_pretrained(blocks.tokenizer_folder)
    texts = {name: tokenizer.decode(getattr(blocks, name).reshape(-1)) for name in pretraining.SPLITS}
    held = [line for line in texts["test"].split("</s>")[1:-1] if len(line) > 60]
    assert held
    assert not any(line in texts["train"] or line in texts["study"] for line in held)
