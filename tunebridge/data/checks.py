"""What can be wrong with rows: stable codes, each with a severity and a fix.

| code | what |
|---|---|
| E001 | the file is not UTF-8 text |
| E002 | a line is not valid JSON, or names a key twice |
| E003 | a row does not have the shape of its format |
| E004 | no turn of a row is trained |
| E005 | the last turn is not the assistant's |
| E006 | turns do not alternate |
| E007 | a tool's answer without its call, or a call without its answer |
| E008 | a tool call's arguments are not a JSON object |
| E009 | an assistant's turn is empty |
| E010 | there are no rows |
| E011 | rows of several kinds or formats |
| W101 | a row stands there more than once |
| W103 | a validation row's prompt is a training row's too |
| W104 | the same prompt has different answers |
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import orjson

from tunebridge.data.example import Example, Message
from tunebridge.spec import SpecModel


class Problem(SpecModel):
    """Something wrong with a row."""

    code: str
    severity: Literal["error", "warning"]
    message: str
    fix: str
    """What to do about it, for people."""
    file: str | None = None
    line: int | None = None
    path: str | None = None
    """Where in the row, such as `messages.2.content`."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.code} {self.message}. {self.fix}"


class Row(NamedTuple):
    """An example and the line of the file that it came from."""

    line: int
    example: Example


Finding = tuple[str, str, str, str | None]


def check_rows(rows: Sequence[Row], file: Path) -> list[Problem]:
    """Return what is wrong with the rows of one file, row by row and among them."""
    problems = [_problem(finding, file, row.line) for row in rows for finding in check_example(row.example)]
    return problems + list(_mixed_kinds(rows, file)) + list(_duplicates(rows, file)) + list(_conflicts(rows, file))


def check_example(example: Example) -> Iterator[Finding]:
    """Yield what is wrong with one row as (code, message, fix, path)."""
    messages = example.messages or ()
    if example.messages is not None and example.kind != "prompt_only":
        yield from _check_answer(example, messages)
    yield from _check_turns(messages)
    yield from _check_tools(messages)
    if example.text is not None and not example.text.strip():
        yield "E009", "the text is empty", "Remove the row.", "text"


def check_leakage(train: Sequence[Row], validation: Sequence[Row], file: Path) -> Iterator[Problem]:
    """Yield a warning when validation rows ask what training rows ask."""
    known = {prompt_digest(row.example) for row in train}
    lines = [row.line for row in validation if prompt_digest(row.example) in known]
    if lines:
        message = f"{_count(lines, 'validation row')} ask what a training row asks ({_name(lines)})"
        fix = "The validation loss will look too good; remove them from one of the two."
        yield Problem(code="W103", severity="warning", message=message, fix=fix, file=str(file), line=lines[0])


def prompt_digest(example: Example) -> bytes:
    """Return a digest of what is asked: everything before the last answer."""
    messages = list(example.messages or ())
    if example.preferred is None and messages and messages[-1].role == "assistant":
        messages.pop()
    asked = [m.model_dump(mode="json", exclude_none=True) for m in messages] or example.text
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()


def _check_answer(example: Example, messages: Sequence[Message]) -> Iterator[Finding]:
    if example.kind == "sft" and messages[-1].role != "assistant":
        yield (
            "E005",
            f"the last turn is the {messages[-1].role}'s, so nothing is learnt from it",
            "End each row with the assistant's answer.",
            f"messages.{len(messages) - 1}",
        )
    answers = [*enumerate(messages), *((-1, m) for m in (*(example.preferred or ()), *(example.rejected or ())))]
    for number, message in answers:
        if message.role == "assistant" and not message.content and not message.tool_calls:
            fix = "Write the answer, or remove the row."
            yield "E009", "an assistant's turn is empty", fix, f"messages.{number}.content" if number >= 0 else None


