"""The openai backend's requests against the published OpenAPI document, which Prism serves: `make test-prism`.

TUNEBRIDGE_OPENAPI names the document, such as the one of github.com/openai/openai-openapi (MIT), or a part of it with
the paths below /files, /fine_tuning and /models. Prism refuses what the document does not allow; what it answers
is canned.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")
pytestmark = pytest.mark.prism

from tunebridge.errors import BackendError  # noqa: E402
from tunebridge.spec import JobSpec  # noqa: E402
from tunebridge.testing.case import small_dataset  # noqa: E402
from tunebridge_openai import client  # noqa: E402
from tunebridge_openai.backend import OpenAIBackend  # noqa: E402
from tunebridge_openai.translate import JOB_KEY, request  # noqa: E402

PRISM = os.environ.get("TUNEBRIDGE_PRISM", "prism")
START_SECONDS = 120
FILES = {"train": "file-1", "validation": "file-2"}


@pytest.fixture(scope="module")
def remote() -> Iterator[client.Remote]:
    document = os.environ.get("TUNEBRIDGE_OPENAPI")
    if not document or not shutil.which(PRISM):
        pytest.skip("set TUNEBRIDGE_OPENAPI, and TUNEBRIDGE_PRISM where prism is not in PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PRISM, "mock", "--host", "127.0.0.1", "--port", str(port), "--errors", document]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(port)
        address = {"service": "custom", "base_url": f"http://127.0.0.1:{port}"}
        with client.open_remote(address, {"api_key": "sk-none"}) as opened:
            yield opened
        process.terminate()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "Prism does not answer"
            time.sleep(0.5)


def body(kind: str = "sft", **fields: Any) -> dict[str, Any]:
    """Return the body that the backend would send for a job."""
    spec = JobSpec.model_validate({"backend": "openai", "base_model": "m", "data": {"train": "rows.jsonl"}, **fields})
    return request(OpenAIBackend().plan(spec, small_dataset(kind=kind)).payload, "tb-1", FILES)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"hyperparameters": {"epochs": 3, "batch_size": 8, "learning_rate_multiplier": 0.5, "seed": 1}},
        {"kind": "preference", "method": {"type": "dpo", "beta": 0.2}},
        {"options": {"openai": {"suffix": "mine", "wandb": {"project": "p", "tags": ["a"]}}}},
    ],
)
def test_create(asked: dict[str, Any], remote: client.Remote) -> None:
    assert remote.create(body(**asked))


def test_what_the_document_does_not_allow_is_noticed(remote: client.Remote) -> None:
    asked = body()
    asked["method"]["supervised"]["hyperparameters"]["n_epochs"] = 0
    with pytest.raises(BackendError):
        remote.create(asked)


def test_everything_after_it(remote: client.Remote, tmp_path: Path) -> None:
    assert remote.job("ftjob-1")["id"]
    for verb in ("cancel", "pause", "resume"):
        remote.act(verb, "ftjob-1")
    remote.delete_file("file-1")
    remote.delete_model("ft:m:o::1")


def test_lists_and_uploads(remote: client.Remote) -> None:
    """Each canned page says that there are more, so the SDK is asked for the first one only."""
    tuning = remote._sdk.fine_tuning.jobs
    lists = (
        tuning.list(limit=client.PAGE, metadata={JOB_KEY: "tb-1"}),
        tuning.list_events("ftjob-1", limit=client.PAGE),
        tuning.checkpoints.list("ftjob-1", limit=client.PAGE),
        remote._sdk.models.list(),
        remote._sdk.files.list(purpose="fine-tune"),
    )
    assert all(page.data for page in lists)
    assert remote._sdk.files.create(file=("rows.jsonl", b'{"messages": []}'), purpose="fine-tune").id
