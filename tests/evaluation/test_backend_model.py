"""A job asked through its backend: row by row where something else answers, in one call where the model is here."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("httpx2")
pytest.importorskip("numpy")

from tests.evaluation.rows import rows, write
from tunebridge.backend import Generation, GenerationParameters
from tunebridge.data.dataset import Split
from tunebridge.data.example import Message
from tunebridge.errors import AuthenticationError, InvalidRequest, RateLimited
from tunebridge.evaluation.models.backend import BackendModel
from tunebridge.evaluation.models.model import Patience
from tunebridge.evaluation.runner import Collected, Contender, collect
from tunebridge.evaluation.task import EvalTask, task_of
from tunebridge.job import Job
from tunebridge.testing.fake import FakeBackend, fake_info


class Answering(FakeBackend):
    """The fake backend with a model that doubles numbers, and fails on some as `troubles` says."""

    def __init__(self, folder: Path, *, is_here: bool = False) -> None:
        self.info = fake_info(folder)
        self.calls: list[int] = []
        self.troubles: dict[str, list[Exception]] = {}
        self._is_here = is_here

    def answers_here(self, target: Job | str) -> bool:
        return self._is_here

    def generate(
        self, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
    ) -> Iterator[Generation]:
        self.calls.append(len(prompts))
        for turns in prompts:
            text = str(turns[-1].content)
            if self.troubles.get(text):
                raise self.troubles[text].pop()
            yield Generation(output=str(2 * int(text[6:-1])), tokens=1)


@pytest.fixture
def task(tmp_path: Path) -> EvalTask:
    """Thirty rows."""
    return task_of(Split.read(write(tmp_path / "rows.jsonl", rows(30))))


def asked(backend: Answering, task: EvalTask, folder: Path) -> Collected:
    """Ask the backend's model every row."""
    model = BackendModel(backend, "m", Patience(concurrency=4))
    return collect(Contender("m", model), task, GenerationParameters(), folder / "answers")


def test_rows_are_asked_one_by_one_and_one_error_is_one_rows(task: EvalTask, tmp_path: Path) -> None:
    backend = Answering(tmp_path)
    known = {"backend": "fake", "operation": "generate"}
    backend.troubles = {
        "Twice 3?": [RateLimited("slow down", retry_after=0.01, **known)],
        "Twice 5?": [InvalidRequest("too long", **known)],
    }
    found = asked(backend, task, tmp_path)
    answers = list(found.book.read(row.key for row in task.rows))
    assert backend.calls == [1] * 31
    assert [n for n, answer in enumerate(answers) if answer.failure] == [5]
    assert answers[5].error == "fake: generate: too long"
    assert answers[3].output == "6"
    assert all(answer.latency_seconds is not None for answer in answers if not answer.failure)


def test_rows_that_always_fail_do_not_stop_the_next_run(task: EvalTask, tmp_path: Path) -> None:
    backend = Answering(tmp_path)
    for number in range(5, 30):
        backend.troubles[f"Twice {number}?"] = [
            InvalidRequest("no", backend="fake", operation="generate") for _ in range(3)
        ]
    assert asked(backend, task, tmp_path).asked == 30
    found = asked(backend, task, tmp_path)
    assert found.asked == 25
    assert sum(answer.failure == "error" for answer in found.book.read(row.key for row in task.rows)) == 25


def test_a_refused_key_stops_everything(task: EvalTask, tmp_path: Path) -> None:
    backend = Answering(tmp_path)
    backend.troubles["Twice 0?"] = [AuthenticationError("no key", backend="fake", operation="generate")]
    with pytest.raises(AuthenticationError):
        asked(backend, task, tmp_path)
    assert len(backend.calls) < 30


def test_a_model_that_is_loaded_for_each_call_is_asked_once(task: EvalTask, tmp_path: Path) -> None:
    backend = Answering(tmp_path, is_here=True)
    found = asked(backend, task, tmp_path)
    assert backend.calls == [30]
    assert [answer.output for answer in found.book.read(row.key for row in task.rows)] == [
        str(2 * n) for n in range(30)
    ]
    assert asked(backend, task, tmp_path).asked == 0
