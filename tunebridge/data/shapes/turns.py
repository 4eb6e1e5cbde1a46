"""The turns of a row, with what a shape does not carry taken out of them and reported."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tunebridge.data.shapes.calls import parse_object
from tunebridge.data.shapes.notes import Notes
from tunebridge.data.targets import CanonicalRow

Turn = Mapping[str, Any]
Call = Mapping[str, Any]
Code = str | None
Source = Literal["web", "data", "gs", "s3", "other"]

CONVERSATION = frozenset({"messages", "preferred", "rejected", "text"})
ROW_CODES = {
    "id": "L-id",
    "metadata": "L-metadata",
    "reference": "L-reference",
    "split": "L-split",
    "label": "L-label",
    "parallel_tool_calls": "L-parallel-calls",
    "tools": "X-tools",
}
IMAGE_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
SCHEMES: tuple[tuple[str, Source], ...] = (
    ("data:", "data"),
    ("https:", "web"),
    ("http:", "web"),
    ("gs:", "gs"),
    ("s3:", "s3"),
)


@dataclass(frozen=True)
class Carries:
    """What a shape carries of a row: None where it does, the code of what happens where it does not.

    As it is made without arguments it carries plain texts of a system, users and an assistant only.
    """

    keys: frozenset[str] = frozenset()
    """Keys of the row beside the conversation that are carried under their own names."""
    developer: Code = "L-developer"
    system_later: Code = "L-system-merged"
    name: Code = "L-name"
    weight_zero: Code = "X-weight-zero"
    weight_fraction: Code = "X-weight-fraction"
    tools: Code = "X-tools"
    call_ids: Code = None
    result_without_call: Code = "X-tool-result"
    arguments: Literal["text", "object"] = "text"
    """Whether a call's arguments come out as the text that they are or as the object that it says."""
    reasoning: Code = "L-reasoning"
    images: frozenset[Source] = frozenset()
    """Where images may lie."""
    image_types: frozenset[str] | None = None
    """Media types that images may have, told by the end of their address; None: not looked at."""
    image_detail: Code = "L-image-detail"
    parts: Code = "L-parts-joined"
    """Several parts of text in one turn."""
    empty_answer: Code = "X-empty-answer"
    empty_turn: Code = "X-empty-turn"
    """A system or user turn without content."""


def carried_keys(row: CanonicalRow, carries: Carries, notes: Notes) -> dict[str, Any]:
    """Return the keys beside the conversation that are carried; the others are reported."""
    kept: dict[str, Any] = {}
    for key, value in row.items():
        if key in CONVERSATION or (key in ("tools", "metadata") and not value):
            continue
        if key in carries.keys:
            kept[key] = value
        else:
            notes.report(ROW_CODES[key], key)
    return kept


def carried_turns(
    turns: Sequence[Turn], carries: Carries, notes: Notes, *, at: str = "messages", trained: bool = True
) -> list[dict[str, Any]]:
    """Return turns with no keys but those that are carried; plain ones are passed on as they are, not copied.

    Empty tool calls, empty reasoning, a weight of 1 and the weight 0 of turns that are not `trained` say nothing and
    are left out. An empty content is "" or, beside tool calls, left out; a single part of text is a text. With
    `arguments="object"` calls come out with objects.
    """
    if not turns:
        notes.report("X-empty-turn", at)
    kept: list[dict[str, Any]] = []
    systems = 0
    for index, turn in enumerate(turns):
        role = turn["role"]
        content = turn.get("content")
        if len(turn) == 2 and content and content.__class__ is str and (role == "user" or role == "assistant"):
            kept.append(turn)  # type: ignore[arg-type]  # never written to
            continue
        path = f"{at}.{index}"
        if role == "system" or role == "developer":
            systems += index > 0
            notes.report(carries.system_later if index else None, path)
        kept.append(_carry(turn, path, carries, notes, trained=trained))
    return _merge_systems(kept) if systems and carries.system_later == "L-system-merged" else kept


