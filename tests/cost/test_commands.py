"""The commands as a user gives them: from an empty folder, without a key, without a network."""

import json
import re
import socket
from pathlib import Path

import pytest

from tests.cost.test_estimates import job_file
from tunebridge.cli import run

pytest.importorskip("tiktoken", reason="tokens are counted with the extra `tokens`")


@pytest.fixture(autouse=True)
def _no_socket(_no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing connect anywhere, not even to this machine."""

    def refused(self: socket.socket, address: object) -> None:
        raise AssertionError(f"a command connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AWS_ACCESS_KEY_ID", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("COLUMNS", "200")


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run(list(arguments)) == code
    return capsys.readouterr().out


def test_all_backends_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job, page = job_file(tmp_path, "openai"), tmp_path / "costs.html"
    shown = said(capsys, "estimate", str(job), "--all", "--no-probe", "--serve-tokens", "2M,500k", "--html", str(page))
    for name in ("openai", "sagemaker", "bedrock", "vertexai", "azureml", "huggingface", "gradient", "local"):
        assert re.search(rf"^\W*{name} ", shown, re.M)
    assert "no price" in shown
    assert "Cheapest by the job and a month of serving: openai" in shown
    text = page.read_text()
    assert "<svg" in text
    assert "http-equiv" in text
    assert not re.search(r"<(script|link|img)|@import|url\(", text)


def test_the_document_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = job_file(tmp_path, "openai")
    document = json.loads(said(capsys, "estimate", str(job), "-b", "vertexai", "-b", "openai", "--json"))
    assert document["schema_version"] == 1
    assert document["currency"] == "USD"
    assert [row["is_chosen"] for row in document["estimates"]] in ([True, False], [False, True])


def test_a_job_that_no_backend_can_plan_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = job_file(tmp_path, "bedrock")
    assert "names no model" in said(capsys, "estimate", str(job), code=2)


def test_the_page_shows_what_people_wrote_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job, page = job_file(tmp_path, "openai"), tmp_path / "costs.html"
    said(capsys, "estimate", str(job), "--set", "base_model.openai=<img src=x>", "--html", str(page))
    assert "<img" not in page.read_text()
    assert "&lt;img src=x&gt;" in page.read_text()


def test_workloads_get_hours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "runs.json"
    file.write_text(json.dumps([{"id": "a", "params_b": 8, "method": "lora", "training_tokens": 1e7, "gpu": "A100"}]))
    (found,) = json.loads(said(capsys, "estimate", "--workload", str(file), "--json"))
    assert found["id"] == "a"
    assert 0 < found["low"] < found["likely"] < found["high"]
    assert "likely" in said(capsys, "estimate", "--workload", str(file))


def test_rows_are_listed_with_their_age(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "prices", "list", "--backend", "bedrock")
    assert "nova-lite" in shown
    assert "no price" in shown
    rows = json.loads(said(capsys, "prices", "list", "--json"))["prices"]
    assert {"sku", "unit", "usd", "region", "tier", "source_url", "as_of", "confidence", "orderable_until"} <= set(
        rows[0]
    )
    assert {row["freshness"] for row in rows} <= {"fresh", "aged", "STALE"}


def test_nothing_is_calibrated_without_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing is calibrated" in said(capsys, "calibrate")


@pytest.mark.parametrize(
    "arguments",
    [
        ("estimate",),
        ("estimate", "job.yaml", "--backend", "nobody"),
        ("estimate", "job.yaml", "--serve-tokens", "many"),
        ("estimate", "job.yaml", "--price-file", "not-there.toml"),
        ("estimate", "job.yaml", "--constants", "not-there.toml"),
        ("estimate", "--workload", "not-there.json"),
        ("prices", "list", "--backend", "nobody"),
    ],
)
def test_what_is_wrong_is_said_and_exits_with_2(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_file(tmp_path, "openai")
    monkeypatch.chdir(tmp_path)
    assert run(list(arguments)) == 2
    assert "error:" in capsys.readouterr().err
    monkeypatch.undo()
