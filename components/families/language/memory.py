"""What a worker holds while it trains, writes and scores, by formula: how big its batches may be, and how many workers fit.

The same counts serve the plan (how many chains run side by side) and a worker (how much is left for larger batches).
`docs/scaling.md` shows them for GPUs; on CPUs they were held against real runs (docs/decisions.md).
"""

from components.families.language.architecture import ModelSize
from components.families.language.objective import ROWS_AT_ONCE
from components.families.language.perplexity import LOGITS_AT_ONCE, TOKENS_AT_ONCE
from components.families.memory import Need

PROCESS = {"cpu": 1200 * 2**20, "cuda": 3600 * 2**20}
"""A worker that has imported everything and holds no model, and what Ray Train runs beside it, half of each: measured on a
CPU. With CUDA its libraries lie in the machine's memory too."""
CONTEXT = 2**30
"""CUDA's own of a GPU's memory."""
SLACK = 1.25
"""What is freed is not given back at once, and lies in pieces; files that are read count while they are: measured on CPUs."""
OF_ZERO_3 = 20
"""Bytes a parameter that stage 3 holds more on a CPU, where the whole model is gathered: measured."""
BUCKET, LIVE = 500_000_000, 1_000_000_000
"""Numbers in one of DeepSpeed's buckets, and those that ZeRO-3 keeps whole at a time: its defaults."""


def block_memory(size: ModelSize, length: int) -> int:
    """Bytes of a block in a micro-batch: 4 for every number that the backward pass needs, an upper bound under autocast."""
    a_layer = 10 * size.hidden_size + 2 * size.ffn_size + 3 * size.heads * length
    return 4 * length * (size.layers + 1) * a_layer


def prompt_memory(size: ModelSize, itemsize: int, prompt_length: int, new_tokens: int, width: int) -> int:
    """Bytes of a prompt while it is decoded: keys and values of all its slots, logits, and what passes through a layer."""
    slots = prompt_length + (new_tokens - 1) * width
    cached = 2 * size.layers * slots * size.hidden_size
    passing = width * size.vocabulary_size + 2 * prompt_length * (4 * size.hidden_size + size.ffn_size)
    return itemsize * (cached + passing)


def training_memory(
    size: ModelSize,
    parameters: int,
    zero_stage: int,
    workers: int,
    length: int,
    micro: int = 1,
    precision: str = "bf16",
) -> dict[str, float]:
    """Bytes on the device that trains, by what takes them; weights, gradients and Adam's moments are fp32."""
    share = parameters / workers
    buckets = min(parameters, BUCKET) if workers > 1 else 0
    output = size.vocabulary_size * size.hidden_size
    return {
        "weights": 4 * (share if zero_stage == 3 else parameters),
        "own part of the weights again": 4 * share if zero_stage in (1, 2) else 0,
        "gradients": 4 * {0: parameters, 1: parameters + share, 2: share, 3: share}[zero_stage],
        "moments": 8 * (share if zero_stage else parameters),
        "bf16 copies for the backward pass": 2 * parameters if precision == "bf16" and zero_stage < 3 else 0,
        "buckets": 4 * (2 * buckets + min(parameters, LIVE) if zero_stage == 3 else buckets),
        "activations": micro * block_memory(size, length),
        "logits and output layer": 8 * ROWS_AT_ONCE * size.vocabulary_size + 6 * output,
    }


def copies(parameters: int) -> int:
    """Bytes of the weights beside a training model: at its start, of the best epoch so far, and newest."""
    return 3 * 4 * parameters


def writing_memory(parameters: int, precision: str, device: str) -> int:
    """Bytes of the weights while blocks are written; on a CPU they lie there a second time, packed."""
    return (2 if precision == "bf16" else 4) * (2 if device == "cpu" else 1) * parameters


def scoring_memory(size: ModelSize, parameters: int, device: str) -> int:
    """Bytes while blocks are scored."""
    passing = 4 * TOKENS_AT_ONCE[device] * (6 * size.hidden_size + 2 * size.ffn_size)
    return 8 * parameters + passing + 4 * LOGITS_AT_ONCE if device == "cpu" else 4 * parameters + passing


def needed_to_train(
    size: ModelSize, parameters: int, zero_stage: int, workers: int, length: int, precision: str, device: str
) -> Need:
    """What a worker holds while it trains by one block at a time.

    Args:
        zero_stage: 0 where nothing is partitioned, as under the plain engine.
        device: `cpu` or `cuda`.
    """
    if device == "cpu":
        # What ZeRO partitions was whole before, and the process keeps it: measured, no stage lowers the peak. The newest of
        # the three copies is made when the gradients have been let go.
        whole = training_memory(size, parameters, 0, workers, length, precision=precision)
        return _need(device, sum(whole.values()) + 8 * parameters + (OF_ZERO_3 * parameters if zero_stage == 3 else 0))
    held = sum(training_memory(size, parameters, zero_stage, workers, length, precision=precision).values())
    before = 4 * parameters + 4 * parameters / workers  # while it is partitioned
    return _need(device, max(held, before), copies(parameters))


def needed_to_write(
    size: ModelSize, parameters: int, precision: str, prompt_length: int, new_tokens: int, width: int, device: str
) -> Need:
    """What a worker holds while it continues one prompt, `width` sequences side by side."""
    prompt = prompt_memory(size, 2 if precision == "bf16" else 4, prompt_length, new_tokens, width)
    return _need(device, writing_memory(parameters, precision, device) + prompt, 4 * parameters)


def needed_to_check(parameters: int, precision: str, device: str) -> Need:
    """What a worker holds while a few blocks are held against transformers' decoder: bf16 is checked by an fp32 model."""
    checking = writing_memory(parameters, "fp32", device) if precision == "bf16" else 0
    return _need(device, writing_memory(parameters, precision, device) + checking, 4 * parameters)


def needed_to_score(size: ModelSize, parameters: int, embedder: int, device: str) -> Need:
    """What a worker holds while it scores blocks, or embeds them by another model of `embedder` parameters."""
    other = (8 if device == "cpu" else 4) * embedder
    return _need(device, max(scoring_memory(size, parameters, device), other), 4 * max(parameters, embedder))


def largest(*needs: Need) -> Need:
    return Need(max(need.memory for need in needs), max(need.gpu_memory for need in needs))


def _need(device: str, computing: float, beside: float = 0) -> Need:
    """`computing`: bytes where the worker computes; `beside`: bytes of the machine's memory where that is a GPU."""
    if device == "cpu":
        return Need(PROCESS[device] + round(SLACK * computing))
    return Need(PROCESS[device] + round(SLACK * beside), CONTEXT + round(computing))