def _carry(turn: Turn, at: str, carries: Carries, notes: Notes, *, trained: bool) -> dict[str, Any]:
    role = turn["role"]
    calls = turn.get("tool_calls")
    kept: dict[str, Any] = {"role": role}
    content = _content(turn, at, carries, notes)
    if content is not None:
        kept["content"] = content
    if role == "developer":
        notes.report(carries.developer, at)
        kept["role"] = "system" if carries.developer == "L-developer" else role
    if role == "tool":
        notes.report(carries.tools, at)
        notes.report(None if "tool_call_id" in turn else carries.result_without_call, at)
    if "tool_call_id" in turn:
        notes.report(None if role == "tool" else "X-misplaced", f"{at}.tool_call_id")
        kept["tool_call_id"] = _known_id(turn["tool_call_id"], carries)
    if "name" in turn:
        _keep(kept, "name", turn["name"], carries.name, at, notes)
    if turn.get("reasoning"):
        notes.report(None if role == "assistant" else "X-misplaced", f"{at}.reasoning")
        _keep(kept, "reasoning", turn["reasoning"], carries.reasoning, at, notes)
    if "weight" in turn:
        _weigh(kept, turn["weight"], at, carries, notes, trained=trained and role == "assistant")
    if calls:
        notes.report(carries.tools if role == "assistant" else "X-misplaced", f"{at}.tool_calls")
        kept["tool_calls"] = _calls(calls, f"{at}.tool_calls", carries, notes)
    return kept


def _keep(kept: dict[str, Any], key: str, value: Any, code: Code, at: str, notes: Notes) -> None:
    notes.report(code, f"{at}.{key}")
    if code in (None, "L-template"):
        kept[key] = value


def _weigh(kept: dict[str, Any], weight: float, at: str, carries: Carries, notes: Notes, *, trained: bool) -> None:
    if not trained:
        notes.report("L-weight-untrained" if weight else None, f"{at}.weight")
    elif weight == 0:
        notes.report(carries.weight_zero, f"{at}.weight")
        kept["weight"] = 0
    elif weight != 1:
        notes.report(carries.weight_fraction, f"{at}.weight")
        kept["weight"] = weight


def _calls(calls: Sequence[Call], at: str, carries: Carries, notes: Notes) -> Sequence[Call]:
    if carries.call_ids == "L-call-ids" or any(_known_id(call["id"], carries) != call["id"] for call in calls):
        notes.report(carries.call_ids, at)
    if carries.call_ids == "L-call-ids-renamed":
        calls = [{**call, "id": _known_id(call["id"], carries)} for call in calls]
    return calls if carries.arguments == "text" else _with_objects(calls, at, notes)


def _known_id(name: str, carries: Carries) -> str:
    """Return a call's id, or nine of its digest's characters where the service takes ids of nine only."""
    if carries.call_ids != "L-call-ids-renamed" or (len(name) == 9 and name.isascii() and name.isalnum()):
        return name
    return hashlib.sha256(name.encode()).hexdigest()[:9]


def _with_objects(calls: Sequence[Call], at: str, notes: Notes) -> list[Call]:
    found: list[Call] = []
    for index, call in enumerate(calls):
        function = call["function"]
        arguments = parse_object(function["arguments"])
        if arguments is None:
            notes.report("X-arguments", f"{at}.{index}.function.arguments")
        found.append({**call, "function": {"name": function["name"], "arguments": arguments}})
    return found


def _content(turn: Turn, at: str, carries: Carries, notes: Notes) -> str | list[dict[str, Any]] | None:
    content = turn.get("content") or ""
    role = turn["role"]
    if not isinstance(content, str):
        parts = [_part(part, f"{at}.content.{index}", role, carries, notes) for index, part in enumerate(content)]
        if len(parts) > 1 or "text" not in parts[0]:
            return _parts(parts, at, role, carries, notes)
        content = parts[0]["text"]
    if content:
        return str(content)
    if role == "assistant" and turn.get("tool_calls"):
        return None
    _report_empty(role, at, carries, notes)
    return ""


