"""Fully sharded data parallel (FSDP2): weights, gradients and optimizer state of a model in parts, one per process.

A layer's weights are gathered for the moment of its computation. Every process must then compute in step with the
others, and a tensor is whole only where it was gathered: `gather` and `like` go from parts to tensors and back, so that
checkpoints and results are those of a single process.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tunebridge.training.config import RunConfig
from tunebridge.training.ranks import Ranks


def obstacle(run: RunConfig, ranks: Ranks) -> str | None:
    """Return why a run that asks for shards cannot have them, None where it can or does not ask."""
    if run.sharding == "none":
        return None
    if ranks.count == 1:
        return "a single process trains, so there is nothing to share out"
    if run.adapter.type == "qlora":
        return "weights in 4 bits cannot be cut into parts"
    return None


def shard(model: Any, device: str, ranks: Ranks) -> None:
    """Cut a model into a part per process, in place, layer by layer, so that no device ever holds all of it."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(device, (ranks.count,))
    layers = [module for module in model.modules() if type(module).__name__ in (model._no_split_modules or ())]
    for module in (*layers, model):
        # The outermost module would else stay gathered after a validation, and the weights have no parts to look at.
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # A step's loss is already a mean over all processes' rows: gradients are added, not averaged.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def is_sharded(model: nn.Module) -> bool:
    """Whether a model's weights lie in parts."""
    return any(_is_part(parameter) for parameter in model.parameters())


def local(tensor: Any) -> Tensor:
    """Return the part of a tensor that this process holds; all of it where it is not sharded."""
    found: Tensor = tensor.to_local() if _is_part(tensor) else tensor
    return found


def gather(tensor: Any, *, keep: bool) -> Tensor:
    """Return a copy on the CPU of a tensor with the parts of all processes, each of which must ask for it.

    A process that is not to `keep` it sends its part and gets an empty tensor.
    """
    found: Tensor = tensor.detach().full_tensor() if _is_part(tensor) else tensor.detach()
    return found.cpu().clone() if keep else torch.empty(0)


def like(value: Tensor, parameter: Any) -> Tensor:
    """Return a whole tensor cut as a parameter is, with this process's part of it; nothing is sent."""
    if not _is_part(parameter):
        return value
    from torch.distributed.tensor import distribute_tensor

    here = value.to(parameter.device)
    return distribute_tensor(here, parameter.device_mesh, parameter.placements, src_data_rank=None)


def gathered(model: Any, *, keep: bool) -> dict[str, Tensor] | None:
    """Return a sharded model's weights, whole and on the CPU, for what is saved; None where it is not sharded.

    Of an adapter only the trained weights are gathered. Every process must ask; those that are not to `keep` the
    weights get their names only.
    """
    if not is_sharded(model):
        return None
    is_adapter = hasattr(model, "peft_config")
    found: dict[str, Tensor] = {}
    known: dict[int, Tensor] = {}  # a head that shares the embeddings' weights has them under two names
    for name, value in model.state_dict(keep_vars=True).items():
        if is_adapter and not value.requires_grad:
            continue
        if id(value) not in known:
            known[id(value)] = gather(value, keep=keep)
        found[name] = known[id(value)]
    return found


def _is_part(tensor: Any) -> bool:
    """Whether a tensor is a DTensor; importing that class takes a while, and most runs have none."""
    return hasattr(tensor, "device_mesh")
