"""What can be wrong with rows: stable codes, each with a severity and a fix.

| code | severity | what |
|---|---|---|
| E001 | error | the file is not UTF-8 text, or has a byte order mark inside |
| E002 | error | a line is not valid JSON, or names a key twice |
| E003 | error | a row does not have the shape of its format |
| E004 | error | no turn of a row is trained |
| E005 | error | the last turn is not the assistant's |
| E006 | error | turns do not alternate |
| E007 | error | a tool's answer without its call, or a call without its answer |
| E008 | error | a tool call's arguments are not a JSON object, or not what the declared schema asks for |
| E009 | error | an assistant's turn or a text is empty |
| E010 | error | there are no rows |
| E011 | error | rows of several kinds or formats |
| E012 | error | more or fewer rows or bytes than a backend takes |
| E013 | error | a backend cannot take a row at all |
| W101 | warning | a row stands there more than once |
| W102 | warning | a row differs from another only in case, spaces, punctuation, or what is not trained |
| W103 | warning | a validation row's prompt is a training row's too |
| W104 | warning | the same prompt has different answers |
| W105 | warning | a row is longer than the limit; says how many answers would be cut |
| W106 | warning | control characters or characters of no width |
| W107 | warning | keys, tokens, mail addresses, phone or card numbers; values are never shown |
| W108 | warning | nearly all answers are the same one |
| W111 | warning | a key that was kept as metadata looks like a misspelt one |
| W113 | warning | a call of a tool that the row does not declare |
| W114 | warning | a backend can only take a row with a loss |
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tunebridge.data.canonical import kind_of
from tunebridge.data.checking.toolcalls import check_tools
from tunebridge.data.example import Kind
from tunebridge.data.problems import Finding as Finding
from tunebridge.data.problems import Problem as Problem
from tunebridge.data.targets import CanonicalRow

_PLAIN = frozenset({"system", "developer", "user", "assistant"})


@lru_cache(maxsize=4096)  # files have few different sequences of roles
def plain_kind(roles: tuple[str, ...]) -> Kind | None:
    """Return the kind of a row of plain turns (`plain_roles`); None where `check_row` has something to say of it."""
    row = {"messages": [{"role": role, "content": "a"} for role in roles]}
    return None if any(check_row(row)) else kind_of(row)


def check_row(row: CanonicalRow) -> Iterator[Finding]:
    """Yield what is wrong with one canonical row."""
    if "text" in row:
        if not row["text"].strip():
            yield Finding("E009", "the text is empty", "Remove the row.", "text")
        return
    messages: Sequence[Mapping[str, Any]] = row["messages"]
    if not messages:
        yield Finding("E004", "the row has no turns", "Remove the row.", "messages")
        return
    roles = tuple([message["role"] for message in messages])
    yield from _check_last(row, roles)
    yield from _check_answers(row, messages)
    yield from _check_turns(roles)
    if "tools" in row or not _PLAIN.issuperset(roles) or any("tool_calls" in message for message in messages):
        yield from check_tools(row)


def _check_last(row: CanonicalRow, roles: tuple[str, ...]) -> Iterator[Finding]:
    kind = kind_of(row)
    last = f"messages.{len(roles) - 1}"
    if kind == "sft" and roles[-1] != "assistant":
        message = f"the last turn is the {roles[-1]}'s, so nothing is learnt from it"
        yield Finding("E005", message, "End each row with the assistant's answer.", last)
    elif kind == "kto" and roles[-1] != "assistant":
        yield Finding("E005", "the row is labelled, and has no answer at its end", "Add the answer.", last)
    elif kind == "prompt_only" and roles[-1] == "assistant":
        fix = "Give the answer a weight above 0, or remove the row."
        yield Finding("E004", "every answer has the weight 0, so nothing is learnt from it", fix, last)
    for key in ("preferred", "rejected") if kind == "preference" else ():
        turns = row[key]
        if not turns or turns[-1]["role"] != "assistant":
            yield Finding("E005", f"the {key} answer is not the assistant's", "End it with the assistant's turn.", key)


def _check_answers(row: CanonicalRow, messages: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    answers = [("messages", messages)]
    if "preferred" in row:
        answers += [("preferred", row["preferred"]), ("rejected", row["rejected"])]
    for key, turns in answers:
        for number, message in enumerate(turns):
            content = message.get("content")
            if message["role"] == "assistant" and not message.get("tool_calls") and _is_empty(content):
                fix = "Write the answer, or remove the row."
                yield Finding("E009", "an assistant's turn is empty", fix, f"{key}.{number}.content")


def _is_empty(content: Any) -> bool:
    if isinstance(content, str):
        return not content or content.isspace()
    return not any(part["type"] != "text" or part["text"].strip() for part in content or ())


@lru_cache(maxsize=4096)
def _check_turns(roles: tuple[str, ...]) -> tuple[Finding, ...]:
    found: list[Finding] = []
    spoken = [(number, role) for number, role in enumerate(roles) if role in ("user", "assistant")]
    for (_, before), (number, role) in zip(spoken, spoken[1:], strict=False):
        if before == role and roles[number - 1] == role:
            message = f"two turns of the {role} follow each other"
            found.append(Finding("E006", message, "Join the two turns into one.", f"messages.{number}"))
    if spoken and spoken[0][1] == "assistant":
        path = f"messages.{spoken[0][0]}"
        found.append(Finding("E006", "the assistant speaks first", "Begin with what the user said.", path))
    return tuple(found)
