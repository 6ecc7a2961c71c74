"""What the paper's study would take on GPUs: memory a GPU by ZeRO stage, seconds a phase, and from them whole studies.

No GPU has been measured. Operations, bytes and sizes are counted from the program; what share of a data sheet's figures it
reaches is assumed, once pessimistically and once optimistically, and every result is a range between the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from benchmarks.simulation import Cluster, Condition, Outcome, make_chains, simulate
from components.environment import Precision
from components.families.language.architecture import ModelSize, flops_per_token, parameter_count
from components.families.language.cost import Rates, generation_cost
from components.families.language.decoder import PROMPTS_AT_ONCE
from components.families.language.memory import (
    block_memory,
    needed_to_train,
    needed_to_write,
    prompt_memory,
    training_memory,
)
from components.families.language.perplexity import TOKENS_AT_ONCE
from components.families.language.training import Recipe

SIZES = {
    "OPT-125m": ModelSize(50272, 768, 12, 12, 3072, 2048, 0.1),
    "OPT-1.3B": ModelSize(50272, 2048, 24, 32, 8192, 2048, 0.1),
    "OPT-6.7B": ModelSize(50272, 4096, 32, 32, 16384, 2048, 0.1),
}
BLOCK, BEAMS, BATCH = 64, 5, 128
TRAIN_BLOCKS, VALIDATION_BLOCKS, TEST_BLOCKS = 38_829, 4_100, 4_691
"""Of WikiText-2, cut by OPT's tokenizer."""
EPOCHS = {"no-real-data": 5, "keep-10-percent": 10}
SEEDS, LAST = 5, 9
WORKERS = (1, 2, 4, 8)
LEAST_MICRO_BATCH = 8
USABLE = 0.92
"""Of a GPU's memory: the rest is CUDA's context and what the allocator cannot put together again."""


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet: GB, dense TFLOP/s, GB/s of its memory and (one way) to its neighbours in the machine."""

    gigabytes: float
    bf16: float
    fp32: float
    bandwidth: float
    link: float


CARDS = {
    "A100 80 GB": Card(80, 312, 19.5, 2039, 300),
    "H100 80 GB": Card(80, 989, 66.9, 3350, 450),
    "H200 141 GB": Card(141, 989, 66.9, 4800, 450),
}


@dataclass(frozen=True)
class Assumptions:
    """What the program reaches. Shares of the data sheet's figures, but for the last six.

    `trained`: of bf16 operations in fits; `scored`: of fp32 ones in scoring and fp32 decoding (no TF32: torch's default);
    `decoded`: of bf16 ones in bf16 decoding; `streamed`: of the memory's bandwidth; `linked`: of the link's. `launch`:
    seconds from one kernel to the next; `host`: GB/s at which weights are read, copied, digested, written; `text`: seconds
    in which a generation's text is decoded, and again its diversity counted; then as in `Cluster`.
    """

    trained: float
    scored: float
    decoded: float
    streamed: float
    linked: float
    launch: float
    host: float
    text: float
    start_up: float
    look_up: float
    record: float


OPTIMISTIC = Assumptions(0.40, 0.80, 0.45, 0.80, 0.80, 4e-6, 2.0, 5, 20, 0.05, 0.5)
PESSIMISTIC = Assumptions(0.10, 0.40, 0.15, 0.40, 0.30, 12e-6, 0.4, 20, 60, 1.0, 5.0)
RANGE = (OPTIMISTIC, PESSIMISTIC)
KERNELS = {"written": 20, "trained": 75}
"""Launched a layer for a step of decoding, and for a micro-batch forwards and backwards; counted from the code, roughly."""
PASSES = {"fit": 8, "sample": 1, "measure": 2}
"""How often a phase's host reads, copies, digests or writes all weights in fp32."""


def activations(size: ModelSize) -> float:
    """GB of a block in a micro-batch: what `block_memory` counts, in fp32, and so an upper bound under autocast."""
    return block_memory(size, BLOCK) / 1e9


def fit_memory(size: ModelSize, stage: int, workers: int, micro: int) -> dict[str, float]:
    """GB a GPU while training, by what takes it; weights, gradients and Adam's moments are fp32, as in DeepSpeedEngine."""
    parts = training_memory(size, parameter_count(size), stage, workers, BLOCK, micro, "bf16")
    return {part: held / 1e9 for part, held in parts.items()}


def memory(size: ModelSize, stage: int, workers: int, micro: int, precision: Precision) -> dict[str, float]:
    """GB a GPU at the fullest moment of each part of a generation. Only while training is anything partitioned.

    The model is whole on every GPU before DeepSpeed partitions it, while it decodes (query, key and value weights lie
    there twice; a bf16 decode is checked by an fp32 copy) and while it scores.
    """
    weights, projections = parameter_count(size) / 1e9, 3 * size.layers * size.hidden_size**2 / 1e9
    scoring = TOKENS_AT_ONCE["cuda"] * (6 * size.hidden_size + 2 * size.ffn_size) / 1e9
    checked = 2 * weights if precision == "bf16" else 0.0
    return {
        "fit": sum(fit_memory(size, stage, workers, micro).values()),
        "before partitioning": 4 * weights + (4 * weights / workers if stage else 0.0),
        "sample": checked + 4 * (weights + projections),
        "measure": 4 * (weights + scoring),
    }


def fits(size: ModelSize, stage: int, workers: int, micro: int, precision: Precision, gigabytes: float) -> bool:
    return max(memory(size, stage, workers, micro, precision).values()) <= USABLE * gigabytes


def placement(size: ModelSize, workers: int, precision: Precision, gigabytes: float) -> tuple[int, int] | None:
    """The lowest ZeRO stage with which a chain on so many GPUs fits, and blocks of its micro-batch; None if none does."""
    share = BATCH // workers
    micros = [share >> halved for halved in range(8) if share >> halved >= min(LEAST_MICRO_BATCH, share)]
    for stage, micro in product((0,) if workers == 1 else (0, 1, 2, 3), micros):
        if fits(size, stage, workers, micro, precision, gigabytes):
            return stage, micro
    return None


def own_micro_batch(size: ModelSize, stage: int, workers: int, gigabytes: float) -> int:
    """What the program takes by itself (`blocks_at_once`): half of what a fit by one block leaves of the GPU."""
    needed = needed_to_train(size, parameter_count(size), stage, workers, BLOCK, "bf16", "cuda").gpu_memory
    return max(1, 1 + (int(1e9 * gigabytes) - needed) // 2 // block_memory(size, BLOCK))


def prompts_at_once(size: ModelSize, precision: Precision, gigabytes: float) -> int:
    """As `decoder.prompts_at_once`: half of what writing after one prompt leaves of the GPU, 256 at most."""
    needed = needed_to_write(size, parameter_count(size), precision, BLOCK, BLOCK, BEAMS, "cuda").gpu_memory
    a_prompt = prompt_memory(size, 2 if precision == "bf16" else 4, BLOCK, BLOCK, BEAMS)
    return max(1, min(PROMPTS_AT_ONCE["cuda"], 1 + (int(1e9 * gigabytes) - needed) // 2 // a_prompt))


def decoding_step(size: ModelSize, card: Card, assumed: Assumptions, precision: Precision) -> dict[str, float]:
    """Seconds of one step of a batch's beam search by what takes them; launches overlap with the rest.

    A step reads all weights once, the keys and values of every slot taken so far (half of them, over a decode), and its
    logits four times; its products are those of prompts x beams tokens.
    """
    bytes_, prompts = (2 if precision == "bf16" else 4), prompts_at_once(size, precision, card.gigabytes)
    rows, bandwidth = prompts * BEAMS, 1e9 * card.bandwidth * assumed.streamed
    rate = 1e12 * (card.bf16 * assumed.decoded if precision == "bf16" else card.fp32 * assumed.scored)
    slots = BLOCK + BEAMS * BLOCK / 2
    return {
        "products": rows * flops_per_token(size) / rate,
        "weights": bytes_ * parameter_count(size) / bandwidth,
        "keys and values": prompts * slots * 2 * size.layers * size.hidden_size * bytes_ / bandwidth,
        "logits": rows * size.vocabulary_size * (2 * bytes_ + 8) / bandwidth,
        "launches": (KERNELS["written"] * size.layers + 40) * assumed.launch,
    }


def decoding_seconds(step: Mapping[str, float]) -> float:
    """Of a step: products hide the reading of their weights or are hidden by it; all kernels hide their launches."""
    working = max(step["products"], step["weights"]) + step["keys and values"] + step["logits"]
    return max(working, step["launches"])


def binding(step: Mapping[str, float]) -> str:
    """What a step of decoding would gain most by being rid of."""
    if decoding_seconds(step) == step["launches"]:
        return "launches"
    return max((part for part in step if part != "launches"), key=step.__getitem__)


def rates(
    size: ModelSize, card: Card, assumed: Assumptions, workers: int, stage: int, micro: int, precision: Precision
) -> Rates:
    """Tokens a second of each worker of a group, as `cost.measure_rates` would measure them."""
    forward, count = flops_per_token(size), parameter_count(size)
    tokens, micros = BATCH * BLOCK / workers, -(-BATCH // workers // micro)
    bandwidth, link = 1e9 * card.bandwidth * assumed.streamed, 1e9 * card.link * assumed.linked
    products = 3 * forward * tokens / (1e12 * card.bf16 * assumed.trained)
    launches = micros * KERNELS["trained"] * size.layers * assumed.launch
    optimiser = 28 * count / (workers if stage else 1) / bandwidth  # AdamW reads four fp32 numbers, writes three
    sent = 6 * count * micros if stage == 3 else 8 * count  # ZeRO-3 sends bf16, three times a micro-batch
    communication = sent * (workers - 1) / workers / link
    fit = tokens / (max(products, launches) + optimiser + communication)
    prompts = prompts_at_once(size, precision, card.gigabytes)
    in_layers = forward - 2 * size.vocabulary_size * size.hidden_size
    rate = 1e12 * (card.bf16 * assumed.decoded if precision == "bf16" else card.fp32 * assumed.scored)
    batch = prompts * BLOCK * in_layers / rate + BLOCK * decoding_seconds(decoding_step(size, card, assumed, precision))
    return Rates(fit, prompts * BLOCK / batch, 1e12 * card.fp32 * assumed.scored / forward)


@cache
def phase_seconds(
    model: str, card: str, assumed: Assumptions, workers: int, epochs: int, precision: Precision
) -> dict[str, float]:
    """Seconds of a generation's phases at the paper's size: the plan's own counts at assumed rates, and the host's work.

    Raises:
        ValueError: so many of these GPUs do not hold the model.
    """
    size, gpu = SIZES[model], CARDS[card]
    if (placed := placement(size, workers, precision, gpu.gigabytes)) is None:
        raise ValueError(f"{model} does not fit on {workers} x {card}")
    recipe = Recipe(epochs, 2e-5, 1e-6, 0.01, BATCH, "best", "bf16")
    at = rates(size, gpu, assumed, workers, *placed, precision)
    counted = (TRAIN_BLOCKS, TRAIN_BLOCKS, VALIDATION_BLOCKS, TEST_BLOCKS, BLOCK, workers)
    seconds = dict(generation_cost(size, at, recipe, BEAMS, *counted).seconds)
    for kind, passes in PASSES.items():
        seconds[kind] += passes * 4 * parameter_count(size) / 1e9 / assumed.host
    return {**seconds, "sample": seconds["sample"] + assumed.text, "measure": seconds["measure"] + assumed.text}


def study(
    model: str,
    card: str,
    assumed: Assumptions,
    gpus: int,
    workers: int,
    precision: Precision = "fp32",
    seeds: int = SEEDS,
    record: float | None = None,
    between_failures: float = float("inf"),
    draw: int = 0,
) -> Outcome:
    """The paper's study, both settings, generations 0 to 9, on groups of `workers` GPUs; its base model is to be brought.

    Raises:
        ValueError: a group does not hold the model, or there are fewer GPUs than a group has.
    """
    if gpus < workers:
        raise ValueError(f"a group of {workers} does not fit on {gpus} GPUs")
    conditions = [
        Condition(name, phase_seconds(model, card, assumed, workers, epochs, precision), name)
        for name, epochs in EPOCHS.items()
    ]
    cluster = Cluster(
        groups=min(gpus // workers, len(conditions) * seeds),
        workers=workers,
        start_up=assumed.start_up,
        take_up=assumed.look_up,
        look_up=assumed.look_up,
        record=assumed.record if record is None else record,
        between_failures=between_failures,
        repair=300.0,
    )
    bringing = 4 * 4 * parameter_count(SIZES[model]) / 1e9 / assumed.host
    return simulate(make_chains(conditions, seeds, LAST), cluster, bringing, draw)


def best_workers(model: str, card: str, gpus: int, precision: Precision = "fp32", seeds: int = SEEDS) -> int | None:
    """GPUs a chain with which the study ends first, between the two sets of assumptions; None where none holds it."""
    possible = [w for w in WORKERS if w <= gpus and placement(SIZES[model], w, precision, CARDS[card].gigabytes)]
    return min(possible, key=lambda w: middle(studies(model, card, gpus, w, precision, seeds)), default=None)


def studies(
    model: str, card: str, gpus: int, workers: int, precision: Precision = "fp32", seeds: int = SEEDS
) -> list[float]:
    """Hours of the study under the optimistic and the pessimistic assumptions."""
    return [study(model, card, assumed, gpus, workers, precision, seeds).seconds / 3600 for assumed in RANGE]


def middle(ends: Sequence[float]) -> float:
    """Geometric mean."""
    return (ends[0] * ends[1]) ** 0.5
