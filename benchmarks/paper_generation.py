"""One generation at the paper's size, from the base model's weights to scores: five epochs, a block after every prompt, every
block scored. A day on two cores, so it is for a GPU."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.measure import table
from benchmarks.models import BEAMS, NEW, create, prompts
from components.environment import Precision
from components.families.device import device
from components.families.language.beam_search import generate_blocks
from components.families.language.perplexity import token_losses
from components.families.language.training import Batches, Recipe, TorchEngine, fine_tune

BLOCKS, TEST_BLOCKS = 38_829, 4_691
"""Of WikiText-2's training and test splits, cut by OPT's tokenizer."""
EPOCHS, BATCH = 5, 128


def run(ceilings: dict[str, float]) -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        print("left out: a generation of the paper's size wants a GPU")
        return []
    rows = [generation("OPT-125m", BLOCKS, TEST_BLOCKS, "bf16")]
    print(table(rows), flush=True)
    return rows


def generation(name: str, blocks: int, test_blocks: int, precision: Precision) -> dict[str, Any]:
    """Seconds by phase, with random weights and random text.

    Raises:
        AssertionError: the weights did not move, a block is missing, or a score is not finite.
    """
    where = device()
    real, test = np.split(prompts(name, blocks + test_blocks), [blocks])
    recipe = Recipe(EPOCHS, 2e-5, 1e-6, 0.01, BATCH, "last", precision)
    model = create(name).train()
    engine = TorchEngine(model, recipe, Batches.cut(recipe, blocks, 1), where)
    seconds: dict[str, float] = {}

    def timed(phase: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()  # each ends with numbers on the CPU: nothing is left to be waited for
        seconds[phase] = time.perf_counter() - started
        return result

    _, history = timed("fit", lambda: fine_tune(engine, real, lambda module: 0.0, recipe, seed=0))
    if not history.moved > 0:
        raise AssertionError("the weights did not move")
    writer = create(name).to(where, torch.bfloat16 if precision == "bf16" else torch.float32)
    writer.load_state_dict(model.state_dict())
    written, _ = timed("sample", lambda: generate_blocks(writer, real, new_tokens=NEW, num_beams=BEAMS))
    if written.shape != real.shape:
        raise AssertionError(f"{written.shape} tokens were written")
    scores = timed("measure", lambda: [token_losses(model.eval(), part) for part in (written, test)])
    if not all(np.isfinite(part).all() for part in scores):
        raise AssertionError("a score is not finite")
    return {
        "what": f"a generation of the paper's size, {name}, {precision}: {blocks} blocks, {EPOCHS} epochs",
        **{f"seconds of {phase}": value for phase, value in seconds.items()},
        "seconds": sum(seconds.values()),
    }
