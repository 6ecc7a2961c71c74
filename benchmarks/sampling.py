"""Sampling: our drawn blocks, one a prompt and four, against transformers' `generate(do_sample=True)` at its best batch."""

from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import OPTForCausalLM

from benchmarks.generation import BATCHES, BATCHES_OF_OURS, best_batch, nats_a_token
from benchmarks.measure import alternate, comparison, table
from benchmarks.models import NEW, SIZES, create, generation_flops, prompts
from components.families.device import device
from components.families.language.decoder import PROMPTS_AT_ONCE
from components.families.language.sampling import Sampling, sample_blocks

TOP_P = 0.9
CANDIDATES = (1, 4)
NATS_APART = 0.15
"""A token, on average: what two draws of so many tokens from one distribution may differ by."""


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    for name in SIZES:
        for candidates in CANDIDATES:
            rows.append(_compare(name, candidates, create(name).to(device()), ceilings["fp32 GFLOP/s"]))
            print(table(rows[-1:]), flush=True)
    return rows


def _compare(name: str, candidates: int, model: OPTForCausalLM, ceiling: float) -> dict[str, Any]:
    where = model.device.type
    side_by_side = torch.get_num_threads() if where == "cpu" else 1
    given = prompts(name, PROMPTS_AT_ONCE[where] * BATCHES_OF_OURS[where] * side_by_side)
    best = best_batch(partial(_transformers, model, candidates=candidates), given, BATCHES[where])
    sides = {
        "ours": partial(_ours, model, given, candidates),
        f"generate, batches of {best}": partial(_transformers, model, given[:best], candidates=candidates),
    }
    written = {side: write() for side, write in sides.items()}  # which warms them up
    nats = {
        side: nats_a_token(model, np.repeat(given[: len(tokens) // candidates], candidates, 0), tokens)
        for side, tokens in written.items()
    }
    if max(nats.values()) - min(nats.values()) > NATS_APART:
        raise AssertionError(f"not one distribution: {nats} nats a token")
    rates = alternate({side: lambda write=write: len(write()) / candidates for side, write in sides.items()})  # type: ignore[misc]
    gflop = generation_flops(SIZES[name], candidates) / 1e9
    row = comparison(f"sampling top-p {TOP_P}, {candidates} a prompt, {name}", "prompts", rates, gflop, ceiling)
    return {**row, "nats a token": nats}


def _ours(model: OPTForCausalLM, given: np.ndarray, candidates: int) -> np.ndarray:
    numbers = np.random.default_rng(0).random((len(given), candidates, NEW), np.float32)
    tokens, _ = sample_blocks(model, given, numbers, Sampling(top_p=TOP_P), known=model.config.vocab_size)
    return tokens.reshape(-1, NEW)


def _transformers(model: OPTForCausalLM, given: np.ndarray, candidates: int) -> np.ndarray:
    ids = torch.from_numpy(given.astype(np.int64)).to(model.device)
    asked = {"do_sample": True, "top_k": 0, "top_p": TOP_P, "num_return_sequences": candidates}
    with torch.inference_mode():
        written = model.generate(
            ids, attention_mask=torch.ones_like(ids), min_new_tokens=NEW, max_new_tokens=NEW, **asked
        )
    return written[:, given.shape[1] :].cpu().numpy()
