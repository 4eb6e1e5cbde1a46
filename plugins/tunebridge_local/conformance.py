"""What the conformance suite tests the local backend with: a model with random weights and a few steps."""

from tunebridge.spec import JobSpec
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge_local.info import INFO

JOB = {
    "backend": "local",
    "base_model": "random",
    "data": {"train": "rows.jsonl"},
    "hyperparameters": {"epochs": 40, "batch_size": 4},
    "options": {"local": {"threads": 1, "checkpoint_seconds": 0}},
}


def case() -> BackendCase:
    """Return the local backend with a job of a few seconds."""
    return BackendCase(
        info=INFO,
        spec=JobSpec.model_validate(JOB),
        dataset=small_dataset(validation=True),
        secrets={"HF_TOKEN": "hf_sentinel5f0c1d9ab7e24"},
    )
