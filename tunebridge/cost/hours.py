"""How long a training takes on rented GPUs: work over speed, with bounds that were measured on published runs.

A pass over some tokens computes (the weights' work and attention's, at a share of the GPU's peak), reads or
dequantizes every weight once, and is launched; sharded weights are gathered over the link between the GPUs, which
partly hides behind the computing. Few constants, each with a physical meaning; `constants.toml` has them all.
"""

from dataclasses import dataclass, replace
from typing import Literal

from tunebridge.cost.constants import Constants, Factors, Gpu
from tunebridge.cost.interval import Interval

Adapted = Literal["full", "lora", "qlora"]
REFERENCE_BALANCE = 312e12 / 2039e9
"""Operations per byte of an A100 with 80 GB."""
REFERENCE_WEIGHTS = 8e9
SECONDS_PER_HOUR = 3600
SHARDS_OF_ADAPTER, SHARDS_OF_FULL = 2, 3
"""Times that sharded weights cross the link in a pass: forward, backward, and the gradients of full training."""
ROOM_FOR_THE_REST = 1.3
"""Memory beyond the frozen weights that a GPU must have to keep all of them."""


@dataclass(frozen=True)
class Training:
    """One training, as the model of time sees it."""

    billions: float
    """Weights, in billions."""
    adapted: Adapted
    tokens: Interval
    """Tokens that are trained on, over all epochs."""
    gpu: Gpu
    gpu_count: int = 1
    pass_tokens: float = 4096.0
    """Tokens of one forward and backward pass on one GPU."""
    length: float = 2048.0
    """Tokens over which attention looks."""
    packed: bool | None = True
    """Whether sequences are filled; None: nobody says."""
    active_billions: float | None = None
    """Weights that a token meets, of a mixture of experts."""
    has_reference: bool = False
    """Whether a reference model's answers are needed, as for dpo."""
    is_offloaded: bool = False
    is_slow_adapter: bool = False
    validation_tokens: float = 0.0
    extra_regimes: tuple[str, ...] = ()
    """Further names of bounds, such as `unknown_gpu`."""


def hours(training: Training, constants: Constants) -> Interval:
    """Return the hours of training, without the start of the machine."""
    low, high = bounds(training, constants)
    tokens = training.tokens
    return Interval(
        low=_seconds(training, tokens.low, constants) * low / SECONDS_PER_HOUR,
        likely=_seconds(training, tokens.likely, constants) / SECONDS_PER_HOUR,
        high=_seconds(training, tokens.high, constants) * high / SECONDS_PER_HOUR,
    )


def _seconds(training: Training, tokens: float, constants: Constants) -> float:
    """Return the likely time if there are so many tokens: in as many passes, which are shorter or longer then."""
    share = tokens / training.tokens.likely if training.tokens.likely else 1.0
    per_pass = max(1.0, training.pass_tokens * share)
    return tokens * seconds_per_token(replace(training, pass_tokens=per_pass), constants)


def bounds(training: Training, constants: Constants) -> Factors:
    """Return the bounds of the training's regime, as factors on the likely time."""
    return constants.bounds(regime(training, constants), *training.extra_regimes)


def regime(training: Training, constants: Constants) -> str:
    """Return the name of the regime, which decides how wide the bounds are."""
    if training.active_billions is not None and training.active_billions < training.billions:
        return "mixture"
    if training.is_offloaded:
        return "offload"
    if training.packed is None:
        return "unknown"
    if training.packed:
        return "packed"
    return "unpacked_sharded" if _gathered_bytes(training, constants) else "unpacked"


def seconds_per_token(training: Training, constants: Constants) -> float:
    """Return the likely time that a token takes on all the GPUs together."""
    computing = _computing_seconds(training, constants)
    link = training.gpu.link * 1e9 * constants.number("shape", "link_share")
    gathering = _gathered_bytes(training, constants) / link
    seen = 1 - constants.number("shape", "overlap")
    seconds = max(computing, gathering) + seen * min(computing, gathering)
    return float(seconds / (training.pass_tokens * training.gpu_count))


def validation_share(training: Training, constants: Constants) -> float:
    """Return which part of the time goes into passes over held-out rows."""
    whole = _work(training, constants)
    return 1 - _work(replace(training, validation_tokens=0.0), constants) / whole


def _computing_seconds(training: Training, constants: Constants) -> float:
    """Return the time of one pass on one GPU, without any waiting for others."""
    weights = (training.active_billions or training.billions) * 1e9
    work = _work(training, constants)
    own = constants.number("pass_tokens", training.adapted) * _balance(training.gpu)
    tokens = training.pass_tokens * (1 + _attention_share(training.length, weights, constants)) + own
    launch = constants.number("shape", "launch_seconds") * (training.billions * 1e9 / REFERENCE_WEIGHTS) ** (1 / 3)
    speed = training.gpu.peak_tflops * 1e12 * _efficiency(training, constants)
    return float(tokens * work * weights / speed + launch)


def _work(training: Training, constants: Constants) -> float:
    """Return the operations for each weight and trained token; validation is a forward pass over its own tokens."""
    work = constants.number("work", training.adapted)
    if training.has_reference:
        work += constants.number("work", "reference")
    share = training.validation_tokens / training.tokens.likely if training.tokens.likely else 0.0
    return work + share * constants.number("work", "validation")


def _efficiency(training: Training, constants: Constants) -> float:
    shape = constants.tables["shape"]
    found = constants.number("efficiency", training.adapted) * _balance(training.gpu) ** -shape["balance_exponent"]
    found *= shape["offload"] if training.is_offloaded else 1.0
    found *= shape["slow_adapter"] if training.is_slow_adapter else 1.0
    return float(found * (shape["mixture"] if regime(training, constants) == "mixture" else 1.0))


def _balance(gpu: Gpu) -> float:
    """Return the operations per byte of a GPU, of an A100's."""
    return gpu.peak_tflops * 1e12 / (gpu.bandwidth * 1e9) / REFERENCE_BALANCE


def _attention_share(length: float, weights: float, constants: Constants) -> float:
    """Return attention's work as a share of the weights' own."""
    size = constants.number("shape", "width_times_layers") * (weights / REFERENCE_WEIGHTS) ** (2 / 3)
    return float(constants.number("shape", "attention") * 2 * length * size / (2 * weights))


def _gathered_bytes(training: Training, constants: Constants) -> float:
    """Return the bytes that cross the link for one pass; none where each GPU keeps all weights."""
    weights = training.billions * 1e9 * float(constants.tables["memory"]["weights"][training.adapted])
    fits = weights * ROOM_FOR_THE_REST <= training.gpu.memory_gb * 1e9
    if training.gpu_count == 1 or (training.adapted != "full" and fits):
        return 0.0
    return weights * (SHARDS_OF_FULL if training.adapted == "full" else SHARDS_OF_ADAPTER)
