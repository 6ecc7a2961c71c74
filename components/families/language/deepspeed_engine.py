"""DeepSpeed under the fine-tuning loop: ZeRO stage 0 to 3 on the process group that Ray Train made.

It is imported where it is used: DeepSpeed looks for an accelerator when it is imported, and compiles its shared-memory
collectives at their first use (half a minute, once an environment and kind of machine).
"""

import hashlib
import logging
import os
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from filelock import FileLock
from torch import Tensor
from transformers import OPTForCausalLM

from components.families.language import kernels
from components.families.language.objective import Objective
from components.families.language.training import Batches, Recipe, whole_gradients


class DeepSpeedEngine:
    """AdamW under ZeRO; bf16 is torch's autocast over fp32 weights, as in the plain-torch engine."""

    def __init__(
        self, model: OPTForCausalLM, recipe: Recipe, batches: Batches, zero_stage: int, device: torch.device
    ) -> None:
        if device.type == "cpu":
            os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed

        load_collectives()
        theirs = logging.getLogger("DeepSpeed")  # what it warns of goes the way of all warnings
        theirs.handlers, theirs.propagate = [], True
        if not dist.is_initialized():  # a process of its own, without Ray
            dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        os.environ.setdefault("LOCAL_RANK", "0")  # Ray Train and torchrun set it, DeepSpeed insists on it
        self.device = device
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        config: dict[str, Any] = {
            "train_batch_size": batches.micro * batches.accumulation * batches.workers,
            "train_micro_batch_size_per_gpu": batches.micro,
            "gradient_accumulation_steps": batches.accumulation,
            "zero_optimization": {"stage": zero_stage},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "torch_autocast": {"enabled": recipe.precision == "bf16", "dtype": "bfloat16"},
            "gradient_clipping": 0.0,  # the default clips at 1, the paper does not
            "steps_per_print": 2**31,
        }
        self.objective, *_ = deepspeed.initialize(
            model=Objective(model.to(device)), optimizer=optimizer, config=config, dist_init_required=False
        )
        # Its buckets are copied together for an all-reduce even where there is nobody to reduce with: a tenth of a step.
        self.objective.enable_backward_allreduce = batches.workers > 1 or zero_stage > 0
        self.scored = self.objective if zero_stage == 3 else model
        self._zero_stage = zero_stage

    def set_rate(self, rate: float) -> None:
        for group in self.objective.optimizer.param_groups:
            group["lr"] = rate

    def backward(self, loss: Tensor) -> None:
        self.objective.backward(loss)

    def step(self) -> bool:
        if self._zero_stage == 0 and self.objective.is_gradient_accumulation_boundary():
            whole_gradients(self.scored)
        self.objective.step()
        applied = bool(self.objective.was_step_applied())
        if applied and self._zero_stage == 3:  # a layer that is dropped in the next step would keep this one's gradient
            self.objective.optimizer.grad_partitions_flat_buffer.zero_()
        return applied

    def state(self) -> dict[str, Tensor]:
        if self._zero_stage == 3:
            whole = self.objective._consolidated_16bit_state_dict() or {}  # fp32 where the model is fp32, as here
            weights = {name.removeprefix("model."): weight for name, weight in whole.items()}  # the objective's
        else:
            weights = self.scored.state_dict()
        return {name: weight.detach().to("cpu", torch.float32, copy=True) for name, weight in weights.items()}

    def close(self) -> None:
        """Release what DeepSpeed holds on the model, so that a worker can train the next generation."""
        self.objective.destroy()


def compiled_into() -> Path:
    """A folder of this environment's on this kind of machine. In torch's own, which all share, two environments compile anew in
    turns, and a home folder on unlike machines has what one of them cannot run."""
    identity = "\n".join([sys.prefix, torch.__version__, version("deepspeed"), kernels.processor()])
    return kernels.cache_folder() / f"collectives-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


@cache
def load_collectives() -> None:
    """DeepSpeed's collectives over shared memory, compiled where this machine has not yet.

    torch guards them by a file that a process killed at this moment leaves behind, and whoever comes next waits for ever.
    A lock that ends with its holder stands before it here, so what is found behind it is nobody's. And the ninja is ours,
    whatever PATH says: another version takes what this one compiled for outdated.
    """
    import ninja
    from deepspeed.accelerator import get_accelerator
    from torch.utils.cpp_extension import _get_build_directory  # loads setuptools, and warns where there is no GPU

    builder = get_accelerator().create_op_builder("ShareMemCommBuilder")
    if builder is None:  # not on a CPU
        return
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(compiled_into()))
    os.environ["PATH"] = os.pathsep.join([ninja.BIN_DIR, os.environ.get("PATH", "")])
    folder = Path(_get_build_directory(builder.name, verbose=False))
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        (folder / "lock").unlink(missing_ok=True)
        builder.load()


if __name__ == "__main__":  # `make .venv/made`: what a machine compiles once is not waited for in the first study
    from transformers import OPTConfig

    from components.families.language.training import Batches, Recipe

    tiny = OPTConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, ffn_dim=8, word_embed_proj_dim=8
    )
    once = Recipe(1, 1e-3, 0.0, 0.0, 1, "last")
    DeepSpeedEngine(OPTForCausalLM(tiny), once, Batches.cut(once, 1, 1), 1, torch.device("cpu")).close()
    dist.destroy_process_group()
