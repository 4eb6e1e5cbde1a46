"""Descriptions of trainings as people publish them -> hours: the same model of time, whatever is left unsaid."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from tunebridge.cost.constants import Constants, Gpu
from tunebridge.cost.hours import Adapted, Training, hours
from tunebridge.cost.interval import Interval
from tunebridge.errors import SpecError
from tunebridge.spec import SpecModel
from tunebridge.training.size import billions_of_weights

ANY_GPU = Gpu("unknown", peak_tflops=200, memory_gb=48, bandwidth=1000, link=50)
"""Stands in for a GPU that is not in the catalogue; the bounds are wide then."""
OLD_BEFORE = 2024
LEAST_STATE_BYTES = 10.0
"""Per weight that full training on several GPUs keeps somewhere; what does not fit lies in the machine's memory."""
NUMBER = re.compile(r"\s*(\d[\d_,]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*([kmb]?)", re.IGNORECASE)
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}
PACKED_WORDS = {
    **dict.fromkeys(("yes", "true", "packed"), True),
    **dict.fromkeys(("no", "false", "unpacked", "padded"), False),
}


def _number(value: object) -> object:
    """Read `2k`, `1,000,000` or `8 per device` as people write them; words without a number are nothing said."""
    if not isinstance(value, str):
        return value
    found = NUMBER.match(value)
    return float(re.sub(r"[_,]", "", found[1])) * UNITS[found[2].lower()] if found else None


def _billions(value: object) -> object:
    """Read `8B` and `8` both as eight billion."""
    found = _number(value)
    return found / UNITS["b"] if isinstance(value, str) and isinstance(found, float) and found >= UNITS["m"] else found


def _is_packed(value: object) -> object:
    return PACKED_WORDS.get(value.strip().lower()) if isinstance(value, str) else value


Positive = Annotated[float, Field(gt=0)]
Count = Annotated[Positive | None, BeforeValidator(_number)]
Billions = Annotated[Positive | None, BeforeValidator(_billions)]


class Description(SpecModel):
    """One training: the fields of a published run; every other field is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    id: str | int
    model: str | None = None
    params_b: Billions = None
    """Weights in billions; unset: as the model's name says it."""
    active_params_b: Billions = None
    """Of a mixture of experts: weights that each token meets, in billions."""
    method: str | None = None
    """Words that say how: full, lora, qlora, dora, dpo, pretraining, offload, packed, ..."""
    training_tokens: Count = None
    """Tokens that are processed, over all epochs."""
    examples: Count = None
    epochs: Count = None
    gpu: str | None = None
    gpu_count: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_number)] = None
    packed: Annotated[bool | None, BeforeValidator(_is_packed)] = None
    """Whether sequences are filled with several rows."""
    seq_len: Count = None
    batch: Count = None
    """Rows, or packed sequences, in one pass of one GPU."""
    year: int | None = None

    @property
    def words(self) -> str:
        """The method in lower case."""
        return (self.method or "").lower()


class DescribedHours(SpecModel):
    """How long one workload takes."""

    id: str | int
    low: float | None = None
    likely: float | None = None
    high: float | None = None
    """Hours; None where the workload does not say enough."""
    reason: str = ""
    """Why there is no number."""


