"""Dropout's masks are a block's own: micro-batch, engine and workers change rounding only. Workers: test_two_workers.py."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, OPTConfig, OPTForCausalLM

from components.families.language.deepspeed_engine import DeepSpeedEngine
from components.families.language.dropout import BlockDropout
from components.families.language.training import Batches, Recipe, TorchEngine, fine_tune
from components.recursion.family import GuardFailure

CPU = torch.device("cpu")
RECIPE = Recipe(2, 3e-3, 1e-6, 0.01, 16, "last")
RATES = {"dropout": 0.1, "attention_dropout": 0.1}
BLOCKS = np.random.default_rng(0).integers(4, 64, (40, 12), dtype=np.int32)


def masks(rows: list[int], seed: int = 0, step: int = 0) -> BlockDropout:
    return BlockDropout(seed, step, np.array(rows), CPU)


def trained(recipe: Recipe = RECIPE, seed: int = 3, stage: int | None = None, **rates: float) -> dict[str, Tensor]:
    """The weights after two epochs; without a stage under the plain engine."""
    torch.manual_seed(0)
    model = OPTForCausalLM(
        OPTConfig(
            vocab_size=64, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, ffn_dim=32,
            max_position_embeddings=32, word_embed_proj_dim=16, **(RATES | rates),
        )
    )  # fmt: skip
    batches = Batches.cut(recipe, len(BLOCKS), 1)
    engine = TorchEngine(model, recipe, batches, CPU)
    if stage is not None:
        engine = DeepSpeedEngine(model, recipe, batches, stage, CPU)
    try:
        return fine_tune(engine, BLOCKS, lambda module: 0.0, recipe, seed)[0]
    finally:
        engine.close()


def apart(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    """The distance between two models relative to their length, without what no loss depends on (Adam enlarges rounding)."""
    names = [name for name in some if "k_proj.bias" not in name]
    way, length = (
        sum(float(tensor.double().square().sum()) for tensor in tensors)
        for tensors in ([some[name] - others[name] for name in names], [others[name] for name in names])
    )
    return math.sqrt(way / length)


@pytest.mark.parametrize("layers", [0.0, 0.5])
@pytest.mark.parametrize("micro", [1, 3, 16])
def test_with_dropout_the_size_of_a_micro_batch_changes_only_rounding(micro: int, layers: float) -> None:
    whole = trained(layerdrop=layers)
    assert apart(trained(replace(RECIPE, micro_batch_size=micro), layerdrop=layers), whole) < 1e-5


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_with_dropout_deepspeed_gives_the_plain_engines_weights(stage: int) -> None:
    assert (
        apart(trained(replace(RECIPE, micro_batch_size=3), stage=stage, layerdrop=0.5), trained(layerdrop=0.5)) < 1e-5
    )


def test_in_bf16_the_masks_are_the_same_ones_and_the_rest_is_its_rounding() -> None:
    recipe = replace(RECIPE, precision="bf16")
    whole = trained(recipe)
    assert apart(trained(replace(recipe, micro_batch_size=3), stage=1), whole) < 0.1 * apart(
        trained(recipe, seed=4), whole
    )


def test_two_seeds_and_no_dropout_are_each_another_training() -> None:
    one, other, without = trained(), trained(seed=4), trained(dropout=0.0, attention_dropout=0.0)
    assert apart(other, one) > 0.01
    assert apart(without, one) > 0.01


ARCHITECTURES = {
    "opt": {"hidden_size": 16, "ffn_dim": 32, "word_embed_proj_dim": 16, "num_attention_heads": 2, "num_hidden_layers": 2,
            **RATES},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1},
    "gpt_neox": {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2,
                 "hidden_dropout": 0.1, "attention_dropout": 0.1},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2, "hidden_dropout": 0.1, "attention_dropout": 0.1},
    "llama": {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2,
              "num_hidden_layers": 2, "attention_dropout": 0.1},
}  # fmt: skip


FORMS = [(name, form) for name in ARCHITECTURES for form in ("eager", "sdpa") if (name, form) != ("bloom", "sdpa")]


@pytest.mark.parametrize(("name", "attention"), FORMS)
def test_in_any_architecture_a_blocks_logits_do_not_depend_on_the_blocks_beside_it(name: str, attention: str) -> None:
    config = AutoConfig.for_model(name, vocab_size=64, max_position_embeddings=32, **ARCHITECTURES[name])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).train()
    ids, rows = torch.from_numpy(BLOCKS[:5].astype(np.int64)), [7, 2, 30, 4, 11]
    with masks(rows):
        together = model(ids).logits
    for block, row in zip(ids, rows, strict=True):
        with masks([row]):
            torch.testing.assert_close(model(block[None]).logits, together[rows.index(row)][None], rtol=1e-4, atol=1e-5)
    with masks(rows, step=1):
        assert not torch.allclose(model(ids).logits, together, atol=1e-3)


def test_attentions_masks_are_the_same_in_torchs_fused_form_and_in_its_plain_one() -> None:
    random = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(3, 2, 7, 8, generator=random, requires_grad=True) for _ in range(3))
    with masks([0, 1, 2]):
        fused = functional.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=0.25)
    with masks([0, 1, 2]):
        future = torch.ones(7, 7, dtype=torch.bool).triu(1)
        weights = (query @ key.transpose(-1, -2) / math.sqrt(8)).masked_fill(future, -math.inf).softmax(-1)
        plain = functional.dropout(weights, 0.25) @ value
    torch.testing.assert_close(fused, plain)
    gradients = [torch.autograd.grad(out.square().sum(), (query, key, value)) for out in (fused, plain)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_as_many_numbers_are_kept_as_the_binomial_law_says_and_their_mean_stays(p: float) -> None:
    """Over blocks, places and steps: 200 samples of 10,000 numbers, whose counts torch's own dropout would have, too."""
    ones, counts = torch.ones(10, 10_000), []
    for step in range(10):
        with masks(list(range(10)), step=step):
            for _ in range(2):
                dropped = functional.dropout(ones, p)
                torch.testing.assert_close(
                    dropped[dropped != 0].unique(), torch.tensor([1 / (1 - p)]), rtol=1e-3, atol=0
                )
                counts.append((dropped != 0).sum(1).double())
    kept, deviation = torch.cat(counts), math.sqrt(10_000 * p * (1 - p))
    assert abs(float(kept.mean()) - 10_000 * (1 - p)) < 4 * deviation / math.sqrt(200) + 10_000 / 2**17
    assert 0.8 < float(kept.std()) / deviation < 1.2