def _parts(
    parts: list[dict[str, Any]], at: str, role: str, carries: Carries, notes: Notes
) -> str | list[dict[str, Any]]:
    if any(part.get("text") == "" for part in parts):
        _report_empty(role, at, carries, notes)
    if carries.parts is None or any("image_url" in part for part in parts):
        return parts
    notes.report(carries.parts, f"{at}.content")
    return "\n".join(part["text"] for part in parts)


def _report_empty(role: str, at: str, carries: Carries, notes: Notes) -> None:
    if role != "tool":  # a tool may have nothing to say
        notes.report(carries.empty_answer if role == "assistant" else carries.empty_turn, f"{at}.content")


def _part(part: dict[str, Any], at: str, role: str, carries: Carries, notes: Notes) -> dict[str, Any]:
    if part.keys() == {"type", "text"} and part["type"] == "text" and isinstance(part["text"], str):
        return part
    image = part.get("image_url")
    if part.keys() != {"type", "image_url"} or part["type"] != "image_url" or not _is_image(image):
        notes.report("X-part", at)
    assert isinstance(image, dict)  # or it was refused
    if not carries.images:
        notes.report("X-images", at)
    notes.report(None if role == "user" else "X-image-role", at)
    notes.report(None if source_of(image["url"]) in carries.images else "X-image-source", at)
    if carries.image_types is not None and image_type(image["url"]) not in carries.image_types:
        notes.report("X-image-type", at)
    if "detail" in image and carries.image_detail is not None:
        notes.report(carries.image_detail, f"{at}.image_url.detail")
        return {"type": "image_url", "image_url": {"url": image["url"]}}
    return part


def _is_image(image: Any) -> bool:
    return isinstance(image, dict) and image.keys() <= {"url", "detail"} and isinstance(image.get("url"), str)


def source_of(url: str) -> Source:
    """Return where an image lies."""
    return next((source for scheme, source in SCHEMES if url.startswith(scheme)), "other")


def image_type(url: str) -> str | None:
    """Return an image's media type as the end of its address tells it."""
    return IMAGE_TYPES.get(url.rpartition(".")[2].lower())


def text_of(content: str | Sequence[Mapping[str, Any]]) -> str:
    """Return a content without images as one text."""
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def _merge_systems(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    systems = [text_of(turn["content"]) for turn in turns if turn["role"] == "system"]
    others = [turn for turn in turns if turn["role"] != "system"]
    return [{"role": "system", "content": "\n\n".join(systems)}, *others]


def require_last(turns: Sequence[Turn], roles: tuple[str, ...], notes: Notes) -> None:
    """Refuse a conversation that does not end with a turn of one of some roles."""
    if turns[-1]["role"] not in roles:
        notes.report("X-last-turn", "messages")


def require_alternation(turns: Sequence[Turn], notes: Notes) -> None:
    """Refuse a conversation that is not a system turn or none, then user and assistant in alternation."""
    spoken = turns[1:] if turns[0]["role"] == "system" else turns
    if not spoken or spoken[0]["role"] != "user":
        notes.report("X-first-turn", "messages")
    if any(turn["role"] == following["role"] for turn, following in zip(spoken, spoken[1:], strict=False)):
        notes.report("X-alternation", "messages")


def carried_answers(
    row: CanonicalRow, carries: Carries, notes: Notes, *, single: bool = True
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the preferred and the rejected answer; where not `single`, tool results and further turns may follow."""
    found = []
    for key in ("preferred", "rejected"):
        roles = [turn["role"] for turn in row[key]]
        allowed = roles == ["assistant"] if single else roles[:1] == ["assistant"] and {*roles} <= {"assistant", "tool"}
        notes.report(None if allowed else "X-answer-turns", key)
        found.append(carried_turns(row[key], carries, notes, at=key))
    return found[0], found[1]
