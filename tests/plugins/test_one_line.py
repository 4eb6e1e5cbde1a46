"""One job file on three backends: the same rows, seed and steps end in the same weights and the same answers."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tunebridge.backend import GenerationParameters
from tunebridge.client import Client
from tunebridge.data.example import Message
from tunebridge.job import Job
from tunebridge.testing.workshop import Workshop

pytest.importorskip("openai")
pytest.importorskip("azure.ai.ml")
pytestmark = pytest.mark.torch

from tunebridge_openai.backend import OpenAIBackend  # noqa: E402

JOB_FILE = Path(__file__).parent.parent.parent / "examples" / "jobs" / "one_line.yaml"
ASKED = [(Message(role="user", content=f"What colour is the {thing}?"),) for thing in ("red ball", "white kite")]
TOLERANCE = 1e-6
"""Absolute, on weights around 0.01 to 1. The trainer is exact for the same threads; a busy machine may give others."""


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def adapter(client: Client, job: Job, folder: Path) -> Path:
    """Return the tuned adapter; OpenAI gives none away, so the one that stands behind its emulator is looked at."""
    if job.backend != "openai":
        return client.download(job.id, folder / job.backend)[0]
    account = client.store.home / "rehearsals" / "openai"
    (record,) = json.loads((account / "service.json").read_text())["jobs"].values()
    return Workshop(account).download(record["workshop_id"], folder / "openai")


def test_the_tuned_models_agree(tmp_path: Path) -> None:
    import torch

    client = Client(tmp_path / "store")
    openai = client.rehearsal("openai").backend
    assert isinstance(openai, OpenAIBackend)
    openai._today = lambda: date(2026, 11, 25)  # the model of the example can be trained until 2027-01-06
    found, answers = {}, {}
    for name in ("local", "openai", "azureml"):
        job = client.submit(JOB_FILE, backend=name, rehearse=name != "local")
        job = client.wait(job.id, timeout_seconds=200)
        found[name] = weights(adapter(client, job, tmp_path))
        answers[name] = [a.output for a in client.generate(job.id, ASKED, GenerationParameters(max_tokens=4))]
    for name in ("openai", "azureml"):
        assert found[name].keys() == found["local"].keys()
        for key, value in found["local"].items():
            torch.testing.assert_close(found[name][key], value, atol=TOLERANCE, rtol=0)
        assert answers[name] == answers["local"]
