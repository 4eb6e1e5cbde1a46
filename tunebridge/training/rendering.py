"""`python -m tunebridge.training.rendering MODEL`: render rows for a process that must not load what that takes.

A question is a line of JSON on stdin, its answer a line on stdout; `tunebridge.data.rendering.process` asks.

| question | answer |
|---|---|
| `{"text"}` | `{"tokens"}` |
| `{"row"}` | `{"rows": [[trained tokens, tokens], ...]}`: one, or the two of a preference |
| `{"row", "line", "file", "max_length", "shown"}` | `{"rows": [RowPreview, ...], "problems"}` |
| `{}` | `{"problems"}` of the chat template |

`{"error": {"type", "message"}}` where it cannot be done.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from tunebridge.data.example import Example
from tunebridge.data.problems import Problem
from tunebridge.data.rendering.preview import Answer, at, check_rendered, check_template, preview_row
from tunebridge.data.rendering.render import RenderedRow, end_tokens
from tunebridge.errors import DataError, TuneBridgeError
from tunebridge.training.process import share_the_cores
from tunebridge.training.rows import renderer
from tunebridge.training.tokenizer import load_tokenizer


def main() -> int:
    """Answer until there are no more questions; 2 when the model has no tokenizer that can be loaded."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not stand among the answers
    # A tokenizer needs no torch, and without it transformers is imported in a fraction of the time.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    try:
        answer = answering(load_tokenizer(sys.argv[1]))
    except TuneBridgeError as error:
        _write(answers, _error(error))
        return error.exit_code
    for line in sys.stdin.buffer:
        try:
            _write(answers, answer(json.loads(line)))
        except TuneBridgeError as error:
            _write(answers, _error(error))
    return 0


def answering(tokenizer: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what answers questions with a tokenizer."""
    ends = end_tokens(tokenizer)

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        if "text" in question:
            return {"tokens": len(tokenizer(question["text"], add_special_tokens=False)["input_ids"])}
        if "row" not in question:
            return {"problems": [problem.model_dump() for problem in check_template(tokenizer)]}
        if "line" in question:
            return _preview(question, tokenizer, ends)
        return {"rows": [[row.trained_tokens, len(row.token_ids)] for row in _render(question["row"], tokenizer)]}

    return answer


def _render(row: dict[str, Any], tokenizer: Any) -> tuple[RenderedRow, ...]:
    """Render a row as the trainer does for the method that its kind is for."""
    example = Example.model_validate(row)
    return renderer("dpo" if example.kind == "preference" else "sft")(example, tokenizer)


def _preview(question: dict[str, Any], tokenizer: Any, ends: set[int]) -> dict[str, Any]:
    file, line, max_length = question["file"], question["line"], question["max_length"]
    try:
        rows = _render(question["row"], tokenizer)
    except DataError as error:
        what, _, fix = str(error).rpartition(". ")
        problem = Problem(code="T000", severity="error", message=what, fix=fix, file=file, line=line)
        return {"rows": [], "problems": [problem.model_dump()]}
    answers: tuple[Answer | None, ...] = ("preferred", "rejected") if len(rows) > 1 else (None,)
    shown = [
        preview_row(row, tokenizer, line=line, max_length=max_length, answer=answer).model_dump()
        for row, answer in zip(rows, answers, strict=True)
        if question["shown"]
    ]
    found = [problem for row in rows for problem in check_rendered(row, tokenizer, ends=ends, max_length=max_length)]
    return {"rows": shown, "problems": [at(problem, file, line).model_dump() for problem in found]}


def _error(error: TuneBridgeError) -> dict[str, Any]:
    return {"error": {"type": type(error).__name__, "message": str(error)}}


def _write(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    share_the_cores()
    sys.exit(main())
