"""Which device, how many threads and which number format a run uses, and why."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from tunebridge.errors import SpecError
from tunebridge.training.config import RunConfig

LOAD_PROBE_SECONDS = 0.3
NATIVE_BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")


@dataclass(frozen=True)
class Resources:
    """What a run computes on; a resumed run keeps it, because other threads or formats round differently."""

    device: Literal["cpu", "cuda"]
    threads: int
    dtype: Literal["float32", "bfloat16"]
    reason: str
    tokens_per_pass: int = 0
    """Most tokens of one forward and backward pass; 0 until the model is loaded."""
    checkpoint_activations: bool = False
    """Whether activations are computed again for the backward pass, which needs less memory and more time."""
    rows_per_step: int = 0
    """Rows per optimizer step, where the trainer chose them (`batch_size: auto`)."""

    def apply(self) -> None:
        """Set torch's threads."""
        torch.set_num_threads(self.threads)

    def to_json(self) -> dict[str, Any]:
        """Return the values for a file."""
        return asdict(self)


def choose(run: RunConfig) -> Resources:
    """Return the resources for a run; SpecError when it asks for a GPU that is not there."""
    device = _device(run.device)
    threads, why_threads = _threads(run.threads)
    dtype, why_dtype = _dtype(run.dtype, device)
    name = torch.cuda.get_device_name() if device == "cuda" else "the CPU"
    return Resources(device, threads, dtype, f"{name}; {why_threads}; {why_dtype}")


def _device(wanted: str) -> Literal["cpu", "cuda"]:
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise SpecError("options.local.device is cuda, but PyTorch sees no GPU. Use auto or cpu.")
    return "cuda" if available and wanted != "cpu" else "cpu"


def free_threads() -> int:
    """Return how many threads the free cores can feed."""
    return _threads("auto")[0]


def _threads(wanted: int | str) -> tuple[int, str]:
    if wanted != "auto":
        return int(wanted), f"{wanted} threads, as asked for"
    cores = max(1, _cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    free = max(1, round(cores - _busy_cores()))
    # OpenMP threads wait for each other by spinning: on busy cores two are many times slower than one.
    return free, f"{free} of {cores} cores {'was' if free == 1 else 'were'} free"


def _cores() -> int:
    """Return the cores that this process may use: its affinity, and its container's share of the time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or `max`
        return cores


def _busy_cores() -> float:
    """Return how many cores others keep busy; this process sleeps while it looks."""
    try:
        import psutil
    except ImportError:
        return os.getloadavg()[0]
    busy: list[float] = psutil.cpu_percent(interval=LOAD_PROBE_SECONDS, percpu=True)
    return sum(busy) / 100


def _dtype(wanted: str, device: str) -> tuple[Literal["float32", "bfloat16"], str]:
    native = torch.cuda.is_bf16_supported() if device == "cuda" else _cpu_has_bfloat16()
    if wanted == "bfloat16" or (wanted == "auto" and native):
        return "bfloat16", "bfloat16 " + ("runs natively" if native else "as asked for, emulated and slow here")
    return "float32", "float32" + (", as asked for" if wanted == "float32" else ", since bfloat16 is not native here")


def _cpu_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in flags for flag in NATIVE_BFLOAT16_FLAGS)
