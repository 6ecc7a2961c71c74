"""Pretraining an OPT from random weights, in parts that a kill does not undo.

The usual recipe of small language models: AdamW, a linear warm-up, then one cosine over all steps,
gradients clipped by their norm (Brown et al. 2020, arXiv 2005.14165, appendix B). The steps are cut
in equal parts. A part is a phase of the store and ends with the weights and the optimizer's state,
so a pretraining that was killed goes on from its last whole part.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from components.corpus import pretraining
from components.environment import Precision
from components.families.device import device
from components.families.language import architecture, kernels
from components.families.language import model as opt
from components.families.language.memory import needed_to_train
from components.families.language.training import (
    Batches,
    Recipe,
    TorchEngine,
    blocks_at_once,
    over_workers,
    summed_loss,
)
from components.families.memory import Need
from components.families.precision import check_worker
from components.recursion.family import Diverged, Progress
from components.recursion.peers import Peers
from components.recursion.phase import phase
from components.recursion.worker import Send, phase_progress
from components.store import Phase, Store

KIND = "pretraining"
FORMAT = 1
"""To be raised with any change of the code that changes what a part leaves."""
OPTIMIZER = "optimizer.safetensors"


@dataclass(frozen=True)
class Schedule:
    """The recipe of a pretraining.

    `learning_rate` is the highest; it rises from 0 over the share `warm_up` of all steps, and falls to the
    share `final` of itself. `batch_size` counts blocks over all workers. `clip`: the largest norm of a gradient.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    batch_size: int
    warm_up: float = 0.02
    final: float = 0.1
    clip: float = 1.0

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step (0, 1, ...) out of `steps`."""
        rising = min((step + 1) / max(self.warm_up * steps, 1), 1.0)
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        return self.learning_rate * rising * (self.final + (1 - self.final) * cosine)

    def steps(self, blocks: int) -> int:
        return math.ceil(self.epochs * blocks / self.batch_size)

    def order(self, blocks: int, seed: int) -> np.ndarray:
        """Rows of the blocks as they are seen, int64 (epochs x blocks,): each once per epoch, in a new order."""
        random = np.random.default_rng(seed)
        return np.concatenate([random.permutation(blocks) for _ in range(self.epochs)])


@dataclass(frozen=True)
class Pretraining:
    """A pretraining, as it travels to the workers of its group.

    `data`: the folder that `components.corpus.pretraining` wrote. `arithmetic`: what the workers multiply bf16
    with (`environment.Machine.bf16`); it is part of the identity where bf16 is used.
    """

    size: architecture.ModelSize
    schedule: Schedule
    precision: Precision
    arithmetic: str
    parts: int
    seed: int
    data: Path
    store: Store

    def inputs(self, part: int) -> dict[str, Any]:
        """What determines a part: what determines the whole, and its place."""
        data = pretraining.load(self.data).digests
        bf16 = {"arithmetic": self.arithmetic} if self.precision == "bf16" else {}
        return {
            "format": FORMAT,
            "size": self.size.settings,
            "schedule": vars(self.schedule),
            "precision": self.precision,
            **bf16,
            "seed": self.seed,
            "data": {"train": data["train"], "tokenizer": data["tokenizer"]},
            "part": [part, self.parts],
        }

    def stored(self) -> list[Phase]:
        """The parts that the store has, from the first on."""
        found: list[Phase] = []
        for part in range(self.parts):
            if not (one := self.store.find(KIND, self.inputs(part))):
                break
            found.append(one)
        return found

    def needed(self, workers: int, device: str) -> Need:
        """What each worker holds at its fullest moment; `device`: `cpu` or `cuda`."""
        blocks = pretraining.load(self.data).train
        parameters = architecture.parameter_count(self.size)
        return needed_to_train(self.size, parameters, 0, workers, blocks.shape[1], self.precision, device)

    def __call__(self, peers: Peers, send: Send) -> None:
        """Train all parts that the store lacks, one after the other."""
        check_worker(self.precision, self.arithmetic, kernels.worker())
        self.store.bring(self.data)
        blocks, tell = pretraining.load(self.data).train, phase_progress(send, KIND, KIND)
        before: Phase | None = None
        for part in range(self.parts):
            started = before.place if before else None

            def train(out: Path, _: Progress, part: int = part, started: Path | None = started) -> dict[str, float]:
                return train_part(
                    self.size, blocks, self.schedule, self.precision, part, self.parts, started, out, self.seed,
                    peers, tell,
                )  # fmt: skip

            reads = [started] if started else []
            before = phase(self.store, KIND, self.inputs(part), train, peers, reads=reads)


def train_part(
    size: architecture.ModelSize,
    blocks: np.ndarray,
    schedule: Schedule,
    precision: Precision,
    part: int,
    parts: int,
    before: Path | None,
    out: Path,
    seed: int,
    peers: Peers,
    progress: Progress,
) -> dict[str, float]:
    """Train through one of `parts` parts of the steps, on from what the part before left; every rank calls this.

    Args:
        blocks: int32 (n, block size).
        before: the folder that the part before wrote; None for the first, which draws random weights.
        out: gets `model/`, `optimizer.safetensors` and `losses.parquet` (step, loss in nats per token, learning_rate).

    Raises:
        Diverged: a loss is not finite.
    """
    model = opt.load(before / "model", dropout=size.dropout) if before else architecture.create(size, seed)
    steps = schedule.steps(len(blocks))
    first, end = (steps * one // parts for one in (part, part + 1))
    micro = peers.least(
        blocks_at_once(size, model.num_parameters(), blocks.shape[1], device(), 0, peers.size, precision)
    )
    recipe = Recipe(
        1, schedule.learning_rate, 0.0, schedule.weight_decay, schedule.batch_size, "last", precision, micro
    )
    batches = Batches.cut(recipe, schedule.batch_size, peers.size)
    engine = TorchEngine(model, recipe, batches, device(), clip=schedule.clip)
    if before:
        engine.load_optimizer_state(load_file(before / OPTIMIZER))
    engine.objective.train()
    rows = schedule.order(len(blocks), seed)[first * schedule.batch_size : end * schedule.batch_size]
    losses: list[tuple[int, float, float]] = []
    total = torch.zeros((), device=engine.device)
    for number, (chosen, weight) in enumerate(batches.rows(rows, peers.rank), start=1):
        step = first + len(losses)
        engine.set_rate(schedule.rate(step, steps))
        loss = summed_loss(engine, blocks, chosen, precision, seed, step) * weight
        engine.backward(loss)
        total += loss.detach() / (batches.accumulation * peers.size)
        engine.step()
        if number % batches.accumulation == 0:
            losses.append((step, over_workers(total, peers.size), schedule.rate(step, steps)))
            total.zero_()
            progress(step + 1, steps)
            if not math.isfinite(losses[-1][1]):
                raise Diverged(f"the loss of step {step + 1} is {losses[-1][1]}")
    weights, moments = engine.state(), engine.optimizer_state()
    engine.close()
    if peers.leads:
        fresh = architecture.create(size, seed)
        fresh.load_state_dict(weights)
        opt.save(fresh, out / "model", None)
        save_file(moments, out / OPTIMIZER)
        pd.DataFrame(losses, columns=["step", "loss", "learning_rate"]).to_parquet(out / "losses.parquet", index=False)
    return {"train/loss": float(np.mean([loss for _, loss, _ in losses])), "steps": end - first}
