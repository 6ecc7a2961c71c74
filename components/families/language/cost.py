"""What a study will cost, before it is started: tokens, FLOPs by formula, bytes, and seconds from a short measurement."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch

from components.environment import Precision
from components.families.language import architecture
from components.families.language.beam_search import generate_blocks
from components.families.language.perplexity import token_losses
from components.families.language.training import Batches, Recipe, TorchEngine, fine_tune

MEASURED_SECONDS = 0.3
"""Of work in one phase, in three turns."""


@dataclass(frozen=True)
class Rates:
    """Tokens a second of one worker: trained on, generated (new tokens only), scored."""

    fit: float
    sample: float
    measure: float


def measure_rates(
    size: architecture.ModelSize,
    block_size: int,
    num_beams: int,
    batch_size: int,
    fitted_in: Precision,
    sampled_in: Precision,
    others: int = 0,
) -> Rates:
    """About a second of the real work on one thread of this machine, with random weights of the study's size.

    Args:
        batch_size: blocks that a worker trains on in one step.
        fitted_in: precision of fine-tuning, `fp32` or `bf16`.
        sampled_in: precision of beam search.
        others: workers that will run beside this one on this machine. So many threads compute meanwhile, since a
            processor whose neighbours are busy is slower.
    """
    with _one_thread_of(others):
        model = architecture.create(size, seed=0)
        writer = deepcopy(model).to(torch.bfloat16 if sampled_in == "bf16" else torch.float32)
        blocks = np.random.default_rng(0).integers(4, size.vocabulary_size, (4, block_size), dtype=np.int32)

        def fit(rows: np.ndarray) -> int:
            recipe = Recipe(1, 1e-9, 0.0, 0.0, batch_size, "last", fitted_in)
            engine = TorchEngine(model, recipe, Batches.cut(recipe, len(rows), 1), torch.device("cpu"))
            fine_tune(engine, rows, lambda module: 0.0, recipe, seed=0)
            return rows.size

        def sample(rows: np.ndarray) -> int:
            few = max(2, block_size // 8)
            generate_blocks(writer, rows, new_tokens=few, num_beams=num_beams, batch_size=len(rows))
            return few * len(rows)

        def measure(rows: np.ndarray) -> int:
            token_losses(model, rows)
            return rows.size

        return Rates(*(_rate(work, blocks) for work in (fit, sample, measure)))


@contextmanager
def _one_thread_of(others: int) -> Iterator[None]:
    """One thread for what is done within, beside so many that multiply matrices."""
    threads, done = torch.get_num_threads(), threading.Event()

    def multiply() -> None:
        matrix = torch.ones(512, 512)
        while not done.is_set():
            torch.mm(matrix, matrix)

    torch.set_num_threads(1)
    busy = [threading.Thread(target=multiply, daemon=True) for _ in range(others)]
    try:
        for thread in busy:
            thread.start()
        yield
    finally:
        done.set()
        for thread in busy:
            thread.join()
        torch.set_num_threads(threads)


def _rate(work, blocks: np.ndarray) -> float:  # type: ignore[no-untyped-def]
    """Tokens a second: the median of three turns over as many blocks as take long enough to be measured.

    One turn is not enough beside other processes: one that was kept waiting made a study of minutes look like hours.
    """

    def turn() -> tuple[float, int]:
        started = time.perf_counter()
        tokens = work(blocks)
        return time.perf_counter() - started, tokens

    work(blocks)  # the first time kernels are loaded, and perhaps built
    while turn()[0] < MEASURED_SECONDS / 3 and len(blocks) < 128:
        blocks = np.concatenate([blocks, blocks])
    seconds, tokens = sorted(turn() for _ in range(3))[1]
    return tokens / seconds


@dataclass(frozen=True)
class GenerationCost:
    """One generation of one chain: seconds by phase, tokens trained on and generated, FLOPs, bytes for the store."""

    seconds: dict[str, float]
    trained: int
    generated: int
    flops: float
    bytes: int


def generation_cost(
    size: architecture.ModelSize,
    rates: Rates,
    recipe: Recipe,
    num_beams: int,
    training_blocks: int,
    prompts: int,
    validation_blocks: int,
    test_blocks: int,
    block_size: int,
    workers: int,
    sequences: int | None = None,
    judged: int = 0,
    embedding: float = 0.0,
) -> GenerationCost:
    """Fit `training_blocks`, score the validation split as often as the recipe asks, continue `prompts`, score what was
    written and the test split.

    A trained token costs three forwards (forward, and twice that backward); a generated one as many as `sequences` advance
    together: `num_beams`, which the rates were measured with, if not given. `judged`: how often what was written is scored
    before it is passed on. `embedding`: FLOPs of another model that reads it for MAUVE, taken to be as fast as scoring is.
    """
    sequences = num_beams if sequences is None else sequences
    generated, test = prompts * block_size, test_blocks * block_size
    trained = recipe.epochs * training_blocks * block_size
    validated = (recipe.epochs if recipe.keep == "best" else 1) * validation_blocks * block_size
    forward = architecture.flops_per_token(size)
    seconds = {
        "compose": 0.0,
        "fit": (trained / rates.fit + validated / rates.measure) / workers,
        "sample": generated * (sequences / max(num_beams, 1) / rates.sample + judged / rates.measure) / workers,
        "measure": (generated + test + embedding / forward) / rates.measure / workers,
    }
    flops = forward * (3 * trained + validated + (1 + sequences + judged) * generated + generated + test) + embedding
    weights = 4 * architecture.parameter_count(size)
    bytes_ = weights + generated * 4 + generated * 4  # fp32 weights, token ids, their text
    return GenerationCost(seconds, trained, generated, flops, bytes_)