def _check_turns(messages: Sequence[Message]) -> Iterator[Finding]:
    spoken = [(number, m.role) for number, m in enumerate(messages) if m.role in ("user", "assistant")]
    for (_, before), (number, role) in zip(spoken, spoken[1:], strict=False):
        between = messages[number - 1].role
        if before == role and between == role:
            fix = "Join the two turns into one."
            yield "E006", f"two turns of the {role} follow each other", fix, f"messages.{number}"
    if spoken and spoken[0][1] == "assistant":
        yield "E006", "the assistant speaks first", "Begin with what the user said.", f"messages.{spoken[0][0]}"


def _check_tools(messages: Sequence[Message]) -> Iterator[Finding]:
    open_calls: dict[str, int] = {}
    for number, message in enumerate(messages):
        for call in message.tool_calls or ():
            open_calls[call.id] = number
            if not _is_object(call.function.arguments):
                fix = "Write the arguments as the text of one JSON object."
                path = f"messages.{number}.tool_calls"
                yield "E008", f"the arguments of {call.function.name} are not a JSON object", fix, path
        if message.role == "tool" and open_calls.pop(message.tool_call_id or "", None) is None:
            fix = "Give it the tool_call_id of a call before it."
            yield "E007", "a tool's answer belongs to no call", fix, f"messages.{number}.tool_call_id"
    for identifier, number in open_calls.items():
        if number != len(messages) - 1:
            fix = "Add the tool's answer, or end the row with the call."
            yield "E007", f"the call {identifier!r} has no answer", fix, f"messages.{number}.tool_calls"


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _mixed_kinds(rows: Sequence[Row], file: Path) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.example.kind, row.line)
    if len(first) > 1:
        kinds = ", ".join(f"{kind} (first in line {line})" for kind, line in first.items())
        yield Problem(
            code="E011",
            severity="error",
            message=f"the file has rows of several kinds: {kinds}",
            fix="Keep one kind per file.",
            file=str(file),
            line=sorted(first.values())[1],
        )


def _duplicates(rows: Sequence[Row], file: Path) -> Iterator[Problem]:
    lines = defaultdict(list)
    for row in rows:
        lines[orjson.dumps(row.example.to_json(), option=orjson.OPT_SORT_KEYS)].append(row.line)
    again = sorted(line for same in lines.values() for line in same[1:])
    if again:
        message = f"{_count(again, 'row')} stand there more than once ({_name(again)})"
        fix = "They count double in training; remove them if that is not meant."
        yield Problem(code="W101", severity="warning", message=message, fix=fix, file=str(file), line=again[0])


def _conflicts(rows: Sequence[Row], file: Path) -> Iterator[Problem]:
    answers: dict[bytes, set[bytes]] = defaultdict(set)
    lines: dict[bytes, list[int]] = defaultdict(list)
    for row in rows:
        if row.example.kind == "sft":
            key, answer = prompt_digest(row.example), (row.example.messages or ())[-1]
            answers[key].add(answer.model_dump_json().encode())
            lines[key].append(row.line)
    found = sorted(line for key, same in lines.items() if len(answers[key]) > 1 for line in same)
    if found:
        message = f"{_count(found, 'row')} ask the same and are answered differently ({_name(found)})"
        fix = "Decide for one answer, unless several are right."
        yield Problem(code="W104", severity="warning", message=message, fix=fix, file=str(file), line=found[0])


def _problem(finding: Finding, file: Path, line: int) -> Problem:
    code, message, fix, path = finding
    return Problem(code=code, severity="error", message=message, fix=fix, file=str(file), line=line, path=path)


def _count(lines: Sequence[int], noun: str) -> str:
    return f"{len(lines):,} {noun}{'s' if len(lines) != 1 else ''}"


def _name(lines: Iterable[int], most: int = 5) -> str:
    named = list(lines)
    return f"lines {', '.join(map(str, named[:most]))}" + (", ..." if len(named) > most else "")
