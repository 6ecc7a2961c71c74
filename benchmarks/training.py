"""A fine-tuning step against the one the published code takes (transformers' loss, torch's AdamW, autocast), and DeepSpeed's
engine against ours."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import alternate, comparison, forget_memory, table
from benchmarks.models import PROMPT, SIZES, create, prompts
from components.environment import Precision
from components.families.device import device, keep_memory
from components.families.language.architecture import flops_per_token
from components.families.language.training import Batches, Engine, Recipe, TorchEngine

BLOCKS = {
    "cpu": {"OPT-125m": 16, "between": 32, "laptop": 32},
    "cuda": {"OPT-125m": 128, "between": 128, "laptop": 128},
}
STEPS = {"OPT-125m": 1, "between": 5, "laptop": 20}
RATE, DECAY = 2e-5, 0.01
EQUAL = {"fp32": 1e-4, "bf16": 1e-3}


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    for name in SIZES:
        for precision in ("bf16", "fp32"):
            rows.append(_compare(name, precision, ceilings[f"{precision} GFLOP/s"]))
            print(table(rows[-1:]), flush=True)
    return rows


def _compare(name: str, precision: Precision, ceiling: float) -> dict[str, Any]:
    where = device()
    ids = torch.from_numpy(prompts(name, BLOCKS[where.type][name])).long().to(where)
    recipe = Recipe(1, RATE, RATE, DECAY, len(ids), "last", precision)
    batches = Batches.cut(recipe, len(ids), 1)
    steps = {"ours": _ours(TorchEngine(create(name).train(), recipe, batches, where), ids, precision)}
    steps["as published"] = _published(name, ids, precision)
    if find_spec("deepspeed"):
        from components.families.language.deepspeed_engine import DeepSpeedEngine

        engine = DeepSpeedEngine(create(name).train(), recipe, batches, 0, where)  # as a study with one worker does
        steps["ours under DeepSpeed"] = _ours(engine, ids, precision)
    losses = {side: [step() for _ in range(3)] for side, step in steps.items()}
    for side, values in losses.items():
        apart = max(abs(a / b - 1) for a, b in zip(values, losses["as published"], strict=True))
        if apart > EQUAL[precision]:
            raise AssertionError(f"{side} trains otherwise: losses {values} against {losses['as published']}")
    rates = alternate(
        {side: partial(_several, step, STEPS[name]) for side, step in steps.items()},
        before=lambda side: _settle(side, steps[side]),
    )
    gflop = 3 * flops_per_token(SIZES[name]) * PROMPT * len(ids) / 1e9
    return comparison(f"fine-tuning, {name}, {precision}, {len(ids)} blocks", "steps", rates, gflop, ceiling)


def _several(step: Callable[[], float], steps: int) -> int:
    for _ in range(steps):
        step()
    return steps


def _settle(side: str, step: Callable[[], float]) -> None:
    """Freed memory is kept for the next step on our side, as our workers do, and not on the published one's: a step brings
    the process into either state."""
    if side == "as published":
        forget_memory()
    else:
        keep_memory()
    step()


def _published(name: str, ids: Tensor, precision: str) -> Callable[[], float]:
    model = create(name).train().to(ids.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)

    def step() -> float:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return float(loss.detach())

    return step


def _ours(engine: Engine, ids: Tensor, precision: str) -> Callable[[], float]:
    engine.objective.train()

    def step() -> float:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = engine.objective(ids) / ids[:, 1:].numel()
        engine.backward(loss)
        engine.step()
        return float(loss.detach())

    return step
