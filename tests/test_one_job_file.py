"""One job file, one changed line: the same rows, learnt by every backend that can be rehearsed here."""

from pathlib import Path

import pytest

from tunebridge.backend import GenerationParameters
from tunebridge.client import Client
from tunebridge.data.example import Message
from tunebridge.job import JobStatus

pytestmark = pytest.mark.torch
pytest.importorskip("google.genai")
pytest.importorskip("huggingface_hub")
pytest.importorskip("gradientai")

JOB = """
backend: local
base_model: {local: tunebridge/nano, vertexai: gemini-2.5-flash, huggingface: tunebridge/nano, gradient: nano}
data: {train: rows.jsonl}
hyperparameters: {epochs: 20}
options:
  gradient: {host: "https://gradient.invalid/api"}
  vertexai: {project: mine, bucket: my-bucket}
"""
EXAMPLE = Path(__file__).parent.parent / "examples" / "jobs" / "one_line.yaml"
COLOURS = ("red", "blue")
CUSTOM_JOB = ("base_model.vertexai=tunebridge/nano", "options.vertexai.mode=custom_job")
CASES = [
    ("local", ()),
    ("vertexai", ()),
    ("vertexai", CUSTOM_JOB),
    ("huggingface", ()),
    ("gradient", ()),
]


def question(number: int) -> tuple[Message, ...]:
    return (Message(role="user", content=f"Is ball {number} {COLOURS[0]} or {COLOURS[1]}?"),)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "overrides"), CASES, ids=["local", "tuning", "custom_job", "hf", "gradient"])
def test_the_same_rows_are_learnt_wherever_they_are_sent(
    backend: str, overrides: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    (tmp_path / "rows.jsonl").write_text("".join(row(number) for number in range(24)))
    (tmp_path / "job.yaml").write_text(JOB)
    client = Client(tmp_path / "home")
    job = client.submit(
        tmp_path / "job.yaml", backend=backend, overrides=overrides, rehearse=backend != "local", again=True
    )
    done = client.wait(job.id, timeout_seconds=240)
    assert done.status == JobStatus.succeeded
    held_out = [question(number) for number in range(100, 108)]
    answers = list(client.generate(job.id, held_out, GenerationParameters(max_tokens=6)))
    right = sum(answer.output.strip().lower().startswith("red") for answer in answers)
    assert right >= 6


@pytest.mark.parametrize("backend", ["local", "vertexai", "huggingface", "gradient"])
def test_the_example_can_be_sent_to_each(backend: str, tmp_path: Path) -> None:
    assert not Client(tmp_path / "home").plan(EXAMPLE, backend=backend).refused


def row(number: int) -> str:
    asked = question(number)[0].content
    return f'{{"messages": [{{"role": "user", "content": "{asked}"}}, {{"role": "assistant", "content": "red"}}]}}\n'
