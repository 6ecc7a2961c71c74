"""Fine-tuning a language model on blocks of tokens, as the paper's published code does it.

AdamW, cosine annealing per epoch, no warm-up, no clipping; after every epoch the loss on the original validation split
decides which weights are kept. The loop is the same for both engines: plain torch here, DeepSpeed in
`deepspeed_engine.py`. An engine gets losses whose mean over all workers and micro-batches is the mean over the tokens of
the whole batch, and dropout's masks are each block's own (`dropout.py`), so that the number of workers and the size of a
micro-batch change nothing but rounding.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import OPTForCausalLM

from components.families.language.architecture import ModelSize
from components.families.language.dropout import BlockDropout
from components.families.language.memory import block_memory, needed_to_train
from components.families.language.objective import Objective
from components.families.memory import planned_memory


@dataclass(frozen=True)
class Recipe:
    """How a generation is fine-tuned; learning rates are AdamW's, `batch_size` counts blocks over all workers."""

    epochs: int
    learning_rate: float
    final_learning_rate: float
    weight_decay: float
    batch_size: int
    keep: Literal["best", "last"]
    precision: Literal["fp32", "bf16"] = "fp32"
    micro_batch_size: int | None = None

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch (0, 1, ...): CosineAnnealingLR with T_max = epochs, stepped once an epoch."""
        cosine = (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * cosine


@dataclass(frozen=True)
class Batches:
    """How a batch is cut: every worker takes `accumulation` micro-batches of `micro` blocks an optimiser step."""

    batch: int
    workers: int
    micro: int
    accumulation: int

    @classmethod
    def cut(cls, recipe: Recipe, blocks: int, workers: int) -> "Batches":
        batch = min(recipe.batch_size, blocks)
        share = math.ceil(batch / workers)
        micro = min(recipe.micro_batch_size or share, share)
        return cls(batch, workers, micro, math.ceil(share / micro))

    def rows(self, order: np.ndarray, rank: int) -> Iterator[tuple[np.ndarray, float]]:
        """A worker's micro-batches of an epoch: rows of blocks, and what to multiply their summed loss by.

        `order` is the epoch's permutation, the same on every rank. Every rank yields `accumulation` micro-batches a
        step, the last ones perhaps empty: collectives must be called equally often everywhere.
        """
        for start in range(0, len(order), self.batch):
            batch = order[start : start + self.batch]
            share = batch[rank :: self.workers]
            for piece in range(self.accumulation):
                yield (
                    share[piece * self.micro : (piece + 1) * self.micro],
                    self.accumulation * self.workers / len(batch),
                )


def blocks_at_once(
    size: ModelSize,
    parameters: int,
    length: int,
    device: torch.device,
    zero_stage: int = 0,
    workers: int = 1,
    precision: str = "fp32",
) -> int:
    """Blocks of `length` tokens whose micro-batch fits into the memory that a worker may plan with; at least 1."""
    need = needed_to_train(size, parameters, zero_stage, workers, length, precision, device.type)
    needed = need.gpu_memory if device.type == "cuda" else need.memory
    return max(1, 1 + (planned_memory(device, needed) - needed) // block_memory(size, length))


class Engine(Protocol):
    """What holds the model and its optimiser; every rank of a group calls every method."""

    device: torch.device

    @property
    def objective(self) -> nn.Module:
        """Called as an `Objective` is."""

    @property
    def scored(self) -> nn.Module:
        """What the validation loss is asked of: the model itself where every rank has all of it, else the objective."""

    def set_rate(self, rate: float) -> None: ...

    def backward(self, loss: Tensor) -> None:
        """Add this micro-batch's gradient; the mean over micro-batches and workers is what counts."""

    def step(self) -> bool:
        """After a micro-batch: apply the gradients when the batch is whole; whether weights were updated."""

    def state(self) -> dict[str, Tensor]:
        """The whole model's weights in fp32 on the CPU (rank 0; other ranks may return nothing)."""

    def close(self) -> None:
        """Let go of the model."""


@dataclass(frozen=True)
class History:
    """`losses`: (step, epoch, mean nats a token, learning rate) by step; `validation`: (epoch, mean nats a token), epoch 0 before training,
    the others where the weights to keep depend on it, and the last."""

    losses: list[tuple[int, int, float, float]]
    validation: list[tuple[int, float]]
    kept_epoch: int
    moved: float


