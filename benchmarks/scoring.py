"""Scoring blocks against the model's own loss, in fp32, at the best of a few batches."""

from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import OPTForCausalLM

from benchmarks.measure import alternate
from benchmarks.models import SIZES, create, prompts, scoring_flops
from components.families.language.perplexity import token_losses

BLOCKS = {"OPT-125m": 64, "between": 256, "laptop": 512}
BATCHES = (8, 32, 128)
EQUAL = 1e-5


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    for name, size in SIZES.items():
        model = create(name).to("cuda" if torch.cuda.is_available() else "cpu")
        blocks = prompts(name, BLOCKS[name])
        losses = {"ours": float(token_losses(model, blocks).mean(dtype=np.float64)), "own": _own(model, blocks, 8)}
        if abs(losses["ours"] / losses["own"] - 1) > EQUAL:
            raise AssertionError(f"not one loss: {losses}")
        sides = {f"own loss, batches of {batch}": partial(_timed, model, blocks, batch) for batch in BATCHES}
        rates = alternate({"ours": lambda model=model, blocks=blocks: len(token_losses(model, blocks)), **sides})
        best = max(sides, key=rates.__getitem__)
        share = scoring_flops(size) / 1e9 / ceilings["fp32 GFLOP/s"]
        rows.append(
            {
                "what": f"scoring, {name}, fp32, blocks a second",
                **rates,
                "times the own loss": rates["ours"] / rates[best],
                "share of the ceiling": rates["ours"] * share,
                "its share": rates[best] * share,
            }
        )
        print(rows[-1])
    return rows


def _timed(model: OPTForCausalLM, blocks: np.ndarray, batch: int) -> float:
    _own(model, blocks, batch)
    return len(blocks)


def _own(model: OPTForCausalLM, blocks: np.ndarray, batch: int) -> float:
    """The mean over batches of equal size: a token's mean loss."""
    losses = []
    for start in range(0, len(blocks), batch):
        ids = torch.from_numpy(blocks[start : start + batch].astype(np.int64)).to(model.device)
        with torch.inference_mode():
            losses.append(float(model(input_ids=ids, labels=ids, use_cache=False).loss))
    return float(np.mean(losses))
