"""What every model is asked: rows with a prompt, what is right, and a key by which answers are kept."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunebridge.data.canonical import canonical_bytes
from tunebridge.data.dataset import Split
from tunebridge.data.example import Example, Message
from tunebridge.errors import EvaluationError

MOST_NAMED = 5


@dataclass(frozen=True)
class EvalRow:
    """One question and what is right."""

    id: str
    """The row's own `id`, or its number counted from 0."""
    key: str
    """Digest of what is asked; a row that asks the same again gets a number behind it."""
    prompt: tuple[Message, ...]
    """Everything before the last answer."""
    tools: tuple[dict[str, Any], ...] = ()
    references: tuple[str, ...] = ()
    """What is right; more than one where several answers are."""
    expected_tool_calls: tuple[dict[str, Any], ...] | None = None
    """Name and arguments of the calls that are right, where the reference is made of calls."""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The prompt as text, for people and for metrics."""
        return "\n\n".join(
            f"{turn.role}: {text_of(turn)}" if len(self.prompt) > 1 else text_of(turn) for turn in self.prompt
        )


@dataclass(frozen=True)
class EvalTask:
    """The rows that every model is asked, with their fingerprint."""

    rows: tuple[EvalRow, ...]
    fingerprint: str
    """Of the canonical rows, as a job has it of its own."""
    name: str = ""
    """The file that the rows came from."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> Mapping[str, int]:
        """Where the row of an id stands."""
        return {row.id: number for number, row in enumerate(self.rows)}


def task_of(split: Split, *, name: str = "", schema: Mapping[str, Any] | None = None) -> EvalTask:
    """Return the rows of a split as a task; EvaluationError where ids repeat or there is nothing to ask.

    `schema` is the JSON schema of every row's answer that names none in its metadata.
    """
    seen: Counter[str] = Counter()
    rows = []
    for number, example in enumerate(split):
        prompt, answer = _parts(example, number)
        digest = key_of(prompt, example.tools or ())
        seen[digest] += 1
        key = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        rows.append(_row(example, number, key=key, prompt=prompt, answer=answer, schema=schema))
    if not rows:
        raise EvaluationError(f"{name or 'The file'} has no rows. Add rows to ask.")
    _check_ids(rows, name)
    return EvalTask(tuple(rows), split.fingerprint, name)


def key_of(prompt: Iterable[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the digest of what is asked: the turns before the answer, and the tools."""
    asked = [turn.model_dump(mode="json", exclude_none=True) for turn in prompt]
    return hashlib.sha256(canonical_bytes([asked, list(tools)])).hexdigest()[:32]


def text_of(turn: Message) -> str:
    """Return a turn as text: its parts one after the other, its calls as JSON."""
    if isinstance(turn.content, tuple):
        pieces = [
            part["text"] if part["type"] == "text" else f"[{part['image_url']['url'][:80]}]" for part in turn.content
        ]
    else:
        pieces = [turn.content or ""]
    calls = calls_of(turn)
    return "\n".join(piece for piece in [*pieces, json.dumps(calls, ensure_ascii=False) if calls else ""] if piece)


def calls_of(turn: Message) -> list[dict[str, Any]]:
    """Return a turn's calls as name and arguments; arguments that are no JSON stay text."""
    return [{"name": call.function.name, "arguments": _json(call.function.arguments)} for call in turn.tool_calls or ()]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _parts(example: Example, number: int) -> tuple[tuple[Message, ...], Message | None]:
    """Return what is asked, and the answer that the row itself has."""
    turns = example.messages
    if not turns or example.preferred is not None:
        raise EvaluationError(
            f"Row {number + 1} is of kind {example.kind}, and an evaluation asks conversations. Give chat rows."
        )
    if turns[-1].role != "assistant":
        return turns, None
    if len(turns) == 1:
        raise EvaluationError(f"Row {number + 1} has an answer and no question. Add the turns before it.")
    return turns[:-1], turns[-1]


def _row(  # each is a part of the row
    example: Example,
    number: int,
    *,
    key: str,
    prompt: tuple[Message, ...],
    answer: Message | None,
    schema: Mapping[str, Any] | None,
) -> EvalRow:
    metadata = dict(example.metadata or {})
    if schema is not None:
        metadata.setdefault("schema", schema)
    calls = tuple(calls_of(answer)) if answer else ()
    return EvalRow(
        id=str(number) if example.id is None else example.id,
        key=key,
        prompt=prompt,
        tools=example.tools or (),
        references=tuple(_references(example.reference, answer)),
        expected_tool_calls=calls or None,
        metadata=metadata,
    )


def _references(reference: Any, answer: Message | None) -> Iterator[str]:
    """Yield what is right: the row's `reference`, several where it is a list of texts, else its last answer."""
    if reference is None:
        if answer is not None:
            yield text_of(answer)
    elif isinstance(reference, list | tuple) and reference and all(isinstance(each, str) for each in reference):
        yield from reference
    else:
        yield reference if isinstance(reference, str) else json.dumps(reference, ensure_ascii=False)


def _check_ids(rows: Sequence[EvalRow], name: str) -> None:
    repeated = [id_ for id_, count in Counter(row.id for row in rows).items() if count > 1]
    if repeated:
        raise EvaluationError(
            f"{name or 'The rows'}: {len(repeated)} id(s) stand there more than once: {named(repeated)}. "
            f"Give each row an id of its own, or none: then its number counted from 0 is its id."
        )


def named(ids: Sequence[str]) -> str:
    """Return the first of some ids for a message."""
    shown = ", ".join(repr(id_) for id_ in ids[:MOST_NAMED])
    return f"{shown}, ..." if len(ids) > MOST_NAMED else shown
