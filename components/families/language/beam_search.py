"""Exact beam search of a fixed length: how the paper makes each generation's data (section 5.2, five beams, 64 tokens).

Same tokens as transformers' `generate(num_beams=..., min_new_tokens=max_new_tokens=new_tokens)`, several times as fast,
because little is copied: a prompt is read once for all its beams, every step appends one key and value a beam to a
buffer, and a mask says which of them are a beam's own ancestors. Beams soon have most ancestors in common, so what is
nobody's ancestor any more is dropped every few steps, and attention reads little more than one sequence a prompt.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import OPTForCausalLM
from transformers.models.opt.modeling_opt import OPTDecoderLayer

TOP_K_GROUP = 32
STEPS_BETWEEN_PRUNINGS = 8


def generate_blocks(
    model: OPTForCausalLM,
    prompts: np.ndarray,
    *,
    new_tokens: int,
    num_beams: int,
    repetition_penalty: float = 1.0,
    batch_size: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Continue every prompt by exactly `new_tokens` tokens.

    Args:
        model: on any device, in any floating type.
        prompts: int32 (n, prompt length), no padding.
        batch_size: prompts decoded together; it changes memory and speed only (and rounding).
        progress: called with (prompts done, n) after every batch.

    Returns:
        tokens, int32 (n, new_tokens), and scores, float32 (n,), as `beam_search` defines them.

    Raises:
        ValueError: an argument that `beam_search` refuses, or a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, must be at least 1")
    tokens = np.empty((len(prompts), new_tokens), np.int32)
    scores = np.empty(len(prompts), np.float32)
    for start in range(0, len(prompts), batch_size):
        rows = slice(start, min(start + batch_size, len(prompts)))
        batch = torch.from_numpy(prompts[rows].astype(np.int64)).to(model.device)
        best, score = beam_search(
            model, batch, new_tokens=new_tokens, num_beams=num_beams, repetition_penalty=repetition_penalty
        )
        tokens[rows], scores[rows] = best.cpu().numpy(), score.cpu().numpy()
        progress(rows.stop, len(prompts))
    return tokens, scores


@torch.inference_mode()
def beam_search(
    model: OPTForCausalLM, prompts: Tensor, *, new_tokens: int, num_beams: int, repetition_penalty: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The best beam's continuation of every prompt of one batch, `</s>` banned throughout.

    Args:
        prompts: int64 (n, prompt length) on the model's device, no padding.
        repetition_penalty: of Keskar et al. 2019 (arXiv 1909.05858) as transformers applies it, to every token that
            occurs in prompt or continuation: several beams multiply its log-probability by the penalty; greedy search
            (one beam) multiplies its logit where that is negative and divides it where it is positive.

    Returns:
        tokens, int64 (n, new_tokens), and scores, float32 (n,), in nats: the sum of what beams are ranked by. With a
        penalty of 1 that is the continuation's log-likelihood under the model, and transformers' `sequences_scores`
        times `new_tokens`. Greedy search's score is the log-likelihood whatever the penalty. `</s>` keeps its share of
        the probability: it is banned after the normalisation.

    Raises:
        ValueError: no beam or no token asked for, a penalty that is not positive, more beams than half the vocabulary,
            or a sequence longer than the model's positions.
    """
    count, prompt_length = prompts.shape
    _check(model, prompt_length, new_tokens, num_beams, repetition_penalty)
    banned = torch.tensor(_separators(model), dtype=torch.int64, device=prompts.device)
    first_row = torch.arange(count, device=prompts.device)[:, None] * num_beams
    decoder = _Decoder(model, count, prompt_length, new_tokens, num_beams)

    logits = decoder.read(prompts)[:, None]
    sequences = torch.empty(count * num_beams, prompt_length + new_tokens, dtype=torch.int64, device=prompts.device)
    sequences[:, :prompt_length] = prompts.repeat_interleave(num_beams, 0)
    scores = torch.zeros(count, 1, dtype=torch.float32, device=prompts.device)
    for length in range(prompt_length, prompt_length + new_tokens):
        seen = sequences.view(count, num_beams, -1)[:, : logits.shape[1], :length]
        choose = _best_beams if num_beams > 1 else _best_token
        scores, parents, tokens = choose(logits, scores, seen, banned, num_beams, repetition_penalty)
        rows = (first_row + parents).flatten()
        sequences = sequences.index_select(0, rows)
        sequences[:, length] = tokens.flatten()
        if length + 1 < prompt_length + new_tokens:
            logits = decoder.extend(tokens, rows)
    best = sequences.view(count, num_beams, -1)[:, 0, prompt_length:]
    assert best.shape == (count, new_tokens)
    assert scores.shape == (count, num_beams)
    return best, scores[:, 0]


