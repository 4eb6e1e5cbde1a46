"""The content of a turn: a text, or parts of text and images."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunebridge.data.shapes.carries import Carries, Source, Turn
from tunebridge.data.shapes.notes import Notes

Part = dict[str, Any]

IMAGE_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
SOURCES: dict[str, Source] = {"data": "data", "https": "web", "http": "web", "gs": "gs", "s3": "s3"}


def carried_content(turn: Turn, at: str, carries: Carries, notes: Notes) -> str | list[Part] | None:
    """Return a turn's content with what is not carried reported: a text where it is one, parts otherwise.

    Nothing to say is "" or, beside calls of tools, None. `at` is the turn's path.
    """
    content = turn.get("content") or ""
    role = turn["role"]
    if not isinstance(content, str):
        parts = [_part(part, f"{at}.content.{index}", role, carries, notes) for index, part in enumerate(content)]
        if len(parts) > 1 or "text" not in parts[0]:
            return _parts(parts, at, role, carries, notes)
        content = parts[0]["text"]
    if not content:
        if role == "assistant" and turn.get("tool_calls"):
            return None
        _report_empty(role, at, carries, notes)
    return str(content)


def text_of(content: str | Sequence[Mapping[str, Any]]) -> str:
    """Return a content without images as one text."""
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def image_type(url: str) -> str | None:
    """Return an image's media type as the end of its address tells it."""
    return IMAGE_TYPES.get(url.rpartition(".")[2].lower())


def _parts(parts: list[Part], at: str, role: str, carries: Carries, notes: Notes) -> str | list[Part]:
    if any(part.get("text") == "" for part in parts):
        _report_empty(role, at, carries, notes)
    if carries.parts is None or any("image_url" in part for part in parts):
        return parts
    notes.report(carries.parts, f"{at}.content")
    return text_of(parts)


def _report_empty(role: str, at: str, carries: Carries, notes: Notes) -> None:
    if role != "tool":  # a tool may have nothing to say
        notes.report(carries.empty_answer if role == "assistant" else carries.empty_turn, f"{at}.content")


def _part(part: Part, at: str, role: str, carries: Carries, notes: Notes) -> Part:
    return part if part["type"] == "text" else _image(part, at, role, carries, notes)


def _image(part: Part, at: str, role: str, carries: Carries, notes: Notes) -> Part:
    url = part["image_url"]["url"]
    if not carries.images:
        notes.refuse("X-images", at)
    if role != "user":
        notes.refuse("X-image-role", at)
    if SOURCES.get(url.partition(":")[0], "other") not in carries.images:
        notes.refuse("X-image-source", at)
    if carries.image_types is not None and image_type(url) not in carries.image_types:
        notes.refuse("X-image-type", at)
    if "detail" not in part["image_url"] or carries.image_detail is None:
        return part
    notes.report(carries.image_detail, f"{at}.image_url.detail")
    return {"type": "image_url", "image_url": {"url": url}}
