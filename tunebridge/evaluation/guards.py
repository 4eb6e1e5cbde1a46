"""What an evaluation refuses: rows that a model was trained on, and a prompt that is rendered in another way."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tunebridge.data.example import Message
from tunebridge.errors import EvaluationError
from tunebridge.evaluation.models.local import template_of
from tunebridge.evaluation.task import EvalTask, key_of, named
from tunebridge.job import Job
from tunebridge.training.config import ADAPTER_FOLDER, MODEL_FOLDER, TRAIN_FILE
from tunebridge.training.sources import locate


@dataclass(frozen=True)
class Trained:
    """Training rows of a model: their file, and for a job their fingerprint."""

    who: str
    path: Path
    fingerprint: str = ""


def training_rows(job: Job) -> Trained:
    """Return a job's training rows, as they were staged in its folder."""
    return Trained(f"job {job.id}", job.folder / TRAIN_FILE, job.train_fingerprint)


def refuse_trained_rows(task: EvalTask, trained: Trained) -> None:
    """Raise EvaluationError where a row of the task asks what a training row asks.

    The whole set is known by its fingerprint, single rows by the digest of what they ask, so that an answer that was
    changed does not hide a row.
    """
    if task.fingerprint == trained.fingerprint:
        raise EvaluationError(
            f"These are the very rows that {trained.who} was trained on (fingerprint {task.fingerprint[:19]}...). "
            f"Evaluate rows that were held out."
        )
    asked = {row.key.partition("-")[0]: row.id for row in task.rows}
    found = {asked[key] for key in _keys(trained.path) if key in asked}
    if found:
        ids = [row.id for row in task.rows if row.id in found]
        raise EvaluationError(
            f"{len(ids)} of {len(task)} rows ask what {trained.who} was trained on, ids {named(ids)}: a model that "
            f"learnt them by heart would look better than it is. Take them out, or hold rows out before training."
        )


def refuse_other_template(job: Job) -> None:
    """Raise EvaluationError where a job's model would be asked through another chat template than it learnt with."""
    trained = next(
        (found for name in (ADAPTER_FOLDER, MODEL_FOLDER) if (found := template_of(job.folder / "run" / name))), None
    )
    if trained is not None:
        require_template(trained, job.base_model, f"job {job.id}")


def require_template(trained: str, base_model: str, who: str) -> None:
    """Raise EvaluationError unless a base model at hand has the chat template that a model was trained with."""
    folder = locate(base_model).folder
    asked = template_of(folder)
    if folder is not None and asked != trained:
        raise EvaluationError(
            f"{who} was trained with the chat template {_digest(trained)}, and {base_model} now has "
            f"{_digest(asked) if asked else 'none'}: the model would be asked in another way than it learnt. Put the "
            f"template back into {folder}."
        )


def refuse_different_data(jobs: Iterable[Job]) -> None:
    """Raise EvaluationError where jobs that are compared were trained on different rows."""
    by_rows: dict[str, list[str]] = {}
    for job in jobs:
        by_rows.setdefault(job.train_fingerprint or job.data_fingerprint, []).append(job.id)
    if len(by_rows) > 1:
        groups = "; ".join(f"{', '.join(ids)} on {rows[:19]}..." for rows, ids in by_rows.items())
        raise EvaluationError(
            f"The jobs were trained on different rows ({groups}), so their backends cannot be compared by them. "
            f"Compare jobs of one dataset, or pass --different-data."
        )


def _keys(path: Path) -> Iterator[str]:
    """Yield the digest of what each training row asks; a folder that was removed has none."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield from _asked(line, path, number)


def _asked(line: bytes, path: Path, number: int) -> Iterator[str]:
    try:
        row: dict[str, Any] = orjson.loads(line)
        turns = [Message.model_validate(turn) for turn in row.get("messages") or ()]
    except ValueError as error:
        raise EvaluationError(f"{path}:{number}: no training row ({str(error).splitlines()[0]}). Mend it.") from None
    tools = row.get("tools") or ()
    # Every answer of a conversation was trained on, not the last one alone.
    for place, turn in enumerate(turns):
        if turn.role == "assistant" and place:
            yield key_of(turns[:place], tools)
    if turns and turns[-1].role != "assistant":
        yield key_of(turns, tools)


def _digest(template: str) -> str:
    return f"sha256:{hashlib.sha256(template.encode()).hexdigest()[:12]}..."