def read_descriptions(path: Path) -> list[Description]:
    """Read a list of workloads, or an object with the key `runs`; SpecError names the one that is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"The workloads cannot be read: {error}. Give a JSON file.", file=path) from None
    found = document.get("runs") if isinstance(document, Mapping) else document
    if not isinstance(found, list):
        raise SpecError('This is no list of workloads. Give [{"id": ..., "params_b": ..., ...}].', file=path)
    return [_workload(values, number, path) for number, values in enumerate(found, start=1)]


def _workload(values: Any, number: int, path: Path) -> Description:
    try:
        named = {**values, "id": values.get("id") or number} if isinstance(values, Mapping) else values
        return Description.model_validate(named)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise SpecError(f"workload {number}: `{key}`: {problem['msg']}. Correct it.", file=path, key=key) from None


def described_hours(workload: Description, constants: Constants) -> DescribedHours:
    """Return the hours of a workload; what it leaves open is assumed and widens the bounds."""
    billions = workload.params_b or billions_of_weights(workload.model or "")
    tokens = _tokens(workload, constants)
    if billions is None or tokens is None:
        missing = "params_b" if billions is None else "training_tokens (or examples)"
        return DescribedHours(id=workload.id, reason=f"{missing} is not given")
    found = hours(_training(workload, billions, tokens, constants), constants)
    return DescribedHours(id=workload.id, low=found.low, likely=found.likely, high=found.high)


def _training(workload: Description, billions: float, tokens: float, constants: Constants) -> Training:
    gpu = constants.gpu(workload.gpu or "")
    count = workload.gpu_count or _count_of(workload.gpu or "")
    adapted = adapted_by(workload.words)
    packed = True if "pack" in workload.words and workload.packed is None else workload.packed
    return Training(
        billions=billions,
        adapted=adapted,
        tokens=Interval.exactly(tokens),
        gpu=gpu or ANY_GPU,
        gpu_count=count,
        pass_tokens=_pass_tokens(workload, packed, constants),
        length=_row_tokens(workload, constants) if packed is False else workload.seq_len or 2048.0,
        packed=packed,
        active_billions=workload.active_params_b or active_billions_of(workload.model or ""),
        has_reference=any(word in workload.words for word in ("dpo", "kto", "preference")),
        is_offloaded="offload" in workload.words or _must_be_offloaded(billions, adapted, gpu, count),
        is_slow_adapter="dora" in workload.words,
        extra_regimes=_extra_regimes(workload, gpu),
    )


def adapted_by(words: str) -> Adapted:
    """Return what is trained, from the words of a method; without any it is an adapter only if one is named."""
    if "qlora" in words or "qdora" in words or ("lora" in words and "4bit" in words.replace("-", "")):
        return "qlora"
    return "lora" if "lora" in words or "dora" in words or "adapter" in words or "peft" in words else "full"


def _tokens(workload: Description, constants: Constants) -> float | None:
    if workload.training_tokens is not None:
        return workload.training_tokens
    if workload.examples is None:
        return None
    most = workload.seq_len or constants.number("assumed", "packed_length")
    return workload.examples * (workload.epochs or 1) * min(most, constants.number("assumed", "example_tokens"))


def _pass_tokens(workload: Description, packed: bool | None, constants: Constants) -> float:
    most = constants.number("assumed", "most_pass_tokens")
    if packed is None:
        unknown = constants.number("assumed", "unknown_pass_tokens")
        return min((workload.batch or 1) * min(workload.seq_len or unknown, unknown), most)
    if packed:
        length = workload.seq_len or constants.number("assumed", "packed_length")
        return min((workload.batch or 1) * length, max(most, length))
    return (workload.batch or constants.number("assumed", "batch")) * _row_tokens(workload, constants)


def _row_tokens(workload: Description, constants: Constants) -> float:
    """Return how long a row is that is not packed: as counted, or short, because most are."""
    if workload.training_tokens and workload.examples:
        return workload.training_tokens / (workload.examples * (workload.epochs or 1))
    context = workload.seq_len or 0.0
    return max(constants.number("assumed", "row_tokens"), context * constants.number("assumed", "row_share"))


def _must_be_offloaded(billions: float, adapted: Adapted, gpu: Gpu | None, count: int) -> bool:
    states = billions * 1e9 * LEAST_STATE_BYTES
    return gpu is not None and count > 1 and adapted == "full" and states > gpu.memory_gb * 1e9 * count


def _extra_regimes(workload: Description, gpu: Gpu | None) -> tuple[str, ...]:
    told = {
        "unknown_gpu": gpu is None,
        "unknown_tokens": workload.training_tokens is None,
        "old_software": workload.year is not None and workload.year < OLD_BEFORE,
        "reinforcement": any(word in workload.words for word in ("grpo", "ppo", "rlhf", "reinforce", "rft")),
    }
    return tuple(name for name, is_so in told.items() if is_so)


def _count_of(gpu: str) -> int:
    """Return the number in front of a GPU's name, such as 8 of `8xA100`."""
    found = re.match(r"\s*(\d+)\s*[x*×]\s*", gpu.lower())
    return int(found[1]) if found else 1


def active_billions_of(model: str) -> float | None:
    """Return the active weights that a mixture's name tells, such as `30B-A3B`, or two experts of `8x7B`."""
    if found := re.search(r"[-_]a(\d+(?:\.\d+)?)b(?![a-z])", model.lower()):
        return float(found[1])
    mixture = re.search(r"\d+x(\d+(?:\.\d+)?)b(?![a-z])", model.lower())
    return 2 * float(mixture[1]) if mixture else None
