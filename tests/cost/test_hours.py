"""The model of time: how far off it is on published runs, that more never takes less, what odd input becomes."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.hours.fit import RUNS, predicted
from tunebridge.cost.constants import load_constants
from tunebridge.cost.hours import Training, hours
from tunebridge.cost.interval import Interval
from tunebridge.cost.memory import memory_gb, memory_parts, needed_gb
from tunebridge.cost.workloads import Description, adapted_by, described_hours, read_descriptions
from tunebridge.errors import SpecError

CONSTANTS = load_constants()
A100 = CONSTANTS.gpu("A100 80GB")
assert A100


def test_held_out_runs_lie_inside_the_bounds() -> None:
    errors, inside = [], 0
    runs = [run for run in RUNS if run.split == "held out"]
    for run in runs:
        low, likely, high = predicted(run, CONSTANTS)
        inside += low <= run.hours <= high
        errors.append(abs(math.log2(likely / run.hours)))
    assert inside / len(runs) >= 0.9
    assert sorted(errors)[len(errors) // 2] <= 0.3


def test_bounds_are_not_so_wide_that_anything_fits() -> None:
    widths = [high / low for low, _, high in (predicted(run, CONSTANTS) for run in RUNS)]
    assert sorted(widths)[len(widths) // 2] <= 4


@given(
    tokens=st.floats(1e3, 1e11),
    more=st.floats(1.0, 100.0),
    billions=st.floats(0.1, 500),
    adapted=st.sampled_from(["full", "lora", "qlora"]),
    length=st.floats(64, 65536),
    gpus=st.integers(1, 16),
)
def test_more_tokens_longer_context_or_a_larger_model_never_take_less(
    tokens: float, more: float, billions: float, adapted: str, length: float, gpus: int
) -> None:
    def likely(**change: object) -> float:
        values = {
            "billions": billions,
            "adapted": adapted,
            "tokens": Interval.exactly(tokens),
            "gpu": A100,
            "gpu_count": gpus,
            "length": length,
        }
        found = hours(Training(**{**values, **change}), CONSTANTS)  # type: ignore[arg-type]
        assert 0 < found.low <= found.likely <= found.high
        return found.likely

    before = likely()
    assert likely(tokens=Interval.exactly(tokens * more)) >= before
    assert likely(length=length * more) >= before
    assert likely(billions=billions * more) >= before
    assert likely(has_reference=True) >= before
    assert likely(validation_tokens=tokens * more) >= before
    assert likely(gpu_count=gpus + 1) <= before or gpus == 1  # from one to two GPUs weights may have to be gathered


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("a100-40gb", "A100 40GB"),
        ("A100 PCIe 40 GB", "A100 40GB"),
        ("8xH100", "H100"),
        ("H100 NVL", "H100 NVL"),
        ("A10G 24GB", "A10G"),
        ("A10", "A10"),
        ("l40sx1", "L40S"),
        ("NVIDIA_L4", "L4"),
        ("Tesla T4", "T4"),
        ("GeForce RTX 4090", "RTX 4090"),
        ("rtx-pro-6000", "RTX PRO 6000"),
        ("NVIDIA_H100_80GB", "H100"),
        ("h200x8", "H200"),
    ],
)
def test_gpus_are_known_by_any_usual_spelling(spelled: str, name: str) -> None:
    found = CONSTANTS.gpu(spelled)
    assert found
    assert found.name == name


@pytest.mark.parametrize(
    ("words", "adapted"),
    [
        ("full (FSDP)", "full"),
        ("SFT", "full"),
        ("continued pretraining", "full"),
        ("LoRA r=16", "lora"),
        ("DoRA", "lora"),
        ("4-bit LoRA", "qlora"),
        ("QLoRA, packed 2048, flash-attn", "qlora"),
        ("dpo, lora", "lora"),
    ],
)
def test_methods_are_read_from_words(words: str, adapted: str) -> None:
    assert adapted_by(words.lower()) == adapted


ODD = [
    {"id": "bare", "params_b": 8, "training_tokens": 1e6},
    {"id": "nulls", "params_b": 8, "training_tokens": 1e6, "gpu": None, "packed": None, "seq_len": None, "batch": None},
    {"id": 7, "model": "Qwen3-30B-A3B", "method": "lora", "training_tokens": 1e8, "gpu": "8xH100", "strange": [1]},
    {"id": "mixtral", "model": "Mixtral-8x7B", "method": "qlora", "training_tokens": 1e8, "gpu": "A100"},
    {"id": "examples", "params_b": 7, "examples": 1000, "epochs": 3, "gpu": "Some New GPU 2030"},
    {"id": "rl", "params_b": 7, "method": "GRPO", "training_tokens": 1e8, "gpu": "H100", "gpu_count": 8},
    {
        "id": "words",
        "params_b": "8B",
        "training_tokens": "1,000k",
        "gpu_count": "8 GPUs",
        "packed": "unknown",
        "batch": "?",
    },
    {"id": "old", "params_b": 7, "method": "full", "training_tokens": 1e8, "gpu": "V100", "gpu_count": 8, "year": 2023},
]


@pytest.mark.parametrize("values", ODD, ids=[str(one["id"]) for one in ODD])
def test_workloads_that_leave_much_unsaid_get_hours_all_the_same(values: dict[str, object]) -> None:
    found = described_hours(Description.model_validate(values), CONSTANTS)
    assert found.id == values["id"]
    assert found.low is not None
    assert found.likely is not None
    assert found.high is not None
    assert 0 < found.low < found.likely < found.high


def test_numbers_are_read_as_people_write_them() -> None:
    found = Description.model_validate(
        {"id": 1, "params_b": "8B", "training_tokens": "2.5M", "seq_len": "2k", "gpu_count": "8x", "packed": "yes"}
    )
    assert (found.params_b, found.training_tokens, found.seq_len) == (8.0, 2.5e6, 2000.0)
    assert (found.gpu_count, found.packed) == (8, True)
    assert Description.model_validate({"id": 1, "params_b": "0.5", "packed": "some", "batch": "auto"}).params_b == 0.5


def test_what_is_not_known_widens_the_bounds() -> None:
    def width(**values: object) -> float:
        base = {"id": 1, "params_b": 8, "method": "lora", "training_tokens": 1e7, "gpu": "A100", "packed": True}
        found = described_hours(Description.model_validate({**base, **values}), CONSTANTS)
        assert found.low
        assert found.high
        return found.high / found.low

    known = width()
    assert width(gpu="Some New GPU") > known
    assert width(packed=None) > known
    assert width(training_tokens=None, examples=1000) > known
    assert width(method="lora, ppo") > known


def test_a_workload_that_says_too_little_says_so() -> None:
    found = described_hours(Description(id="x", gpu="A100", params_b=8), CONSTANTS)
    assert found.likely is None
    assert "training_tokens" in found.reason


def test_workloads_are_read_from_a_list_or_an_object(tmp_path: Path) -> None:
    file = tmp_path / "runs.json"
    file.write_text(json.dumps({"runs": [ODD[0]]}))
    assert read_descriptions(file)[0].id == "bare"
    file.write_text(json.dumps([{"params_b": 1}]))
    assert read_descriptions(file)[0].id == 1
    file.write_text(json.dumps([{"id": "x", "params_b": -1}]))
    with pytest.raises(SpecError, match="workload 1: `params_b`"):
        read_descriptions(file)
    file.write_text("{}")
    with pytest.raises(SpecError, match="no list of workloads"):
        read_descriptions(file)


# GB as measured: torchtune's README (GiB there) and LitGPT's table of configurations.
MEASURED = [
    ("Llama-3.1-8B QLoRA, torchtune, 4090", 8.03, "qlora", 4096, 7.4 * 1.0737),
    ("Llama-3-8B QLoRA, LitGPT", 8.03, "qlora", 1024, 17.41),
    ("Llama-3-8B LoRA, LitGPT", 8.03, "lora", 512, 19.73),
    ("Llama-3.1-8B LoRA, torchtune, 4090", 8.03, "lora", 4096, 16.2 * 1.0737),
    ("Llama-3.2-1B LoRA, LitGPT", 1.24, "lora", 512, 4.49),
    ("Llama-3.2-3B LoRA, torchtune", 3.21, "lora", 8192, 8.5 * 1.0737),
]


@pytest.mark.parametrize(("what", "billions", "adapted", "tokens", "measured"), MEASURED, ids=[m[0] for m in MEASURED])
def test_measured_memory_lies_inside_the_bounds(
    what: str, billions: float, adapted: str, tokens: int, measured: float
) -> None:
    parts = memory_parts(billions, adapted, pass_tokens=tokens, constants=CONSTANTS)  # type: ignore[arg-type]
    found = memory_gb(parts)
    assert found.low * 0.95 <= measured <= found.high * 1.05, found


def test_full_training_needs_more_memory_than_an_adapter_and_that_more_than_a_quantized_one() -> None:
    full, lora, qlora = (needed_gb(8, adapted, CONSTANTS) for adapted in ("full", "lora", "qlora"))  # type: ignore[arg-type]
    assert full > 5 * lora
    assert lora > 1.5 * qlora
    assert needed_gb(8, "lora", CONSTANTS, longest=32768) > lora