def _best_beams(
    logits: Tensor, scores: Tensor, seen: Tensor, banned: Tensor, num_beams: int, penalty: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The `num_beams` best continuations by one token of each prompt's beams, best first.

    Args:
        logits: (n, beams, vocabulary), where beams is 1 after the prompt and `num_beams` later.
        scores: float32 (n, beams).
        seen: int64 (n, beams, length), the tokens so far.

    Returns:
        scores, parents (the beam that each continues) and tokens, all (n, num_beams).
    """
    ranked = torch.log_softmax(logits, -1, dtype=torch.float32)
    if penalty != 1.0:
        _penalise(ranked, seen, penalty)
    ranked.index_fill_(-1, banned, -torch.inf)
    # Each beam has at most num_beams tokens among the best; transformers takes twice as many, for beams that end.
    values, tokens = _top_k(ranked, num_beams)
    best, index = (scores[..., None] + values).flatten(1).topk(num_beams)
    return best, index // num_beams, tokens.flatten(1).gather(1, index)


def _best_token(
    logits: Tensor, scores: Tensor, seen: Tensor, banned: Tensor, num_beams: int, penalty: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Greedy search; arguments and results as in `_best_beams`, with one beam."""
    ranked = logits.to(torch.float32, copy=True)
    if penalty != 1.0:
        _penalise(ranked, seen, penalty)
    ranked.index_fill_(-1, banned, -torch.inf)
    tokens = ranked.argmax(-1)
    log_probabilities = torch.log_softmax(logits, -1, dtype=torch.float32)
    return scores + log_probabilities.gather(-1, tokens[..., None])[..., 0], torch.zeros_like(tokens), tokens


def _penalise(ranked: Tensor, seen: Tensor, penalty: float) -> None:
    """Make the tokens seen before less likely, in place."""
    values = ranked.gather(-1, seen)
    ranked.scatter_(-1, seen, torch.where(values < 0, values * penalty, values / penalty))


def _top_k(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest along the last dimension and their indices, in two levels: the k largest lie in the k groups with
    the largest maxima, and maxima of groups are cheap where a top-k over a vocabulary of 50,000 is not."""
    size = values.shape[-1]
    if size % TOP_K_GROUP or size // TOP_K_GROUP < k:
        return values.topk(k)
    groups = size // TOP_K_GROUP  # group g holds the indices g, g + groups, g + 2 * groups, ...
    grouped = values.unflatten(-1, (TOP_K_GROUP, groups))
    chosen = grouped.amax(-2).topk(k).indices
    candidates = grouped.gather(-1, chosen[..., None, :].expand(*chosen.shape[:-1], TOP_K_GROUP, k)).flatten(-2)
    best, index = candidates.topk(k)
    return best, index // k * groups + chosen.gather(-1, index % k)


class _Decoder:
    """OPT's decoder on the module's own weights, with a key/value buffer: the prompt, then `num_beams` slots a step.

    A beam that goes on from another inherits that one's row of the mask instead of a copy of its keys and values.
    Slots that no beam sees are pruned now and then.
    """

    def __init__(self, model: OPTForCausalLM, count: int, prompt_length: int, new_tokens: int, num_beams: int) -> None:
        config, decoder = model.config, model.model.decoder
        self.decoder, self.lm_head = decoder, model.lm_head
        self.heads, self.head_size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.count, self.num_beams, self.prompt_length = count, num_beams, prompt_length
        self.position = self.filled = 0  # the next token's position; slots filled so far
        slots = prompt_length + (new_tokens - 1) * num_beams
        shape = (config.num_hidden_layers, count, self.heads, slots, self.head_size)
        self.keys = torch.empty(shape, dtype=model.dtype, device=model.device)
        self.values = torch.empty_like(self.keys)
        self.mask = torch.full((count * num_beams, slots), -torch.inf, dtype=model.dtype, device=model.device)
        self.mask[:, :prompt_length] = 0
        attentions = [layer.self_attn for layer in decoder.layers]
        self.projections = [_joined(a.q_proj, a.k_proj, a.v_proj) for a in attentions]

    def read(self, prompts: Tensor) -> Tensor:
        """Fill the buffer with the prompts, (n, prompt length); the next token's logits, (n, vocabulary)."""
        hidden = self._embed(prompts)
        self.position = self.filled = prompts.shape[1]
        *inner, last = range(len(self.decoder.layers))
        for number in inner:
            hidden = self._layer(number, hidden, 0)
        # Of the last layer the keys and values of all positions are needed, but the output of the last one only.
        hidden = self._layer(last, hidden, 0, last_only=True)
        return self._logits(hidden)[:, 0]

    def extend(self, tokens: Tensor, parent_rows: Tensor) -> Tensor:
        """Add one token a beam.

        Args:
            tokens: (n, num_beams).
            parent_rows: (n * num_beams,), the beam that each goes on from, counted through the batch.

        Returns:
            The next token's logits, (n, num_beams, vocabulary).
        """
        hidden = self._embed(tokens[..., None])[:, :, 0]
        self.mask = self.mask.index_select(0, parent_rows)  # a beam sees what its parent saw, and itself
        if self.num_beams > 1 and (self.position - self.prompt_length) % STEPS_BETWEEN_PRUNINGS == 0:
            self._prune()
        first = self.filled
        self.position, self.filled = self.position + 1, first + self.num_beams
        own = self.mask.view(self.count, self.num_beams, -1)[:, :, first : self.filled]
        own.diagonal(dim1=1, dim2=2).zero_()
        for number in range(len(self.decoder.layers)):
            hidden = self._layer(number, hidden, first)
        return self._logits(hidden)

    def _prune(self) -> None:
        """Drop the slots after the prompt that no beam sees, as many as the prompt that sees the most can spare."""
        suffix = slice(self.prompt_length, self.filled)
        mask = self.mask.view(self.count, self.num_beams, -1)[..., suffix]
        seen = (mask == 0).any(1)
        kept = int(seen.sum(1).amax())
        if kept == seen.shape[1]:
            return
        slots = seen.int().argsort(dim=1, descending=True, stable=True)[:, :kept]  # those seen first, in their order
        self.filled = suffix.start + kept
        self.mask.view(self.count, self.num_beams, -1)[..., suffix.start : self.filled] = mask.gather(
            2, slots[:, None].expand(-1, self.num_beams, -1)
        )
        self.mask[:, self.filled : suffix.stop] = -torch.inf
        index = slots[:, None, :, None].expand(-1, self.heads, -1, self.head_size)
        for buffer in (*self.keys, *self.values):
            buffer[:, :, suffix.start : self.filled] = buffer[:, :, suffix].gather(2, index)

    def _embed(self, tokens: Tensor) -> Tensor:
        """Embeddings of tokens (..., length) that stand at the next positions."""
        embedded = self.decoder.embed_tokens(tokens)
        if self.decoder.project_in is not None:
            embedded = self.decoder.project_in(embedded)
        first = self.position + self.decoder.embed_positions.offset
        return embedded + self.decoder.embed_positions.weight[first : first + tokens.shape[-1]]

    def _layer(self, number: int, hidden: Tensor, first: int, last_only: bool = False) -> Tensor:
        """One decoder layer over `hidden`, (n, length, hidden size), which stands in the slots from `first` on."""
        layer: OPTDecoderLayer = self.decoder.layers[number]
        before = layer.do_layer_norm_before  # after in OPT-350m
        attended = self._attend(number, layer.self_attn_layer_norm(hidden) if before else hidden, first, last_only)
        hidden = (hidden[:, -1:] if last_only else hidden) + attended
        if not before:
            hidden = layer.self_attn_layer_norm(hidden)
        normed = layer.final_layer_norm(hidden) if before else hidden
        hidden = hidden + layer.fc2(layer.activation_fn(layer.fc1(normed)))
        return hidden if before else layer.final_layer_norm(hidden)

    def _attend(self, number: int, hidden: Tensor, first: int, last_only: bool) -> Tensor:
        projected = functional.linear(hidden, *self.projections[number])
        query, keys, values = projected.unflatten(-1, (3, self.heads, self.head_size)).permute(2, 0, 3, 1, 4)
        self.keys[number, :, :, first : self.filled] = keys
        self.values[number, :, :, first : self.filled] = values
        mask, causal = None, False
        if first == 0:
            query, causal = (query[:, :, -1:], False) if last_only else (query, True)
        else:
            keys, values = self.keys[number, :, :, : self.filled], self.values[number, :, :, : self.filled]
            mask = self.mask.view(self.count, 1, self.num_beams, -1)[..., : self.filled]
        attended = functional.scaled_dot_product_attention(query, keys, values, mask, is_causal=causal)
        return self.decoder.layers[number].self_attn.out_proj(attended.transpose(1, 2).flatten(2))

    def _logits(self, hidden: Tensor) -> Tensor:
        if self.decoder.final_layer_norm is not None:
            hidden = self.decoder.final_layer_norm(hidden)
        if self.decoder.project_out is not None:
            hidden = self.decoder.project_out(hidden)
        return self.lm_head(hidden)


def _joined(*layers: nn.Linear) -> tuple[Tensor, Tensor | None]:
    biases = tuple(layer.bias for layer in layers)
    return torch.cat(tuple(layer.weight for layer in layers)), None if biases[0] is None else torch.cat(biases)


def _separators(model: OPTForCausalLM) -> list[int]:
    ids: list[int] | int | None = model.config.eos_token_id
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def _check(model: OPTForCausalLM, prompt_length: int, new_tokens: int, num_beams: int, penalty: float) -> None:
    config = model.config
    if num_beams < 1:
        raise ValueError(f"num_beams is {num_beams}, must be at least 1")
    if 2 * num_beams > config.vocab_size:
        raise ValueError(f"num_beams is {num_beams}, must be at most half the vocabulary of {config.vocab_size}")
    if prompt_length < 1 or new_tokens < 1:
        raise ValueError(f"a prompt of {prompt_length} and {new_tokens} new tokens: both must be at least 1")
    if prompt_length + new_tokens > config.max_position_embeddings:
        raise ValueError(
            f"a prompt of {prompt_length} and {new_tokens} new tokens exceed "
            f"the model's {config.max_position_embeddings} positions"
        )
    if not penalty > 0:
        raise ValueError(f"repetition_penalty is {penalty}, must be positive")
