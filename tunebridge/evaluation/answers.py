"""Answers as they are kept: one JSON line each, found again by key, with only their places in memory."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from filelock import FileLock, Timeout

from tunebridge.data.dataset import owner_only
from tunebridge.errors import EvaluationError
from tunebridge.spec import SpecModel

Failure = Literal["error", "refusal", "timeout", "cut"]
FAILURES: tuple[Failure, ...] = ("error", "refusal", "timeout", "cut")
_OF_REASON: Mapping[str, Failure] = {
    "length": "cut",
    "max_tokens": "cut",
    "content_filter": "refusal",
    "refusal": "refusal",
    "timeout": "timeout",
    "error": "error",
}


class Answer(SpecModel):
    """What one model said to one row."""

    output: str = ""
    failure: Failure | None = None
    """Why the answer counts as a failure: an error, a refusal, a timeout, or cut at the most tokens."""
    error: str | None = None
    """What went wrong, for people."""
    latency_seconds: float | None = None
    """From the request to the whole answer; None where rows are answered together."""
    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether asking again is not to be expected to help: anything but an error or a timeout."""
        return self.failure not in ("error", "timeout")


def failure_of(finish_reason: str | None) -> Failure | None:
    """Return what a vendor's or our own word for the end of an answer means for its score."""
    return _OF_REASON.get(finish_reason or "")


class AnswerBook:
    """Answers of one model; a key leads to a line of a file, so that many long answers need little memory."""

    def __init__(self, path: Path, parse: Callable[[dict[str, Any]], Answer], places: dict[str, int]) -> None:
        self.path, self._parse, self._places = path, parse, places

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: str) -> Answer:
        with self.path.open("rb") as file:
            file.seek(self._places[key])
            return self._parse(json.loads(file.readline()))

    def read(self, keys: Iterator[str]) -> Iterator[Answer]:
        """Yield the answers of some keys, with the file open once."""
        with self.path.open("rb") as file:
            for key in keys:
                file.seek(self._places[key])
                yield self._parse(json.loads(file.readline()))


class AnswerCache(AnswerBook):
    """Answers of one model under one set of parameters, written as they come; leave the block to let it go.

    The file only grows. A line that was half written when the process died is cut off when it is opened again.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(path, lambda line: Answer.model_validate(line["answer"]), {})
        self._lock = FileLock(path.with_suffix(".lock"), timeout=0)
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except Timeout:
            raise EvaluationError(
                "Another evaluation is asking the same model at this moment. Wait until it has ended."
            ) from None
        self._file = open(self.path, "ab+", opener=owner_only)  # closed on exit
        self._load(self._file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()
        self._lock.release()

    def add(self, key: str, answer: Answer) -> None:
        """Keep an answer; it is out of this process when the call returns."""
        assert self._file
        place = self._file.seek(0, 2)
        line = {"row": key, "answer": answer.model_dump(mode="json", exclude_none=True)}
        self._file.write(json.dumps(line, ensure_ascii=False).encode(errors="surrogatepass") + b"\n")
        self._file.flush()
        self._places[key] = place

    def _load(self, file: IO[bytes]) -> None:
        file.seek(0)
        place = 0
        for line in file:
            if not line.endswith(b"\n"):
                file.truncate(place)
                return
            said = json.loads(line)
            if Answer.model_validate(said["answer"]).is_final:  # what failed is asked again
                self._places[said["row"]] = place
            place += len(line)
