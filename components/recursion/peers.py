"""The workers that serve one chain together; a single process is a group of one."""

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


@dataclass(frozen=True)
class Peers:
    """This worker's place in its group. With `size` 1 nothing is ever sent."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Rank 0 alone writes to the store and reports."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """This worker's contiguous part of `rows` rows; the parts of all ranks, in order, are the whole."""
        return slice(math.floor(rows * self.rank / self.size), math.floor(rows * (self.rank + 1) / self.size))

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()

    def agree(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T] | None:
        """Every rank's value, in order of rank, on rank 0."""
        if self.size == 1:
            return [value]
        everyone: list[T] | None = [value] * self.size if self.leads else None
        dist.gather_object(value, everyone, dst=0)
        return everyone

    def least(self, value: int) -> int:
        """The smallest of all ranks' values, on every rank."""
        if self.size == 1:
            return value
        smallest = torch.tensor(value)
        dist.all_reduce(smallest, dist.ReduceOp.MIN)
        return int(smallest)
