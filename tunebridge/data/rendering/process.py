"""Rendering rows from a process that never loads the libraries which that takes: another process does the work."""

import importlib.util
import json
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import IO, Any

from tunebridge.data.problems import Problem
from tunebridge.data.rendering.preview import Preview, RowPreview
from tunebridge.data.targets import CanonicalRow, LocatedRow
from tunebridge.errors import DataError, MissingDependency, SpecError, TuneBridgeError

PACKAGES = ("transformers", "jinja2")


class Renderer:
    """A model's tokenizer and chat template in a process beside this one, started at the first question.

    Use it in a `with` block, or leave it: its process ends with the object.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        """`tunebridge/nano`, a model folder, or a hub id."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; another question starts a new one."""
        if self._process is not None:
            self._end()
            self._process = None

    def count_text(self, text: str) -> int:
        """Return the tokens of a text, without those that mark its beginning or end."""
        return int(self._ask({"text": text})["tokens"])

    def count_row(self, row: CanonicalRow) -> list[tuple[int, int]]:
        """Return (trained tokens, all tokens) of what a row is trained as; DataError when it cannot be rendered."""
        return [(trained, tokens) for trained, tokens in self._ask({"row": row})["rows"]]

    def check_template(self) -> list[Problem]:
        """Return what is odd about the chat template."""
        return _problems(self._ask({}))

    def preview_row(
        self, located: LocatedRow, *, file: str, max_length: int, shown: bool
    ) -> tuple[list[RowPreview], list[Problem]]:
        """Return what a row is trained as, nothing unless `shown` and possible, and what is odd about it."""
        question = {"row": located.row, "line": located.line, "file": file, "max_length": max_length}
        answer = self._ask({**question, "shown": shown})
        return [RowPreview.model_validate(row) for row in answer["rows"]], _problems(answer)

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        process = self._running()
        assert process.stdin
        assert process.stdout
        with suppress(BrokenPipeError):  # then it has said why, here or in its log
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise self._broken()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind = SpecError if answer["error"]["type"] == "SpecError" else DataError
            raise kind(answer["error"]["message"])
        return answer

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            missing = next((name for name in PACKAGES if importlib.util.find_spec(name) is None), None)
            if missing:
                raise MissingDependency(missing, extra="local")
            self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tunebridge.training.rendering", self.model],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
            self._end = weakref.finalize(self, _end, self._process, self._log)
        return self._process

    def _broken(self) -> TuneBridgeError:
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().split("\n")[-1]
        self.close()
        return TuneBridgeError(f"The process that renders rows has ended: {said or 'it was killed'}. Run it again.")


def preview_rows(
    renderer: Renderer, rows: Iterable[LocatedRow], *, file: str, max_length: int, shown: int, checked: int
) -> Preview:
    """Return the first rows as the model sees them, and what is odd about them and those behind, `checked` in all."""
    previews: list[RowPreview] = []
    problems = renderer.check_template()
    number = 0
    for number, row in enumerate(islice(rows, max(shown, checked)), start=1):
        shown_rows, found = renderer.preview_row(row, file=file, max_length=max_length, shown=number <= shown)
        previews += shown_rows
        problems += found
    return Preview(
        model=renderer.model,
        max_length=max_length,
        checked_rows=number,
        rows=tuple(previews),
        problems=tuple(problems),
    )


def _problems(answer: dict[str, Any]) -> list[Problem]:
    return [Problem.model_validate(problem) for problem in answer["problems"]]


def _end(process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    """Let a process go: it ends when nobody can ask any more."""
    for pipe in (process.stdin, process.stdout):
        with suppress(BrokenPipeError):  # it may have died with a question unread
            if pipe:
                pipe.close()
    process.terminate()
    process.wait()
    log.close()