def fine_tune(
    engine: Engine,
    training: np.ndarray,
    validation_loss: Callable[[nn.Module], float],
    recipe: Recipe,
    seed: int,
    rank: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    start_loss: float | None = None,
) -> tuple[dict[str, Tensor], History]:
    """Train through `recipe.epochs` epochs of `training` (n, block size) and return the weights kept.

    Args:
        validation_loss: mean loss of a model on the original validation split; every rank calls it.
        seed: of the order of blocks and of dropout.
        start_loss: the validation loss of the model as given, where it is known.

    Returns:
        Weights of the epoch kept (rank 0), and the history; `moved` is the relative distance the weights travelled.

    Raises:
        FloatingPointError: a loss, in training or on the validation split, that is not finite; on every rank.
        ArithmeticError: the optimiser skipped a step.
        GuardFailure: the model draws random numbers that are no dropout.
    """
    order = np.random.default_rng(seed)
    batches = Batches.cut(recipe, len(training), workers)
    steps = recipe.epochs * math.ceil(len(training) / batches.batch)
    initial = engine.state()
    validation = [(0, validation_loss(engine.scored) if start_loss is None else start_loss)]
    losses: list[tuple[int, int, float, float]] = []
    kept, kept_epoch, lowest = initial, 0, math.inf
    for epoch in range(recipe.epochs):
        engine.objective.train()
        engine.set_rate(recipe.rate(epoch))
        total = torch.zeros((), device=engine.device)
        updates = 0
        micro_batches = batches.rows(order.permutation(len(training)), rank)
        for number, (rows, weight) in enumerate(micro_batches, start=1):
            loss = summed_loss(engine, training, rows, recipe.precision, seed, len(losses)) * weight
            engine.backward(loss)
            total += loss.detach() / (batches.accumulation * workers)
            updates += engine.step()
            if number % batches.accumulation == 0:
                losses.append((len(losses), epoch, over_workers(total, workers), recipe.rate(epoch)))
                total.zero_()
                progress(len(losses), steps)
                if not math.isfinite(losses[-1][2]):
                    raise FloatingPointError(f"the loss of step {len(losses)} is {losses[-1][2]}")
        if updates != math.ceil(len(training) / batches.batch):
            raise ArithmeticError(f"epoch {epoch + 1} made {updates} updates of the weights, not one for every batch")
        if recipe.keep == "last" and epoch + 1 < recipe.epochs:
            continue
        validation.append((epoch + 1, validation_loss(engine.scored)))
        if not math.isfinite(validation[-1][1]):
            raise FloatingPointError(f"the validation loss of epoch {epoch + 1} is {validation[-1][1]}")
        if validation[-1][1] < lowest:
            kept, kept_epoch, lowest = engine.state(), epoch + 1, validation[-1][1]
    return kept, History(losses, validation, kept_epoch, _distance(initial, kept))


def summed_loss(engine: Engine, blocks: np.ndarray, rows: np.ndarray, precision: str, seed: int, step: int) -> Tensor:
    """Sum over these rows of `blocks` of each one's mean loss per predicted token (63 of 64), with dropout's masks.

    Without rows it is a zero with a gradient.
    """
    chosen = blocks[rows] if len(rows) else np.full((1, 2), 3, np.int32)
    masks = BlockDropout(seed, step, rows if len(rows) else np.zeros(1, int), engine.device)
    ids = torch.from_numpy(chosen.astype(np.int64)).to(engine.device)
    with torch.autocast(engine.device.type, torch.bfloat16, enabled=precision == "bf16"), masks:
        loss: Tensor = engine.objective(ids)
    return loss / (ids.shape[1] - 1) * (1.0 if len(rows) else 0.0)


def over_workers(value: Tensor, workers: int) -> float:
    """The sum of a number over all workers, which all call this."""
    if workers > 1:
        value = value.clone()
        dist.all_reduce(value)
    return float(value)


def _distance(start: dict[str, Tensor], end: dict[str, Tensor]) -> float:
    """Relative length of the way from `start` to `end`, over all weights."""
    way = sum(float((end[name].double() - start[name].double()).square().sum()) for name in start)
    length = sum(float(weight.double().square().sum()) for weight in start.values())
    return math.sqrt(way / length) if length else 0.0


def whole_gradients(model: nn.Module) -> list[Tensor]:
    """Every parameter's gradient; zero for a layer that was dropped for the whole step, as ZeRO has it."""
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


class TorchEngine:
    """Plain torch: AdamW on fp32 weights, gradients averaged over workers by one all-reduce per step.

    `clip`: the largest norm of a step's gradient; None for any.
    """

    def __init__(
        self,
        model: OPTForCausalLM,
        recipe: Recipe,
        batches: Batches,
        device: torch.device,
        clip: float | None = None,
    ) -> None:
        self.scored, self.device, self._clip = model.to(device), device, clip
        self.objective = Objective(self.scored)
        self._accumulation, self._workers, self._seen = batches.accumulation, batches.workers, 0
        self._optimizer = torch.optim.AdamW(
            self.scored.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )

    def set_rate(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def backward(self, loss: Tensor) -> None:
        (loss / self._accumulation).backward()

    def step(self) -> bool:
        self._seen += 1
        if self._seen % self._accumulation:
            return False
        gradients = whole_gradients(self.scored)
        if self._workers > 1:
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            flat /= self._workers
            for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(mean.view_as(gradient))
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self.scored.parameters(), self._clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return True

    def state(self) -> dict[str, Tensor]:
        return {
            name: weight.detach().to("cpu", torch.float32, copy=True)
            for name, weight in self.scored.state_dict().items()
        }

    def optimizer_state(self) -> dict[str, Tensor]:
        """AdamW's moments and steps on the CPU, by the place of their parameter and their name, such as "3.exp_avg"."""
        state = self._optimizer.state_dict()["state"]
        return {f"{place}.{name}": tensor.cpu() for place, one in state.items() for name, tensor in one.items()}

    def load_optimizer_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `optimizer_state` gave."""
        known = self._optimizer.state_dict()
        for key, tensor in state.items():
            place, name = key.split(".", 1)
            known["state"].setdefault(int(place), {})[name] = tensor
        self._optimizer.load_state_dict(known)

    def close(self) -> None:
        self._optimizer.zero_grad()
