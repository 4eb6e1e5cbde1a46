"""Recorded answers: JSON lines `{"id", "output"}` that stand for a model, also one that is gone by now."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunebridge.data.dataset import owner_only
from tunebridge.errors import EvaluationError
from tunebridge.evaluation.answers import Answer, AnswerBook, failure_of
from tunebridge.evaluation.task import EvalTask, named


def open_recorded(path: Path, task: EvalTask) -> AnswerBook:
    """Return the recorded answers of a task's rows by key; EvaluationError unless there is one for each row.

    Ids that are missing, not the task's or twice there, and answers that were recorded for another question, are
    errors: the models would not be compared on the same rows.
    """
    ids = task.ids
    places: dict[str, int] = {}
    extra: list[str] = []
    for number, place, line in _lines(path):
        id_ = _id(line, path, number)
        if id_ not in ids:
            extra.append(id_)
            continue
        row = task.rows[ids[id_]]
        if row.key in places:
            raise EvaluationError(f"{path}:{number}: the id {id_!r} stands there a second time. Remove one of the two.")
        if line.get("row", row.key) != row.key:
            raise EvaluationError(
                f"{path}:{number}: the answer of id {id_!r} was recorded for another question than {task.name} asks. "
                f"Give the rows that it was recorded on, or record it again."
            )
        _parse(line, f"{path}:{number}")
        places[row.key] = place
    missing = [row.id for row in task.rows if row.key not in places]
    _check_same_rows(path, task, missing, extra)
    return AnswerBook(path, lambda found: _parse(found, str(path)), places)


def write_recorded(path: Path, task: EvalTask, book: AnswerBook) -> None:
    """Write the answers to every row of a task, in its order, in one step: the file is complete or not there."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8", errors="replace", opener=owner_only) as file:
        for row in task.rows:
            file.write(json.dumps(_line(row.id, row.key, book[row.key]), ensure_ascii=False) + "\n")
    partial.rename(path)


def _line(id_: str, key: str, answer: Answer) -> dict[str, Any]:
    return {"id": id_, "output": answer.output, "row": key, **answer.model_dump(exclude_none=True, exclude={"output"})}


def _lines(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield (line, byte at which it begins, its values)."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror}). Check --recorded.") from None
    with file:
        place = 0
        for number, text in enumerate(file, start=1):
            if text.strip():
                yield number, place, _object(text, path, number)
            place += len(text)


def _object(text: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise EvaluationError(f"{path}:{number}: not valid JSON: {error}. Mend the line.") from None
    if not isinstance(line, dict):
        raise EvaluationError(f'{path}:{number}: a line is an object {{"id", "output"}}. Mend the line.')
    return line


def _id(line: dict[str, Any], path: Path, number: int) -> str:
    id_ = line.get("id")
    if isinstance(id_, bool) or not isinstance(id_, str | int):
        raise EvaluationError(f"{path}:{number}: the line has no `id`, a text or a number. Add the row's id.")
    return str(id_)


def _parse(line: dict[str, Any], place: str) -> Answer:
    """Return a line's answer; besides `id` and `output` it may say how the answer ended and what it took."""
    output = line.get("output")
    failure = line.get("failure") or failure_of(line.get("finish_reason")) or ("error" if line.get("error") else None)
    if output is None and failure is None and "output" in line:
        failure = "error"
    if not isinstance(output, str | None) or (output is None and failure is None):
        raise EvaluationError(f"{place}: the line has no `output`, a text. Add what the model said.")
    known = {key: line.get(key) for key in ("error", "latency_seconds", "input_tokens", "output_tokens")}
    if known["output_tokens"] is None:
        known["output_tokens"] = line.get("tokens")
    try:
        return Answer.model_validate({"output": output or "", "failure": failure, **known})
    except ValueError as error:
        raise EvaluationError(f"{place}: {str(error).splitlines()[-2].strip()}. Mend the line.") from None


def _check_same_rows(path: Path, task: EvalTask, missing: list[str], extra: list[str]) -> None:
    if not missing and not extra:
        return
    parts = [f"{len(missing)} of {len(task)} rows have no answer: {named(missing)}"] if missing else []
    parts += [f"{len(extra)} ids are not in {task.name or 'the rows'}: {named(extra)}"] if extra else []
    raise EvaluationError(
        f"{path}: {'; '.join(parts)}. Every model is compared on the same rows: give one answer for each of them "
        f"(a row without `id` has its number counted from 0)."
    )
