"""How much GPU memory a training takes: weights, gradients and optimizer, activations, logits."""

from tunebridge.cost.constants import Constants
from tunebridge.cost.hours import REFERENCE_WEIGHTS, Adapted
from tunebridge.cost.interval import Interval

GB = 1e9
Parts = dict[str, Interval]
"""Part -> gigabytes."""


def memory_gb(parts: Parts) -> Interval:
    """Return the sum of the parts: low with every saving that is known, high with none."""
    total = Interval.exactly(0.0)
    for part in parts.values():
        total += part
    return total


def memory_parts(
    billions: float, adapted: Adapted, *, pass_tokens: float, constants: Constants, rank: float | None = None
) -> Parts:
    """Return what a training keeps in memory on one GPU, in gigabytes by part.

    `pass_tokens` are those of one forward and backward pass; a row cannot be cut, so the longest is the least.
    """
    weights = billions * 1e9
    table = constants.tables["memory"]
    trained = Interval.exactly(weights)
    if adapted != "full":
        ranks = (rank or table["adapter_rank"]) / table["adapter_rank"]
        trained = constants.triple("memory", "adapter_share") * (weights * ranks)
    width = constants.number("shape", "width_times_layers") * (weights / REFERENCE_WEIGHTS) ** (2 / 3)
    return {
        "weights": Interval.exactly(weights * table["weights"][adapted] / GB),
        "gradients and optimizer": trained * constants.triple("memory", "trained") * (1 / GB),
        "activations": constants.triple("memory", "hidden_bytes") * (pass_tokens * width / GB),
        "logits": constants.triple("memory", "logit_bytes") * (pass_tokens * table["vocabulary"] / GB),
        "CUDA": constants.triple("memory", "cuda_gb"),
    }


def needed_gb(billions: float, adapted: Adapted, constants: Constants, *, longest: float = 2048.0) -> float:
    """Return the memory that a GPU must have for our trainer to train safely with rows of `longest` tokens.

    It cuts its passes down to one row and computes activations again where that is needed, so those count as they
    likely are, and so does what it keeps for each trained weight; the rest counts as high as it may be.
    """
    parts = memory_parts(billions, adapted, pass_tokens=longest, constants=constants)
    most, likely = constants.triple("memory", "trained").high, constants.triple("memory", "trained").likely
    states = parts["gradients and optimizer"].high * likely / most
    firm = parts["weights"].high + states + parts["CUDA"].high
    needed = firm + parts["activations"].likely + parts["logits"].likely
    return needed * constants.number("memory", "reserve")
