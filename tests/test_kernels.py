"""The compiled kernels against torch's own operations."""

import ctypes
import os
import subprocess

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from components.families.language import kernels
from components.families.language.objective import summed_loss

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}
TYPES = st.sampled_from(list(TOLERANCE))


@settings(max_examples=60, deadline=None)
@given(
    dtype=TYPES,
    count=st.integers(1, 3),
    beams=st.integers(1, 12),
    heads=st.integers(1, 3),
    size=st.sampled_from([16, 32, 64, 80, 128]),
    prompt=st.integers(1, 30),
    suffix=st.integers(0, 40),
    seed=st.integers(0, 1000),
)
def test_beams_attend_to_what_they_see_as_torch_does(
    dtype: torch.dtype, count: int, beams: int, heads: int, size: int, prompt: int, suffix: int, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    used = prompt + suffix + beams
    projected = torch.randn(count, beams, 3, heads, size, generator=random).to(dtype)
    keys = torch.randn(count, heads, used + 3, size, generator=random).to(dtype)
    values = torch.randn(count, heads, used + 3, size, generator=random).to(dtype)
    visible = torch.rand(count, beams, used, generator=random) < 0.4
    visible[..., :prompt] = True
    own = prompt + torch.rand(count, suffix + beams, generator=random).argsort(1)[:, :beams]
    visible[torch.arange(count)[:, None], :, own] = False
    visible.scatter_(2, own[..., None], True)
    rows, expected_keys, expected_values = torch.arange(count)[:, None], keys.clone(), values.clone()
    expected_keys[rows, :, own], expected_values[rows, :, own] = projected[:, :, 1], projected[:, :, 2]
    expected = functional.scaled_dot_product_attention(
        projected[:, :, 0].transpose(1, 2).float(),
        expected_keys[:, :, :used].float(),
        expected_values[:, :, :used].float(),
        visible[:, None],
    )
    keys[:, :, used:] = values[:, :, used:] = float("nan")  # what was never written is never read
    seen = (visible << torch.arange(beams)[:, None]).sum(1, dtype=torch.int32)
    out = kernels.attend(projected, keys, values, own.int(), seen)
    torch.testing.assert_close(
        out.float(), expected.transpose(1, 2).flatten(2), rtol=TOLERANCE[dtype], atol=5 * TOLERANCE[dtype]
    )
    torch.testing.assert_close(keys[:, :, :used], expected_keys[:, :, :used], rtol=0, atol=0)
    torch.testing.assert_close(values[:, :, :used], expected_values[:, :, :used], rtol=0, atol=0)


@settings(max_examples=60, deadline=None)
@given(
    dtype=TYPES,
    count=st.integers(1, 3),
    length=st.integers(1, 70),
    heads=st.integers(1, 3),
    size=st.sampled_from([16, 32, 64, 80, 128]),
    seed=st.integers(0, 1000),
)
def test_tokens_of_a_block_attend_to_those_before_them_as_torch_does(
    dtype: torch.dtype, count: int, length: int, heads: int, size: int, seed: int
) -> None:
    projected = torch.randn(count, length, 3, heads, size, generator=torch.Generator().manual_seed(seed)).to(dtype)
    queries, keys, values = projected.float().permute(2, 0, 3, 1, 4)
    expected = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    torch.testing.assert_close(
        kernels.attend_causally(projected).float(),
        expected.transpose(1, 2).flatten(2),
        rtol=TOLERANCE[dtype],
        atol=5 * TOLERANCE[dtype],
    )


@settings(max_examples=100, deadline=None)
@given(
    dtype=TYPES,
    rows=st.integers(1, 4),
    size=st.integers(20, 400),
    k=st.integers(1, 8),
    penalty=st.sampled_from([None, 2.0, 0.7]),
    spread=st.sampled_from([1.0, 30.0]),
    seed=st.integers(0, 1000),
)
def test_the_best_tokens_are_those_of_a_log_softmax_and_a_sort(
    dtype: torch.dtype, rows: int, size: int, k: int, penalty: float | None, spread: float, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = (spread * torch.randn(rows, size, generator=random)).to(dtype)
    banned = torch.randperm(size, generator=random)[:2]
    seen = torch.randint(0, size, (rows, 10), generator=random) if penalty else None
    expected = logits.float().log_softmax(-1)
    if seen is not None:
        expected.scatter_(-1, seen, expected.gather(-1, seen) * (penalty or 1))  # log-probabilities are not positive
    expected[:, banned] = -torch.inf
    # The first of equals comes first: bf16 has many.
    order = expected.argsort(dim=-1, descending=True, stable=True)[:, :k]
    values, tokens = kernels.best_tokens(logits, seen, penalty or 1.0, banned, k)
    torch.testing.assert_close(values, expected.gather(-1, order), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(expected.gather(-1, tokens), values, rtol=1e-5, atol=1e-5)
    if seen is None:
        torch.testing.assert_close(tokens, order)
    assert all(len(set(row)) == k for row in tokens.tolist())


@settings(max_examples=50, deadline=None)
@given(dtype=TYPES, rows=st.integers(1, 5), size=st.integers(1, 300), seed=st.integers(0, 1000))
def test_losses_and_their_gradient_are_those_of_torch(dtype: torch.dtype, rows: int, size: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(rows, size, generator=random)).to(dtype)
    targets = torch.randint(0, size, (rows,), generator=random)
    wide = logits.float().requires_grad_()
    expected = functional.cross_entropy(wide, targets, reduction="none")
    expected.sum().backward()
    before = logits.clone()
    torch.testing.assert_close(kernels.losses(logits, targets), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits, before, rtol=0, atol=0)
    torch.testing.assert_close(kernels.losses(logits, targets, gradient=True), expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits.float(), wide.grad, rtol=TOLERANCE[dtype], atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    dtype=TYPES,
    rows=st.integers(1, 5),
    size=st.integers(1, 300),
    seed=st.integers(0, 1000),
    spread=st.sampled_from([0, 1, 30]),
)
def test_predictions_are_those_of_torch_and_their_losses_the_losses_to_the_bit(
    dtype: torch.dtype, rows: int, size: int, seed: int, spread: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = (spread * torch.randn(rows, size, generator=random)).to(dtype)
    logits[:, :: max(size, 7)] = -torch.inf if size > 1 else 0
    targets = torch.randint(0, size, (rows,), generator=random)
    losses, confidence, correct, entropy = kernels.predictions(logits, targets).T
    torch.testing.assert_close(losses, kernels.losses(logits, targets), rtol=0, atol=0)
    expected = torch.distributions.Categorical(logits=logits.float())
    torch.testing.assert_close(confidence, expected.probs.amax(-1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(entropy, expected.entropy(), rtol=1e-4, atol=1e-5)
    chosen = logits.gather(-1, targets[:, None])[:, 0]
    torch.testing.assert_close(correct, (chosen == logits.amax(-1)).float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_summed_loss_and_its_gradients_are_those_of_cross_entropy(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.families.language.objective.ROWS_AT_ONCE", 7)
    monkeypatch.setattr("components.families.language.objective.WORDS_AT_ONCE", 11)
    torch.manual_seed(0)
    sides = []
    for _ in range(2):
        torch.manual_seed(0)
        sides.append(
            (torch.randn(23, 8, dtype=dtype).requires_grad_(), torch.randn(50, 8, dtype=dtype).requires_grad_())
        )
    targets = torch.randint(0, 50, (23,))
    (hidden, weight), (same_hidden, same_weight) = sides
    loss = summed_loss(hidden, weight, targets)
    (3 * loss).backward()
    expected = functional.cross_entropy(same_hidden @ same_weight.T, targets, reduction="sum")
    (3 * expected).backward()
    torch.testing.assert_close(loss, expected.to(loss.dtype))
    torch.testing.assert_close(hidden.grad, same_hidden.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weight.grad, same_weight.grad, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def before_gcc_12(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels as a gcc before version 12 compiles them: without the builtin that gcc has since then."""
    defined = subprocess.run(
        [kernels.COMPILER, "-dM", "-E", "-x", "c++", os.devnull], check=True, capture_output=True, text=True
    ).stdout
    if "__clang__" in defined:
        pytest.skip("clang has always had this builtin")
    built = tmp_path_factory.mktemp("kernels") / "kernels.so"
    older = ("-U__GNUC__", "-D__GNUC__=11", "-D__builtin_shufflevector=not_there_before_gcc_12")
    command = [kernels.COMPILER, *kernels.FLAGS, *older, "-o", built, kernels.SOURCE]
    compiled = subprocess.run(command, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    return ctypes.CDLL(str(built))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_an_older_gcc_compiles_kernels_that_give_the_same_numbers_to_the_bit(
    dtype: torch.dtype, before_gcc_12: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(0)
    logits, targets = (5 * torch.randn(6, 300, generator=random)).to(dtype), torch.arange(6)
    projected = torch.randn(2, 7, 3, 2, 80, generator=random).to(dtype)
    keys, values = (torch.randn(2, 2, 40, 80, generator=random).to(dtype) for _ in range(2))
    own, seen = torch.arange(30, 37).repeat(2, 1).int(), torch.full((2, 37), 127).int()

    def numbers() -> list[torch.Tensor]:
        return [
            kernels.losses(logits, targets),
            kernels.predictions(logits, targets),
            *kernels.best_tokens(logits.clone(), None, 1.0, targets[:2], 5),
            kernels.attend(projected, keys.clone(), values.clone(), own, seen),
            kernels.attend_causally(projected),
        ]

    expected = numbers()
    monkeypatch.setattr(kernels, "library", lambda: before_gcc_12)
    kernels._function.cache_clear()
    try:
        found = numbers()
    finally:
        kernels._function.cache_clear()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
