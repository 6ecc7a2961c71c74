"""Generation: our beam search against transformers' `generate` at its best batch, CTranslate2 and OpenVINO GenAI."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import OPTForCausalLM

from benchmarks.measure import alternate, comparison, table
from benchmarks.models import BEAMS, NEW, SIZES, create, generation_flops, prompts
from components.families.device import device
from components.families.language.beam_search import generate_blocks
from components.families.language.decoder import PROMPTS_AT_ONCE
from components.families.language.perplexity import token_losses

Write = Callable[[np.ndarray], np.ndarray]
"""Prompts, int32 (n, PROMPT) -> their continuations, int32 (n, NEW)."""
BATCHES = {"cpu": (8, 16, 32, 64), "cuda": (8, 16, 32, 64, 128, 256)}
BATCHES_OF_OURS = {"cpu": 1, "cuda": 4}
"""A thread or a GPU, each of the size that studies take."""
ALSO = {"cpu": (), "cuda": (16,)}
"""Batches of `generate` that are timed beside its best."""
PEER_PROMPTS = {"OPT-125m": 16, "between": 64, "laptop": 64}
LEAST_EQUAL = 0.95
"""Of the blocks in fp32; the others must be as likely: two beams can be so close that rounding decides."""
NATS_APART = {"fp32": 1e-3, "bf16": 0.05, "peer": 0.25}
"""A token, on average: how far a side's continuations may be from those of `generate`. Peers ban `</s>` before they
normalise, and int8 is another model."""


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    for name in SIZES:
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            rows.append(_compare(name, precision, create(name).to(device(), dtype), ceilings[f"{precision} GFLOP/s"]))
            print(table(rows[-1:]), flush=True)
    return rows


def _compare(name: str, precision: str, model: OPTForCausalLM, ceiling: float) -> dict[str, Any]:
    where = model.device.type
    side_by_side = torch.get_num_threads() if where == "cpu" else 1
    given = prompts(name, PROMPTS_AT_ONCE[where] * BATCHES_OF_OURS[where] * side_by_side)
    best = best_batch(partial(_transformers, model, new=NEW // 4), given, BATCHES[where])
    few = given[: PEER_PROMPTS[name]]
    sides: dict[str, tuple[Write, np.ndarray]] = {"ours": (partial(_ours, model), given)}
    for batch in dict.fromkeys((best, *ALSO[where])):
        sides[f"generate, batches of {batch}"] = (partial(_transformers, model), given[:batch])
    with tempfile.TemporaryDirectory() as scratch:
        if where == "cpu":
            sides |= {side: (write, few) for side, write in _peers(name, precision, Path(scratch)).items()}
        precise = model.float() if precision == "fp32" else create(name).to(model.device)
        nats = _check(sides, _transformers(model, given[:best]), precise, name, precision)
        rates = alternate({side: partial(_units, write, of) for side, (write, of) in sides.items()})
    row = comparison(f"generation, {name}, {precision}", "prompts", rates, generation_flops(SIZES[name]) / 1e9, ceiling)
    return {**row, "nats a token": nats}


def _check(
    sides: Mapping[str, tuple[Write, np.ndarray]],
    expected: np.ndarray,
    precise: OPTForCausalLM,
    name: str,
    precision: str,
) -> dict[str, float]:
    """Each side writes once, which warms it up; its nats a token.

    Args:
        expected: what `generate` wrote after the first prompts.
        precise: the model in fp32.

    Raises:
        AssertionError: a side writes other text than `generate`.
    """
    nats = {}
    for side, (write, given) in sides.items():
        count = min(len(given), len(expected))
        tokens = write(given)[:count]
        nats[side] = nats_a_token(precise, given[:count], tokens)
        apart = abs(nats[side] - nats_a_token(precise, given[:count], expected[:count]))
        if not apart < NATS_APART[precision if side == "ours" else "peer"]:
            raise AssertionError(f"{side} writes other text: {apart:.3f} nats a token from generate's")
        if side == "ours" and precision == "fp32":
            equal = float((tokens == expected).all(1).mean())
            if equal < LEAST_EQUAL:
                raise AssertionError(f"only {equal:.0%} of the blocks are those of generate")
            print(f"{name}, {precision}: {equal:.1%} of {count} blocks equal to generate's token for token")
    return nats


def _ours(model: OPTForCausalLM, given: np.ndarray) -> np.ndarray:
    return generate_blocks(model, given, new_tokens=NEW, num_beams=BEAMS)[0]


def _transformers(model: OPTForCausalLM, given: np.ndarray, new: int = NEW) -> np.ndarray:
    ids = torch.from_numpy(given.astype(np.int64)).to(model.device)
    asked = {"num_beams": BEAMS, "do_sample": False, "min_new_tokens": new, "max_new_tokens": new}
    with torch.inference_mode():
        written = model.generate(ids, attention_mask=torch.ones_like(ids), **asked)
    return written[:, given.shape[1] :].cpu().numpy()


def best_batch(write: Write, given: np.ndarray, batches: Sequence[int]) -> int:
    """By one try each, after one to warm up; of a fourth of the tokens, which say it as well."""
    write(given[: batches[0]])
    rates = {}
    for batch in batches:
        if batch <= len(given):
            started = time.perf_counter()
            write(given[:batch])
            rates[batch] = batch / (time.perf_counter() - started)
    return max(rates, key=rates.__getitem__)


def _peers(name: str, precision: str, scratch: Path) -> dict[str, Write]:
    """Those that are installed, and can compute in this precision here; a bare machine has not what a checkpoint is written with."""
    from benchmarks import peers
    from components.families.language.model import save

    save(create(name), scratch / "model", None)
    asked = {"threads": torch.get_num_threads(), "new_tokens": NEW, "num_beams": BEAMS}
    kinds = {"fp32": ("float32", "int8"), "bf16": ()}[precision]
    found: dict[str, Write] = {}
    try:
        for kind in kinds:
            write = peers.ctranslate2_generator(scratch / "model", scratch, compute_type=kind, **asked)
            found[f"CTranslate2 {kind}"] = write
        openvino = peers.openvino_generator(scratch / "model", scratch, precision=precision, **asked)
        found[f"OpenVINO {precision}"] = openvino
    except (ImportError, RuntimeError) as error:
        print(f"left out: {error}")
    return found


def _units(write: Write, given: np.ndarray) -> float:
    return len(write(given))


def nats_a_token(model: OPTForCausalLM, given: np.ndarray, written: np.ndarray) -> float:
    """Mean negative log-likelihood of a written token, in fp32."""
    return float(token_losses(model, np.concatenate([given, written], 1))[:, -NEW:].mean())
