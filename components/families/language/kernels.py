"""The parts of decoding and scoring that no matrix product covers, compiled for this machine's processor (native/).

Seconds of the system's C++ compiler (gcc from version 9, or clang) at first use, kept in the user's cache. Without a
compiler, on a GPU, or in another type than float32 and bfloat16 the same is done by torch's own operations, more slowly.
"""

import ctypes
import hashlib
import logging
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from components import environment

SOURCE = Path(__file__).with_name("native") / "kernels.cpp"
COMPILER = os.environ.get("CXX", "c++")
FLAGS = (
    *("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"),
    *(("-march=native", "-mprefer-vector-width=512") if platform.machine() in ("x86_64", "AMD64") else ()),
    *(("-mcpu=native",) if platform.machine() in ("aarch64", "arm64") else ()),
)
TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
LANES = 16
MOST_BEAMS = 32
ALONE = 2**20
"""Logits that one thread deals with sooner than several have started."""


def serve(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the kernels work on such tensors here."""
    return device.type == "cpu" and dtype in TYPES and library() is not None


def attend_over(head_size: int, beams: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether `attend` takes heads of this size and so many beams; `attend_causally` takes the heads that one beam may have."""
    return serve(dtype, device) and head_size % LANES == 0 and beams <= MOST_BEAMS


def attend(projected: Tensor, keys: Tensor, values: Tensor, own: Tensor, seen: Tensor) -> Tensor:
    """Store the keys and values of every beam's newest token, then let each beam attend to what it sees.

    Args:
        projected: (n, beams, 3, heads, head size): queries, keys and values of the newest tokens.
        keys: (n, heads, slots, head size), written to.
        values: as `keys`.
        own: int32 (n, beams), the slot that each new token takes.
        seen: int32 (n, slots in use), bit b set where beam b sees the slot; the newest tokens' own included.

    Returns:
        (n, beams, heads * head size).
    """
    count, beams, _, heads, size = projected.shape
    assert keys.is_contiguous()
    assert values.is_contiguous()
    assert projected.is_contiguous()
    assert own.is_contiguous()
    assert seen.is_contiguous()
    assert own.dtype == seen.dtype == torch.int32
    assert keys.shape == values.shape == (count, heads, keys.shape[2], size)
    assert size % LANES == 0
    assert beams <= MOST_BEAMS
    out = projected.new_empty(count, beams, heads * size)
    call = _function("attend", projected.dtype)
    pointers = [tensor.data_ptr() for tensor in (projected, keys, values, own, seen, out)]
    sizes = (beams, heads, size, keys.shape[2], seen.shape[1])
    call(*pointers, count, *sizes)
    return out


def attend_causally(projected: Tensor) -> Tensor:
    """Blocks' attention to themselves: (n, length, 3, heads, head size) -> (n, length, heads * head size)."""
    blocks, length, _, heads, size = projected.shape
    assert projected.is_contiguous()
    assert size % LANES == 0
    out = projected.new_empty(blocks, length, heads * size)
    call = _function("attend_causally", projected.dtype)
    call(projected.data_ptr(), out.data_ptr(), blocks, length, heads, size)
    return out


def best_tokens(logits: Tensor, seen: Tensor | None, penalty: float, banned: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k most likely tokens of every row, best first, the first of equals; uses up the logits.

    Args:
        logits: (..., vocabulary), as many rows as there are.
        seen: int64 (..., length), tokens whose log-probability is multiplied by `penalty`; None for none.
        banned: int64 tokens that are left out, after the normalisation.

    Returns:
        log-probabilities, float32, and tokens, int64, both (rows, k).
    """
    assert logits.is_contiguous()
    size, rows = logits.shape[-1], logits.shape[:-1].numel()
    if seen is not None:
        seen = seen.reshape(rows, -1)
        assert seen.stride(1) == 1
    values = torch.empty(rows, k, dtype=torch.float32)
    tokens = torch.empty(rows, k, dtype=torch.int64)
    call = _function("best", logits.dtype)
    length, stride = (seen.shape[1], seen.stride(0)) if seen is not None else (0, 0)
    penalised = (seen.data_ptr() if seen is not None else None, length, stride, penalty)
    before = (logits.data_ptr(), banned.data_ptr(), len(banned), *penalised, k, values.data_ptr(), tokens.data_ptr())
    call(*before, rows, size)
    return values, tokens


def losses(logits: Tensor, targets: Tensor, *, gradient: bool = False) -> Tensor:
    """Negative log-likelihoods, float32 (rows,), of one token a row, under logits (rows, vocabulary).

    Args:
        targets: int64 (rows,).
        gradient: turn the logits into the gradient of the losses' sum.
    """
    return _by_rows("losses", logits, targets, torch.empty(len(logits), dtype=torch.float32), gradient)


def predictions(logits: Tensor, targets: Tensor) -> Tensor:
    """What logits (rows, vocabulary) say of one token a row, float32 (rows, 4).

    Its negative log-likelihood, which is `losses`', the probability of the likeliest token, whether (1 or 0) that is the token,
    and the entropy in nats.

    Args:
        targets: int64 (rows,).
    """
    return _by_rows("predictions", logits, targets, torch.empty(len(logits), 4, dtype=torch.float32))


def _by_rows(name: str, logits: Tensor, targets: Tensor, out: Tensor, *options: bool) -> Tensor:
    """Call a kernel on rows of logits (rows, vocabulary) with a target each, by as many threads as torch has; returns `out`."""
    rows, size = logits.shape
    targets = targets.contiguous()
    assert logits.is_contiguous()
    assert targets.dtype == torch.int64
    call = _function(name, logits.dtype)

    def work(part: slice) -> None:
        pointers = [tensor[part].data_ptr() for tensor in (logits, targets, out)]
        call(*pointers, len(out[part]), size, *options)

    threads = torch.get_num_threads() if logits.numel() > ALONE else 1
    edges = [rows * thread // threads for thread in range(threads + 1)]
    parts = [slice(*edge) for edge in pairwise(edges)]
    if threads == 1:
        work(parts[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, parts))
    return out


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; none where they cannot be compiled, which is said once."""
    sources = [path.read_bytes() for path in sorted(SOURCE.parent.iterdir())]
    identity = hashlib.sha256(b"\n".join([*sources, " ".join([COMPILER, *FLAGS, processor()]).encode()])).hexdigest()
    folder = cache_folder()
    path = folder / f"kernels-{identity[:16]}.so"
    environment.note("kernels", "compiled")
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:  # whole or not there, whoever else compiles
                built = Path(scratch) / path.name
                subprocess.run([COMPILER, *FLAGS, "-o", built, SOURCE], check=True, capture_output=True, text=True)
                built.replace(path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        environment.note("kernels", "not compiled")
        reason = getattr(error, "stderr", None) or str(error)
        logging.getLogger(__name__).warning("beam search without its compiled kernels, so slower: %s", reason.strip())
        return None


_POINTER, _INTEGER, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
SIGNATURES = {
    "attend": [_POINTER] * 6 + [_INTEGER] * 6,
    "attend_causally": [_POINTER] * 2 + [_INTEGER] * 4,
    "best": [_POINTER, _POINTER, _INTEGER, _POINTER, _INTEGER, _INTEGER, _FLOAT, _INTEGER, _POINTER, _POINTER]
    + [_INTEGER] * 2,
    "losses": [_POINTER] * 3 + [_INTEGER] * 2 + [ctypes.c_bool],
    "predictions": [_POINTER] * 3 + [_INTEGER] * 2,
}


@cache
def _function(name: str, dtype: torch.dtype) -> Callable[..., None]:
    function = getattr(library(), f"{name}_{TYPES[dtype]}")
    function.argtypes, function.restype = SIGNATURES[name], None
    return function


def worker() -> environment.Machine:
    """What this process computes language models with; bf16 rounds otherwise where the kernels are not compiled."""
    found = environment.machine()
    if environment.gpu() or library():
        return found
    return replace(found, bf16=f"{found.bf16}_without_kernels")


def cache_folder() -> Path:
    """Where this user keeps what is compiled once."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "model-collapse"


def processor() -> str:
    """What the compiler's `native` stands for: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return " ".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


if __name__ == "__main__":  # `make .venv/made`: what a machine compiles once is not waited for in the first study
    library()
