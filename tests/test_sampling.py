"""Blocks that are drawn or edited, against transformers' distribution and against counting."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import OPTForCausalLM

from components.families.language.decoding import Decoding, guard_decoding
from components.families.language.editing import edit_blocks
from components.families.language.perplexity import token_losses
from components.families.language.sampling import Sampling, drawn_tokens, sample_blocks
from components.recursion.family import GuardFailure
from tests.test_beam_search import SEPARATOR, log_likelihood, random_model, random_prompts

EDITING, DRAWING = Decoding(1, 1.0, "fp32", None, edit=0.3), Decoding(1, 1.0, "fp32", None, Sampling())


def numbers_for(prompts: np.ndarray, candidates: int, new_tokens: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((len(prompts), candidates, new_tokens), np.float32)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 7]),
    top_p=st.sampled_from([0.3, 0.9, 1.0]),
    penalty=st.sampled_from([1.0, 2.0]),
    candidates=st.integers(1, 4),
    heads=st.sampled_from([2, 4]),  # the compiled attention takes heads of 16, torch those of 8
)
def test_every_token_is_the_one_that_transformers_distribution_gives_for_its_number(
    seed, temperature, top_k, top_p, penalty, candidates, heads
):
    model = random_model(seed, heads=heads)
    prompts = random_prompts(model, 3, 5, seed)
    sampling = Sampling(temperature, top_k, top_p)
    numbers = numbers_for(prompts, candidates, 6, seed)
    known = model.config.vocab_size - 9
    named = {"known": known, "repetition_penalty": penalty, "batch_size": 2}
    tokens, scores = sample_blocks(model, prompts, numbers, sampling, **named)
    # the guard computes every token by transformers' model and processors; one candidate in a hundred may part by rounding
    asked = Decoding(1, penalty, "fp32", None, sampling)
    guard_decoding(model, prompts, numbers, tokens, asked, known)
    assert tokens.max() < known
    whole = np.concatenate([np.repeat(prompts[:, None], candidates, 1), tokens], 2).reshape(3 * candidates, -1)
    likely = log_likelihood(model, torch.from_numpy(whole.astype(np.int64)), 6)
    assert scores.ravel() == pytest.approx(likely.numpy(), rel=1e-4, abs=1e-3)
    assert not (tokens == SEPARATOR).any()


def test_tokens_come_as_often_as_the_model_says():
    model = random_model(3, vocabulary=50)
    prompts = np.repeat(random_prompts(model, 1, 6), 4000, 0)
    tokens, _ = sample_blocks(
        model, prompts, numbers_for(prompts, 2, 2), Sampling(temperature=1.3, top_p=0.8), known=50
    )
    with torch.no_grad():
        logits = model(torch.from_numpy(prompts[:1].astype(np.int64))).logits[0, -1].clone() / 1.3
    logits[SEPARATOR] = -torch.inf
    probabilities = logits.softmax(-1).double().sort(descending=True)
    kept = int((probabilities.values.cumsum(0) < 0.8).sum()) + 1  # the fewest that have 0.8
    expected = probabilities.values[:kept] / probabilities.values[:kept].sum()
    counts = np.bincount(tokens[:, :, 0].ravel(), minlength=50)
    assert counts.sum() == counts[probabilities.indices[:kept].numpy()].sum()
    assert chisquare(counts[probabilities.indices[:kept].numpy()], 8000 * expected.numpy()).pvalue > 1e-4
    assert abs(np.corrcoef(tokens[:, 0, 0] == tokens[0, 0, 0], tokens[:, 1, 0] == tokens[0, 0, 0])[0, 1]) < 0.06


def test_which_prompts_are_decoded_together_changes_nothing():
    model = random_model(5)
    prompts = random_prompts(model, 7, 4)
    numbers = numbers_for(prompts, 3, 5)
    together, _ = sample_blocks(model, prompts, numbers, Sampling(), known=80)
    apart, _ = sample_blocks(model, prompts, numbers, Sampling(), known=80, batch_size=2)
    last, _ = sample_blocks(model, prompts[4:], numbers[4:], Sampling(), known=80)
    assert (together == apart).all()
    assert (together[4:] == last).all()


@given(st.integers(1, 400), st.integers(0, 2**32), st.floats(0, 1, exclude_max=True, width=32))
def test_no_number_draws_a_token_without_probability(size, seed, number):
    probabilities = np.random.default_rng(seed).random(size).astype(np.float32) ** 8
    probabilities[np.random.default_rng(seed + 1).random(size) < 0.5] = 0
    probabilities[seed % size] = 1
    cumulative = torch.from_numpy(probabilities / probabilities.sum()).cumsum(-1)
    token = int(drawn_tokens(cumulative, torch.tensor(number)))
    assert probabilities[token] > 0


def test_only_tokens_likelier_than_the_threshold_are_drawn_anew_and_from_the_models_distribution():
    model = random_model(1, sharpness=0.5)
    blocks = random_prompts(model, 200, 12)
    easy = easy_blocks(model, blocks)
    numbers = np.random.default_rng(0).random(easy.shape, np.float32)
    edited, scores = edit_blocks(model, easy, numbers, 0.3, known=80)
    losses = token_losses(model, easy)
    stays = np.ones(easy.shape, bool)
    stays[:, 1:] = np.exp(-losses) <= 0.3
    assert (edited[stays] == easy[stays]).all()
    assert 0.2 < (~stays).mean() < 0.9
    # a token of probability p is drawn again with probability p: the edited share is that of the others
    same, likely = (edited == easy)[~stays], np.exp(-losses)[~stays[:, 1:]]
    assert same.mean() == pytest.approx(
        float(likely.mean()), abs=4 * float(np.sqrt((likely * (1 - likely)).mean() / len(likely)))
    )
    assert scores == pytest.approx(-losses.sum(1), rel=1e-4)
    guard_decoding(model, easy[:2], numbers[:2, None], edited[:2, None], EDITING, 80)


def easy_blocks(model: OPTForCausalLM, prompts: np.ndarray) -> np.ndarray:
    """Blocks whose later half is what the model finds likeliest."""
    blocks = prompts.copy()
    for place in range(6, prompts.shape[1]):
        with torch.inference_mode():
            logits = model(torch.from_numpy(blocks[:, :place].astype(np.int64))).logits[:, -1]
        blocks[:, place] = logits.argmax(-1).numpy()
    return blocks


@pytest.mark.parametrize("asked", [EDITING, DRAWING], ids=["editing", "sampling"])
def test_blocks_that_were_not_drawn_by_their_numbers_are_found_out(asked):
    model = random_model(2)
    prompts = random_prompts(model, 2, 8)
    numbers = numbers_for(prompts, 1, 8)
    other = np.where(prompts == 9, 10, 9)[:, None]
    with pytest.raises(GuardFailure, match=r"this is not what .* would have written"):
        guard_decoding(model, prompts, numbers, other, asked, 80)


@pytest.mark.parametrize(
    ("numbers", "named", "message"),
    [
        (np.zeros((2, 1, 0), np.float32), {}, "0 new tokens"),
        (np.zeros((2, 1, 99), np.float32), {}, "exceed the model's 48 positions"),
        (np.zeros((2, 1, 3), np.float32), {"repetition_penalty": 0.0}, "must be positive"),
        (np.zeros((2, 1, 3), np.float32), {"batch_size": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(numbers, named, message):
    model = random_model(0)
    with pytest.raises(ValueError, match=message):
        sample_blocks(model, random_prompts(model, 2, 4), numbers, Sampling(), known=80, **named)
