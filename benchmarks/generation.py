"""Generation: our beam search against transformers' `generate` at its best batch, CTranslate2 and OpenVINO GenAI."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import OPTForCausalLM

from benchmarks import peers
from benchmarks.measure import alternate
from benchmarks.models import BEAMS, NEW, SIZES, create, generation_flops, prompts
from components.families.language.beam_search import generate_blocks
from components.families.language.model import save
from components.families.language.perplexity import token_losses

BATCHES = (8, 16, 32, 64)
OURS = {"OPT-125m": 32, "between": 64, "laptop": 64}
"""Prompts a thread; in a study as many as fit, 64 at most."""
PEER_PROMPTS = {"OPT-125m": 16, "between": 64, "laptop": 64}
LEAST_EQUAL = 0.95
"""Of the blocks in fp32; the others must be as likely: two beams can be so close that rounding decides."""
NATS_APART = {"fp32": 1e-3, "bf16": 0.05, "peer": 0.25}
"""A token, on average: how far a side's continuations may be from those of `generate`. Peers ban `</s>` before they
normalise, and int8 is another model."""


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for name in SIZES:
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            rows.append(_pair(name, precision, create(name).to(device, dtype), ceilings))
            print(rows[-1])
    return rows


def _pair(name: str, precision: str, model: OPTForCausalLM, ceilings: dict[str, float]) -> dict[str, Any]:
    given = prompts(name, OURS[name] * (torch.get_num_threads() if model.device.type == "cpu" else 8))
    batch = _best_batch(partial(_transformers, model, new=NEW // 4), given)
    few = given[: PEER_PROMPTS[name]]
    sides: dict[str, Callable[[np.ndarray], np.ndarray]] = {"ours": partial(_ours, model, name)}
    sides[f"generate, batches of {batch}"] = partial(_transformers, model)
    with tempfile.TemporaryDirectory() as scratch:
        if model.device.type == "cpu":
            sides |= _peers(name, precision, Path(scratch))
        expected = _transformers(model, given[:batch])
        precise = model.float() if precision == "fp32" else create(name).to(model.device)
        nats = {"generate": _nats(precise, given[:batch], expected)}
        for side, write in sides.items():
            if side.startswith("generate"):
                continue
            theirs = given if side == "ours" else few
            count = min(len(theirs), batch)
            tokens = write(theirs)[:count]
            nats[side] = _nats(precise, theirs[:count], tokens)
            apart = abs(nats[side] - _nats(precise, theirs[:count], expected[:count]))
            allowed = NATS_APART[precision if side == "ours" else "peer"]
            if not apart < allowed:
                raise AssertionError(f"{side} writes other text: {apart:.3f} nats a token from generate's")
            if side == "ours" and precision == "fp32":
                equal = float((tokens == expected).all(1).mean())
                if equal < LEAST_EQUAL:
                    raise AssertionError(f"only {equal:.0%} of the blocks are those of generate")
                print(f"{name}, {precision}: {equal:.1%} of {count} blocks equal to generate's token for token")
        timed = {}
        for side, write in sides.items():
            of = given if side == "ours" else given[:batch] if side.startswith("generate") else few
            timed[side] = partial(_units, write, of)
        rates = alternate(timed)
    peer = next(side for side in rates if side.startswith("generate"))
    per_prompt = generation_flops(SIZES[name]) / 1e9
    return {
        "what": f"generation, {name}, {precision}, prompts a second",
        **rates,
        "times generate": rates["ours"] / rates[peer],
        "GFLOP a prompt": per_prompt,
        "share of the ceiling": rates["ours"] * per_prompt / ceilings[f"{precision} GFLOP/s"],
        "generate's share": rates[peer] * per_prompt / ceilings[f"{precision} GFLOP/s"],
        "nats a token": nats,
    }


def _ours(model: OPTForCausalLM, name: str, given: np.ndarray) -> np.ndarray:
    return generate_blocks(
        model, given, new_tokens=NEW, num_beams=BEAMS, batch_size=OURS[name] * (8 if model.device.type == "cuda" else 1)
    )[0]


def _transformers(model: OPTForCausalLM, given: np.ndarray, new: int = NEW) -> np.ndarray:
    ids = torch.from_numpy(given.astype(np.int64)).to(model.device)
    asked = {"num_beams": BEAMS, "do_sample": False, "min_new_tokens": new, "max_new_tokens": new}
    with torch.inference_mode():
        written = model.generate(ids, attention_mask=torch.ones_like(ids), **asked)
    return written[:, given.shape[1] :].cpu().numpy()


def _best_batch(write: Callable[[np.ndarray], np.ndarray], given: np.ndarray) -> int:
    """By one try each; of a fourth of the tokens, which say it as well."""
    rates = {}
    for batch in BATCHES:
        if batch <= len(given):
            started = time.perf_counter()
            write(given[:batch])
            rates[batch] = batch / (time.perf_counter() - started)
    return max(rates, key=rates.__getitem__)


def _peers(name: str, precision: str, scratch: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Those that are installed, and can compute in this precision here."""
    save(create(name), scratch / "model", None)
    asked = {"threads": torch.get_num_threads(), "new_tokens": NEW, "num_beams": BEAMS}
    kinds = {"fp32": ("float32", "int8"), "bf16": ()}[precision]
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    try:
        for kind in kinds:
            write = peers.ctranslate2_generator(scratch / "model", scratch, compute_type=kind, **asked)
            found[f"CTranslate2 {kind}"] = write
        openvino = peers.openvino_generator(scratch / "model", scratch, precision=precision, **asked)
        found[f"OpenVINO {precision}"] = openvino
    except (ImportError, RuntimeError) as error:
        print(f"left out: {error}")
    return found


def _units(write: Callable[[np.ndarray], np.ndarray], given: np.ndarray) -> float:
    return len(write(given))


def _nats(model: OPTForCausalLM, given: np.ndarray, written: np.ndarray) -> float:
    """Mean negative log-likelihood of a written token, in fp32."""
    return float(token_losses(model, np.concatenate([given, written], 1))[:, -NEW:].mean())
