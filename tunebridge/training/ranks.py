"""Several processes that train one model together (data parallel): each computes a part of every step's rows.

Started by torchrun, SLURM, Ray or anything that sets RANK and WORLD_SIZE. The gradients of all parts are added, which
gives the step of a single process; so a run may go on with another number of processes than it began with.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Item = TypeVar("Item")


@dataclass(frozen=True)
class Ranks:
    """Which of the processes this one is; the default is the only one, for which nothing is sent."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes: events, checkpoints and the result."""
        return self.rank == 0

    def own(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part."""
        return items[self.rank :: self.count]

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add the gradients of all processes, in each of them; one without rows counts as zero."""
        trained = [parameter for parameter in parameters if not hasattr(parameter, "device_mesh")]
        if self.count == 1 or not trained:  # the gradients of a sharded model are added on the way back
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in trained]
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(joined)
        parts: Sequence[Tensor] = torch.split(joined, [gradient.numel() for gradient in gradients])
        for parameter, part in zip(trained, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def add(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return the sums over all processes."""
        found: dict[str, float] = {}
        for part in self._all(dict(sums)):
            for name, value in part.items():
                found[name] = found.get(name, 0.0) + value
        return found

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process: clocks and signals differ, and all must take the same turn."""
        return any(self._all(flag))

    def most(self, count: int) -> int:
        """Return the largest count of all processes."""
        return max(map(int, self._all(count)))

    def of_first(self, make: Callable[[], Item]) -> Item:
        """Return in every process what the first one makes."""
        if self.count == 1:
            return make()
        found: list[Any] = [make() if self.is_first else None]
        torch.distributed.broadcast_object_list(found)
        made: Item = found[0]
        return made

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.count > 1:
            torch.distributed.barrier()

    def _all(self, value: Any) -> list[Any]:
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, value)
        return found


def join(device: str) -> Ranks:
    """Join the other processes, where the environment says that there are any."""
    count = world_size()
    if count == 1:
        return Ranks()
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    return Ranks(torch.distributed.get_rank(), count)


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))
