"""Checkpoints: complete or not there, safetensors and JSON only."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tunebridge.training.files import to_disk
from tunebridge.training.sharding import gather, is_sharded, like

WEIGHTS, OPTIMIZER, BEST, STATE = "weights.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"


@dataclass
class Progress:
    """Where a run stands; everything else follows from the run's configuration."""

    step: int = 0
    """Optimizer steps done."""
    sums: dict[str, float] = field(default_factory=dict)
    weight: int = 0
    """Sums of the loss and of further measures behind the next report, and what they are divided by."""
    trained_tokens: int = 0
    total_tokens: int = 0
    compute_seconds: float = 0.0
    wall_seconds: float = 0.0
    best_loss: float | None = None
    best_step: int | None = None
    without_improvement: int = 0
    stopped_early: str | None = None
    last_losses: dict[str, float] = field(default_factory=dict)
    """Newest value of each metric."""


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the trained weights; of a sharded model each process has a copy of its own parts."""
    held = {name: parameter.detach() for name, parameter in trainable(model).items()}
    return {name: (value if is_sharded(model) else value.cpu()).clone() for name, value in held.items()}


def restore(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights back into the model, whole ones or such as `snapshot` gives."""
    parameters = trainable(model)
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value if hasattr(value, "device_mesh") else like(value, parameters[name]))


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run folder."""

    folder: Path
    keep: int

    def save(self, tensors: Mapping[str, Mapping[str, Tensor]], progress: Progress) -> Path:
        """Write a checkpoint under another name, bring it to disk, rename it, and only then remove old ones.

        `tensors`: what `tensors_by_file` gives.
        """
        self.folder.mkdir(exist_ok=True)
        target, partial = self.folder / f"step-{progress.step:08d}", self.folder / ".partial"
        if _is_whole(target):  # stopped again before a step was done; the same step has the same state
            return target
        for left in (partial, target):
            shutil.rmtree(left, ignore_errors=True)
        try:
            partial.mkdir(mode=0o700)
            for name, found in tensors.items():
                save_file(dict(found), partial / name)
            files = sorted(path.name for path in partial.iterdir())
            (partial / STATE).write_text(json.dumps({"progress": asdict(progress), "files": files}))
            to_disk(partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # on a full disk the last words need the space
            raise
        partial.rename(target)
        to_disk(self.folder)
        for old in self.list()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def list(self) -> list[Path]:
        """Return the complete checkpoints, oldest first.

        On this machine a folder of the right name is complete. One that came back from a bucket may lack files: a
        machine that was taken away had no time to send them.
        """
        return sorted(path for path in self.folder.glob("step-*") if _is_whole(path)) if self.folder.is_dir() else []

    def load_newest(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[Progress, dict[str, Tensor] | None]:
        """Bring model and optimizer to the newest checkpoint; without one they stay as they are."""
        found = self.list()
        if not found:
            return Progress(), None
        newest = found[-1]
        restore(model, load_file(newest / WEIGHTS))
        _load_optimizer(model, optimizer, load_file(newest / OPTIMIZER))
        best = load_file(newest / BEST) if (newest / BEST).exists() else None
        return Progress(**json.loads((newest / STATE).read_text())["progress"]), best


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint has all the files that its state names."""
    try:
        files = json.loads((checkpoint / STATE).read_text())["files"]
    except (OSError, ValueError):
        return False
    return all((checkpoint / name).is_file() for name in files)


def tensors_by_file(
    model: nn.Module, optimizer: torch.optim.Optimizer, best: Mapping[str, Tensor] | None, *, keep: bool
) -> dict[str, dict[str, Tensor]]:
    """Return what a checkpoint holds, whole, on the CPU, by the name of its file.

    Of a sharded model every process must ask, because the parts are gathered; only one that is to `keep` the tensors
    gets them.
    """
    found: dict[str, Mapping[str, Tensor]] = {WEIGHTS: trainable(model), OPTIMIZER: _flat_state(model, optimizer)}
    if best is not None:
        found[BEST] = best
    return {
        file: {name: gather(tensor, keep=keep) for name, tensor in tensors.items()} for file, tensors in found.items()
    }


def _flat_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten the optimizer's state: `PARAMETER|KEY` -> tensor."""
    return {
        f"{name}|{key}": value if isinstance(value, Tensor) else torch.tensor(value)  # the count of steps, of some
        for name, parameter in trainable(model).items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = trainable(model)
    for label, value in tensors.items():
        name, _, key = label.rpartition("|")
        parameter = parameters[name]
        state: dict[str, Any] = optimizer.state[parameter]
        if key == "step" and not isinstance(optimizer, torch.optim.AdamW):  # bitsandbytes counts with a number
            state[key] = int(value)
            continue
        # The count of steps is a single number, of which every process has its own.
        placed = value if key == "step" and parameter.device.type == "cpu" else value.to(parameter.device)
        state[key] = placed if key == "step" else like(placed, parameter)
