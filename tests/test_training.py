"""Fine-tuning: the loop against transformers and torch, DeepSpeed against the plain engine."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from components.families.language.deepspeed_engine import DeepSpeedEngine
from components.families.language.objective import Objective
from components.families.language.perplexity import token_losses
from components.families.language.training import Batches, Engine, Recipe, TorchEngine, blocks_at_once, fine_tune

RECIPE = Recipe(2, 3e-3, 1e-6, 0.01, 16, "best")
CPU = torch.device("cpu")


def small_model(dropout: float = 0.0) -> OPTForCausalLM:
    torch.manual_seed(0)
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=32,
            max_position_embeddings=32, word_embed_proj_dim=16, dropout=dropout,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def blocks() -> np.ndarray:
    """A language with something to learn: each token is followed by one of two."""
    random = np.random.default_rng(0)
    rows = np.zeros((40, 12), np.int32)
    rows[:, 0] = random.integers(4, 64, 40)
    for position in range(1, 12):
        rows[:, position] = 4 + (rows[:, position - 1] * 7 + random.integers(0, 2, 40)) % 60
    return rows


def loss_on(blocks: np.ndarray) -> Callable[[torch.nn.Module], float]:
    return lambda module: float(token_losses(module, blocks).mean(dtype=np.float64))


def engine_of(kind: str, recipe: Recipe, blocks: np.ndarray, dropout: float = 0.0) -> Engine:
    batches = Batches.cut(recipe, len(blocks), 1)
    if kind == "torch":
        return TorchEngine(small_model(dropout), recipe, batches, CPU)
    return DeepSpeedEngine(small_model(dropout), recipe, batches, int(kind[-1]), CPU)


def train(kind: str, recipe: Recipe, blocks: np.ndarray, dropout: float = 0.0):
    engine = engine_of(kind, recipe, blocks, dropout)
    try:
        return fine_tune(engine, blocks, loss_on(blocks[:8]), recipe, seed=3)
    finally:
        engine.close()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_deepspeed_gives_the_plain_engines_loss_at_every_step(blocks, stage, precision):
    recipe = replace(RECIPE, precision=precision, micro_batch_size=8, weight_decay=0.5)
    expected_weights, expected = train("torch", recipe, blocks, dropout=0.1)
    weights, history = train(f"zero{stage}", recipe, blocks, dropout=0.1)
    tolerance = {"fp32": 1e-5, "bf16": 2e-3}[precision]
    assert np.allclose([row[2] for row in history.losses], [row[2] for row in expected.losses], rtol=tolerance)
    assert np.allclose([row[1] for row in history.validation], [row[1] for row in expected.validation], rtol=tolerance)
    assert set(weights) == set(expected_weights)
    if precision == "fp32":
        assert all(torch.allclose(weights[name], expected_weights[name], atol=1e-5) for name in weights)


def test_the_loop_equals_torchs_own_adamw_and_cosine_schedule(blocks):
    """The oracle is transformers' loss, torch's AdamW and CosineAnnealingLR, as the published code uses them."""
    model = small_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RECIPE.learning_rate, weight_decay=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=RECIPE.epochs, eta_min=1e-6)
    order = np.random.default_rng(3)
    expected = []
    for _ in range(RECIPE.epochs):
        permutation = order.permutation(len(blocks))
        for start in range(0, len(blocks), 16):
            ids = torch.from_numpy(blocks[permutation[start : start + 16]].astype(np.int64))
            loss = model(input_ids=ids, labels=ids).loss
            expected.append(float(loss.detach()))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        schedule.step()
    _, history = train("torch", replace(RECIPE, weight_decay=0.5), blocks)
    assert np.allclose([row[2] for row in history.losses], expected, rtol=1e-5)


@pytest.mark.parametrize("micro", [1, 3, 5, 16])
def test_the_size_of_a_micro_batch_changes_only_rounding(blocks, micro):
    _, whole = train("torch", RECIPE, blocks)
    _, pieces = train("torch", replace(RECIPE, micro_batch_size=micro), blocks)
    assert np.allclose([row[2] for row in pieces.losses], [row[2] for row in whole.losses], rtol=1e-4)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_what_a_block_takes_is_counted_as_no_less_than_autograd_keeps_of_it_and_not_much_more(precision, monkeypatch):
    model = small_model(dropout=0.1)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    objective = Objective(model).train()

    def kept(count: int) -> int:
        storages = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        ids = torch.randint(4, 64, (count, 32))
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16),
        ):
            loss = objective(ids)
        assert loss.requires_grad
        return sum(storage.nbytes() for pointer, storage in storages.items() if pointer not in weights)

    a_block = (kept(40) - kept(8)) / 32
    fixed = 20 * sum(parameter.numel() for parameter in model.parameters()) + 8 * 1024 * 64
    planned = int(fixed + 100 * a_block)
    monkeypatch.setattr("components.families.language.training.planned_memory", lambda device: planned)
    assert 100 / 3 < blocks_at_once(model, 32, CPU) <= 100


def test_a_machine_too_small_for_the_model_is_still_given_one_block_at_a_time(monkeypatch):
    monkeypatch.setattr("components.families.language.training.planned_memory", lambda device: 0)
    assert blocks_at_once(small_model(), 32, CPU) == 1


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("micro", [None, 1, 3])
def test_the_workers_together_see_every_block_once_an_epoch_with_equal_weight(workers, micro):
    recipe = replace(RECIPE, micro_batch_size=micro)
    order = np.random.default_rng(0).permutation(40)
    batches = Batches.cut(recipe, 40, workers)
    ranks = [list(batches.rows(order, rank)) for rank in range(workers)]
    assert len({len(rank) for rank in ranks}) == 1  # collectives are called equally often
    assert sorted(row for rank in ranks for rows, _ in rank for row in rows) == list(range(40))
    for step in range(math.ceil(40 / 16)):
        pieces = [
            piece for rank in ranks for piece in rank[step * batches.accumulation : (step + 1) * batches.accumulation]
        ]
        weighed = sum(len(rows) * weight for rows, weight in pieces) / (batches.accumulation * workers)
        assert weighed == pytest.approx(1.0)


def test_the_best_epoch_is_kept_by_validation_loss_and_the_last_on_request(blocks):
    diverging = Recipe(4, 0.3, 0.3, 0.0, 16, "best")
    weights, history = train("torch", diverging, blocks)
    losses = dict(history.validation)
    assert history.kept_epoch == min(range(1, 5), key=lambda epoch: losses[epoch]) != 4
    model = small_model()
    model.load_state_dict(weights)
    assert loss_on(blocks[:8])(model) == pytest.approx(losses[history.kept_epoch], rel=1e-5)
    assert train("torch", Recipe(4, 0.3, 0.3, 0.0, 16, "last"), blocks)[1].kept_epoch == 4


@pytest.mark.parametrize(("keep", "start_loss", "times"), [("best", None, 3), ("best", 7.5, 2), ("last", 7.5, 1)])
def test_the_validation_split_is_scored_only_where_something_depends_on_it(blocks, keep, start_loss, times):
    """It may be longer than a generation's data: a start that is known, and epochs that cannot be kept, do without."""
    recipe = Recipe(2, 3e-3, 1e-6, 0.01, 16, keep)
    scored = []

    def loss(module: torch.nn.Module) -> float:
        scored.append(loss_on(blocks[:8])(module))
        return scored[-1]

    _, history = fine_tune(engine_of("torch", recipe, blocks), blocks, loss, recipe, seed=3, start_loss=start_loss)
    assert len(scored) == times
    assert [loss for _, loss in history.validation] == ([] if start_loss is None else [start_loss]) + scored
    assert [epoch for epoch, _ in history.validation] == ([0, 1, 2] if keep == "best" else [0, 2])


