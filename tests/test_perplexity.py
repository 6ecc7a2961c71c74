"""Perplexity against transformers' own loss and against models whose perplexity is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import OPTConfig, OPTForCausalLM

from components.families.language import perplexity as perplexity_module
from components.families.language.objective import Objective
from components.families.language.perplexity import (
    perplexity,
    sequence_losses,
    sequence_perplexities,
    sequence_perplexity,
    token_losses,
    token_predictions,
)


def small_model(seed: int, vocabulary: int = 60, dropout: float = 0.1) -> OPTForCausalLM:
    torch.manual_seed(seed)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64}
    return OPTForCausalLM(
        OPTConfig(vocab_size=vocabulary, max_position_embeddings=32, init_std=0.2, dropout=dropout, **size)
    )


def random_blocks(count: int, length: int, vocabulary: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, vocabulary, (count, length), dtype=np.int32)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 7),
    length=st.integers(2, 32),
    tokens_at_once=st.integers(1, 100),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_the_mean_loss_equals_that_of_transformers(
    seed: int, count: int, length: int, tokens_at_once: int, dtype: torch.dtype
) -> None:
    """float32 goes through the compiled kernels, float64 through the model's own forward pass."""
    model, blocks = small_model(seed).eval().to(dtype), random_blocks(count, length, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(perplexity_module.TOKENS_AT_ONCE, "cpu", tokens_at_once)
        patch.setattr(perplexity_module, "LOGITS_AT_ONCE", 7 * 60)
        losses = token_losses(model, blocks)
    ids = torch.from_numpy(blocks.astype(np.int64))
    with torch.no_grad():
        expected = float(model(input_ids=ids, labels=ids).loss)
        each = [float(model(input_ids=row[None], labels=row[None]).loss) for row in ids]
    assert losses.shape == (count, length - 1)
    assert losses.dtype == np.float32
    assert losses.mean(dtype=np.float64) == pytest.approx(expected, rel=1e-5)
    assert perplexity(losses, blocks) == pytest.approx(math.exp(expected), rel=1e-5)
    np.testing.assert_allclose(sequence_losses(losses), each, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_predictions_are_the_softmax_of_the_models_own_logits(dtype: torch.dtype) -> None:
    """By the compiled kernels and without them."""
    model, blocks = small_model(4).eval().to(dtype), random_blocks(60, 12)
    found = token_predictions(model, blocks)
    ids = torch.from_numpy(blocks.astype(np.int64))
    with torch.no_grad():
        likely = model(input_ids=ids).logits[:, :-1].double().softmax(-1)
    np.testing.assert_array_equal(found.losses, token_losses(model, blocks))
    np.testing.assert_allclose(found.confidence, likely.amax(-1), rtol=1e-5)
    np.testing.assert_array_equal(found.correct, (likely.argmax(-1) == ids[:, 1:]).float())
    np.testing.assert_allclose(found.entropy, torch.distributions.Categorical(probs=likely).entropy(), rtol=1e-5)
    assert found.correct.any()


def test_scores_in_bfloat16_are_those_of_fp32_but_for_its_rounding() -> None:
    model, blocks = small_model(1).eval(), random_blocks(40, 32)
    precise, rounded = token_losses(model, blocks), token_losses(model.bfloat16(), blocks)
    assert 0 < np.abs(rounded - precise).mean() < 0.05  # of losses around 5; eight bits are a 256th
    assert perplexity(rounded, blocks) == pytest.approx(perplexity(precise, blocks), rel=0.01)


def test_a_model_that_knows_nothing_has_the_vocabulary_s_size_as_its_perplexity() -> None:
    model = small_model(0)
    nn.init.zeros_(model.lm_head.weight)
    blocks = random_blocks(5, 16)
    losses = token_losses(model, blocks)
    assert perplexity(losses, blocks) == pytest.approx(60, rel=1e-5)
    assert sequence_perplexity(losses) == pytest.approx((60, 0), abs=1e-3)


def test_a_block_is_scored_without_the_blocks_beside_it() -> None:
    model, blocks = small_model(1), random_blocks(6, 16)
    np.testing.assert_allclose(token_losses(model, blocks)[3:4], token_losses(model, blocks[3:4]), rtol=1e-5)


def test_dropout_is_off_while_scoring_and_back_on_afterwards() -> None:
    model, blocks = small_model(2, dropout=0.5).train(), random_blocks(4, 16)
    np.testing.assert_array_equal(token_losses(model, blocks), token_losses(model, blocks))
    assert model.training


def test_separator_targets_can_be_left_out() -> None:
    blocks = np.array([[2, 5, 2, 7], [9, 2, 2, 8]], np.int32)
    losses = np.array([[1.0, 10.0, 2.0], [20.0, 30.0, 3.0]], np.float32)
    assert perplexity(losses, blocks, separator=2) == pytest.approx(math.exp((1 + 2 + 3) / 3))
    assert perplexity(losses, blocks) == pytest.approx(math.exp(66 / 6))
    assert math.isnan(perplexity(losses[:, 1:2], blocks[:, 1:3], separator=2))


def test_the_deviation_is_over_sequences_and_not_the_exponential_of_the_losses_deviation() -> None:
    losses = np.log(np.array([[2.0, 8.0], [16.0, 1.0], [9.0, 4.0]], np.float32))  # perplexities 4, 4 and 6
    mean, deviation = sequence_perplexity(losses)
    assert mean == pytest.approx(14 / 3)
    assert deviation == pytest.approx(np.std([4, 4, 6], ddof=1))


@pytest.mark.filterwarnings("error")
def test_a_perplexity_that_no_float_holds_is_infinite() -> None:
    """From a mean loss of 709.78 nats on, of a model that diverged."""
    blocks, losses = random_blocks(3, 5), np.full((3, 4), 709.0, np.float32)
    assert math.isfinite(perplexity(losses, blocks))
    losses[1] = 800.0
    assert perplexity(losses + 50, blocks) == math.inf
    assert sequence_perplexities(losses).tolist() == [math.exp(709.0), math.inf, math.exp(709.0)]
    mean, deviation = sequence_perplexity(losses)
    assert mean == math.inf
    assert math.isnan(deviation)


def test_losses_of_other_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="are not those of blocks"):
        perplexity(np.zeros((2, 3), np.float32), random_blocks(2, 5))


def test_progress_counts_blocks_up_to_all_of_them() -> None:
    calls: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(perplexity_module.TOKENS_AT_ONCE, "cpu", 16)
        token_losses(small_model(0), random_blocks(5, 8), progress=lambda *call: calls.append(call))
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_an_engine_around_the_objective_is_scored_like_the_model() -> None:
    class Engine(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module, self.config = module, {"train_batch_size": 8}  # as DeepSpeed's engine has it

        def forward(self, *inputs: object, **named: object) -> object:
            return self.module(*inputs, **named)

    model, blocks = small_model(3, dropout=0.5), random_blocks(3, 8)
    engine = Engine(Objective(model)).train()
    np.testing.assert_allclose(token_losses(engine, blocks), token_losses(model, blocks), rtol=1e-5)
    assert engine.training
