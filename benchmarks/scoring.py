"""Scoring blocks against the model's own loss at the best of a few batches. Studies score in fp32."""

from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import OPTForCausalLM

from benchmarks.measure import alternate, comparison, table
from benchmarks.models import SIZES, create, prompts, scoring_flops
from components.families.device import device
from components.families.language.perplexity import token_losses, token_predictions

BLOCKS = {
    "cpu": {"OPT-125m": 64, "between": 256, "laptop": 512},
    "cuda": {"OPT-125m": 4096, "between": 8192, "laptop": 8192},
}
BATCHES = {"cpu": (8, 32, 128), "cuda": (32, 128, 512)}
EQUAL = {"fp32": 1e-5, "bf16": 2e-3}


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    for name in SIZES:
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            rows.append(_compare(name, precision, create(name).to(device(), dtype), ceilings[f"{precision} GFLOP/s"]))
            print(table(rows[-1:]), flush=True)
    return rows


def _compare(name: str, precision: str, model: OPTForCausalLM, ceiling: float) -> dict[str, Any]:
    where = model.device.type
    blocks = prompts(name, BLOCKS[where][name])
    losses = [float(token_losses(model, blocks).mean(dtype=np.float64)), _own_loss(model, blocks, BATCHES[where][0])]
    if abs(losses[0] / losses[1] - 1) > EQUAL[precision]:
        raise AssertionError(f"not one loss: ours {losses[0]}, the model's own {losses[1]}")
    sides = {
        "ours": lambda: len(token_losses(model, blocks)),
        "ours, with calibration": lambda: len(token_predictions(model, blocks).losses),
    }
    for batch in BATCHES[where]:
        sides[f"own loss, batches of {batch}"] = partial(_blocks_scored, model, blocks, batch)
    rates = alternate(sides)
    return comparison(f"scoring, {name}, {precision}", "blocks", rates, scoring_flops(SIZES[name]) / 1e9, ceiling)


def _blocks_scored(model: OPTForCausalLM, blocks: np.ndarray, batch: int) -> int:
    _own_loss(model, blocks, batch)
    return len(blocks)


def _own_loss(model: OPTForCausalLM, blocks: np.ndarray, batch: int) -> float:
    """The mean over batches of equal size: a token's mean loss."""
    losses = []
    for start in range(0, len(blocks), batch):
        ids = torch.from_numpy(blocks[start : start + batch].astype(np.int64)).to(model.device)
        with torch.inference_mode():
            losses.append(float(model(input_ids=ids, labels=ids, use_cache=False).loss))
    return float(np.mean(losses))