def test_the_learning_rate_falls_by_the_cosine_to_its_floor():
    recipe = Recipe(5, 2e-5, 1e-6, 0.01, 128, "best")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5, eta_min=1e-6)
    for epoch in range(5):
        assert recipe.rate(epoch) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_training_that_is_not_a_number_stops_at_once(blocks):
    broken = TorchEngine(small_model(), RECIPE, Batches.cut(RECIPE, len(blocks), 1), CPU)
    with torch.no_grad():
        next(broken.scored.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="step 1 is nan"):
        fine_tune(broken, blocks, loss_on(blocks), RECIPE, seed=0)


def test_a_skipped_step_is_an_error(blocks):
    """The fp16 run that looked like "no collapse": an optimiser that skips every step (paper.md, traps)."""

    class Skipping(TorchEngine):
        def step(self) -> bool:
            self._optimizer.zero_grad()
            return False

    engine = Skipping(small_model(), RECIPE, Batches.cut(RECIPE, len(blocks), 1), CPU)
    with pytest.raises(ArithmeticError, match="0 updates"):
        fine_tune(engine, blocks, loss_on(blocks), RECIPE, seed=0)


def test_training_twice_with_one_seed_gives_the_same_weights_bit_for_bit(blocks):
    first, again = (train("torch", RECIPE, blocks, dropout=0.1)[0] for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