def test_masks_of_other_blocks_places_steps_and_seeds_have_nothing_in_common() -> None:
    """Of two independent halves a quarter is kept in both; so for shifted ones."""
    ones, found = torch.ones(2, 40_000), []
    for seed, step in ((0, 0), (0, 1), (1, 0)):
        with masks([3, 4], seed, step):
            found += [functional.dropout(ones, 0.5) != 0 for _ in range(2)]
    flat = torch.cat(found).float()
    both = flat @ flat.T / flat.shape[1]
    shifted = flat @ flat.roll(1, dims=1).T / flat.shape[1]
    expected = torch.full_like(both, 0.25)
    torch.testing.assert_close(both, expected.fill_diagonal_(0.5), rtol=0, atol=0.012)
    torch.testing.assert_close(shifted, torch.full_like(shifted, 0.25), rtol=0, atol=0.012)


def test_the_bits_are_splitmix64s() -> None:
    """The published generator, in Python's integers."""

    def mixed(word: int) -> int:
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        return word ^ word >> 31

    stride = 0x9E3779B97F4A7C15
    with masks([5]) as entered:
        kept = functional.dropout(torch.ones(1, 16), 0.3) != 0
    start = mixed((int(entered._blocks[0]) + stride) % 2**64)
    words = [mixed((start + index * stride) % 2**64) for index in range(4)]
    lanes = np.array(words, np.uint64).view(np.uint16).astype(int)  # the least first
    expected = (lanes ^ 2**15) >= round(0.3 * 2**16)
    np.testing.assert_array_equal(kept[0].numpy(), expected)


def test_the_gradient_passes_where_the_value_does() -> None:
    values = torch.randn(4, 50, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with masks([0, 1, 2, 3]):
        dropped = functional.dropout(values, 0.3)
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    torch.testing.assert_close(gradient * values, dropped)
    with masks([0, 1, 2, 3]):
        inside = values.detach().clone()
        functional.dropout(inside, 0.3, inplace=True)
    torch.testing.assert_close(inside, dropped.detach())


def test_evaluation_and_a_rate_of_zero_are_left_as_they_are() -> None:
    values = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    with masks([0, 1, 2, 3]):
        for p, training in ((0.3, False), (0.0, True)):
            assert functional.dropout(values, p, training) is values
        assert not functional.dropout(values, 1.0).any()


def test_a_layer_is_dropped_for_a_whole_step_and_as_often_as_its_rate_says() -> None:
    drawn = []
    for step in range(500):
        with masks([0, 1], step=step):
            own = [torch.rand([]) for _ in range(4)]
        with masks([9], step=step):
            assert [torch.rand([]) for _ in range(4)] == own
        drawn += own
    numbers = torch.stack(drawn)
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    largest = (numbers.sort().values - torch.linspace(0, 1, 2000)).abs().max()
    assert largest < 1.63 / math.sqrt(2000)  # Kolmogorov and Smirnov, one in a hundred


@pytest.mark.parametrize(
    ("draw", "line"),
    [
        (lambda: functional.alpha_dropout(torch.ones(2, 3), 0.5, training=True), "set their rate to 0"),
        (lambda: torch.rand(3), "set their rate to 0"),
        (lambda: functional.dropout(torch.ones(3, 4)), r"of shape \(3, 4\), whose first axis is not the 2 blocks"),
    ],
)
def test_randomness_that_would_depend_on_the_micro_batch_is_refused(draw, line: str) -> None:
    with pytest.raises(GuardFailure, match=line), masks([0, 1]):
        draw()
