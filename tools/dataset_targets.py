"""The reference of dataset targets: a row per feature, really sent through each target."""

import importlib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunebridge.data.example import Example
from tunebridge.data.shapes.limits import load_unverified
from tunebridge.data.shapes.notes import CODES
from tunebridge.data.targets import Converted, Target

Row = dict[str, Any]
ROOT = Path(__file__).parent.parent

ASKED: Row = {"role": "user", "content": "Which colour?"}
RED: Row = {"role": "assistant", "content": "Red."}
BLUE: Row = {"role": "assistant", "content": "Blue."}
SYSTEM: Row = {"role": "system", "content": "Be short."}
SCHEMA: Row = {"type": "object", "properties": {"at": {"type": "string"}}}


def plain_row(kind: str) -> Row:
    """Return the plainest row of a kind."""
    if kind == "text":
        return {"text": "Ball 1 is red."}
    if kind == "preference":
        return {"messages": [ASKED], "preferred": [RED], "rejected": [BLUE]}
    if kind == "kto":
        return {"messages": [ASKED, RED], "label": True}
    return {"messages": [ASKED] if kind == "prompt_only" else [ASKED, RED]}


def _before(*turns: Row) -> Callable[[Row], Row]:
    return lambda row: {**row, "messages": [*turns, *row["messages"]]}


def _beside(**keys: Any) -> Callable[[Row], Row]:
    return lambda row: {**row, **keys}


def _asked(**keys: Any) -> Callable[[Row], Row]:
    return lambda row: {**row, "messages": [{**ASKED, **keys}, *row["messages"][1:]]}


def _answer(**keys: Any) -> Callable[[Row], Row]:
    def change(row: Row) -> Row:
        if "preferred" in row:
            return {**row, "preferred": [{**RED, **keys}]}
        return {**row, "messages": [*row["messages"][:-1], {**RED, **keys}]}

    return change


def _system_later(row: Row) -> Row:
    before = [ASKED, RED, SYSTEM, ASKED] if "preferred" in row else [ASKED, SYSTEM]
    return {**row, "messages": [*before, *row["messages"][1:]]}


def _after(turn: Row) -> Callable[[Row], Row]:
    return lambda row: {**row, "messages": [*row["messages"], turn]}


def _tools(*names: str, **function: Any) -> Callable[[Row], Row]:
    """Declare a function for each name, call them in one turn and give their results."""

    def change(row: Row) -> Row:
        declared = [{"type": "function", "function": {"name": n, "parameters": SCHEMA, **function}} for n in names]
        calls = [
            {"id": f"id{number:07}", "type": "function", "function": {"name": n, "arguments": '{"at": "sky"}'}}
            for number, n in enumerate(names)
        ]
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "red"} for call in calls]
        turns = [ASKED, {"role": "assistant", "tool_calls": calls, "weight": 0}, *results]
        if "preferred" in row or len(row["messages"]) == 1:
            return {**row, "messages": [*turns, *([] if "preferred" in row else [ASKED])], "tools": declared}
        turns[1].pop("weight")
        return {**row, "messages": [*turns, *row["messages"][1:]], "tools": declared}

    return change


def _image(url: str, **keys: Any) -> Callable[[Row], Row]:
    part = {"type": "image_url", "image_url": {"url": url, **keys}}
    return _asked(content=[{"type": "text", "text": "Which colour?"}, part])


WEB, DATA, GS, S3 = "https://a.example/b.png", "data:image/png;base64,AAAA", "gs://bucket/b.png", "s3://bucket/b.png"
CHAT = frozenset({"sft", "preference", "kto", "prompt_only"})
ANSWERED = frozenset({"sft", "preference", "kto"})
ALL = CHAT | {"text"}

Feature = tuple[str, frozenset[str], Callable[[Row], Row]]
FEATURES: dict[str, Feature] = {
    "plain": ("a plain row", ALL, lambda row: row),
    "system": ("a system turn at the beginning", CHAT, _before(SYSTEM)),
    "system_later": ("a system turn further down", ANSWERED, _system_later),
    "developer": ("a developer's turn at the beginning", CHAT, _before({**SYSTEM, "role": "developer"})),
    "multi_turn": ("several questions and answers", ANSWERED, _before(ASKED, RED)),
    "weight_zero": ("an earlier answer with weight 0", CHAT, _before(ASKED, {**RED, "weight": 0})),
    "weight_fraction": ("an answer with weight 0.5", ANSWERED, _answer(weight=0.5)),
    "weight_user": ("a user's turn with weight 1", CHAT, _asked(weight=1)),
    "name": ("the name of a speaker", CHAT, _asked(name="ada")),
    "text_parts": ("a content of several texts", CHAT, _asked(content=[{"type": "text", "text": t} for t in "ab"])),
    "tools": ("tools, a call and its result", CHAT, _tools("look")),
    "parallel_calls": ("two calls in one turn", CHAT, _tools("look", "listen")),
    "tool_strict": ("`strict` in a tool's declaration", CHAT, _tools("look", strict=True)),
    "tool_keyword": ("`$defs` in a tool's parameters", CHAT, _tools("look", parameters={**SCHEMA, "$defs": {}})),
    "parallel_tool_calls": ("`parallel_tool_calls` of the row", CHAT, _beside(parallel_tool_calls=False)),
    "image_web": ("an image at an https address", CHAT, _image(WEB)),
    "image_data": ("an image as base64", CHAT, _image(DATA)),
    "image_gs": ("an image at gs://", CHAT, _image(GS)),
    "image_s3": ("an image at s3://", CHAT, _image(S3)),
    "reasoning": ("reasoning before an answer", ANSWERED, _answer(reasoning="Roses are.")),
    "empty_answer": ("an empty answer", ANSWERED, _answer(content="")),
    "empty_question": ("an empty question", CHAT, _asked(content="")),
    "two_questions": ("two user's turns in a row", CHAT, _before(ASKED)),
    "question_last": ("a question at the end", frozenset({"sft"}), _after(ASKED)),
    "reference": ("`reference`", ALL, _beside(reference="Red.")),
    "metadata": ("`metadata`", ALL, _beside(metadata={"source": "sky"})),
    "id": ("`id`", ALL, _beside(id="row-1")),
    "split": ("`split`", ALL, _beside(split="train")),
}
"""Feature -> what it is, the kinds of row that can have it, and how a plain row gets it."""
DETAIL = "image_detail"
HOOK = "tunebridge_dataset_targets"


def plugin_modules() -> list[Any]:
    """Return the modules that the project registers as plugins, installed or not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [importlib.import_module(name) for name in project["entry-points"]["tunebridge"].values()]


def every_target() -> list[Target]:
    """Return the targets of every plugin of the project."""
    return [target for module in plugin_modules() if hasattr(module, HOOK) for target in getattr(module, HOOK)()]


class Cell(NamedTuple):
    """A feature on a target: the row that has it, and what became of it."""

    feature: str
    row: Row
    converted: Converted


def cells(target: Target) -> Iterator[Cell]:
    """Yield every feature that the target's rows can have."""
    (kind,) = target.kinds
    for feature, (_, kinds, change) in FEATURES.items():
        if kind in kinds:
            yield _cell(feature, change, target)
    if kind in CHAT:
        tried = [_cell(DETAIL, _image(url, detail="low"), target) for url in (WEB, DATA, GS, S3)]
        yield next((cell for cell in tried if cell.converted.refused is None), tried[0])


def _cell(feature: str, change: Callable[[Row], Row], target: Target) -> Cell:
    (kind,) = target.kinds
    row = Example.model_validate(change(plain_row(kind))).to_json()
    return Cell(feature, row, target.convert(row))


def verdict(converted: Converted) -> str:
    """Return `exact`, or the codes of what is lost or why the row is refused."""
    if converted.refused is not None:
        return converted.refused.code
    return ", ".join(dict.fromkeys(loss.code for loss in converted.losses)) or "exact"


def page() -> str:
    """Return the page of reference."""
    backends: dict[str, list[Target]] = {}
    for target in every_target():
        backends.setdefault(target.backend, []).append(target)
    unverified: dict[str, dict[str, str]] = {}
    for module in (module for module in plugin_modules() if hasattr(module, HOOK)):
        unverified.update(load_unverified(module.__name__))
    parts = [
        "# Dataset targets\n\nWritten by `make docs` from conversions that were made. What becomes of a feature of a "
        "row on each service: `exact` (the row can be read back unchanged), the code of what is lost (`L-`), or why "
        "the row is refused (`X-`). A cell with `?` rests on no document; the reason stands below its table.",
        _codes(),
    ]
    parts += [_backend(name, targets, unverified) for name, targets in backends.items()]
    return "\n\n".join(parts) + "\n"


def _codes() -> str:
    rows = [f"| `{code}` | {message} |" for code, message in sorted(CODES.items())]
    return "## Codes\n\n| code | what happens |\n|---|---|\n" + "\n".join(rows)


def _backend(name: str, targets: list[Target], unverified: Mapping[str, Mapping[str, str]]) -> str:
    columns = {target.name: {cell.feature: cell.converted for cell in cells(target)} for target in targets}
    marks = {
        target.name: {**unverified.get(name, {}), **unverified.get(f"{name}/{target.name}", {})} for target in targets
    }
    titles = {**{feature: title for feature, (title, _, _) in FEATURES.items()}, DETAIL: "the detail of an image"}
    lines = [f"| | {' | '.join(f'`{column}`' for column in columns)} |", f"|---|{'---|' * len(columns)}"]
    for feature, title in titles.items():
        row = [_shown(found.get(feature), feature in marks[column]) for column, found in columns.items()]
        lines.append(f"| {title} | {' | '.join(row)} |")
    doubts = [
        (f"{titles[feature]} (`{column}`)", reason)
        for column, reasons in marks.items()
        for feature, reason in reasons.items()
        if feature in columns[column]
    ]
    notes = [f"- `?` {', '.join(t for t, r in doubts if r == reason)}: {reason}." for reason in dict(doubts).values()]
    limits = [f"- `{target.name}` takes `{', '.join(target.kinds)}` rows; {_limits(target)}." for target in targets]
    return "\n\n".join(
        [f"## {name}", "\n".join(limits), "\n".join(lines), *(["\n".join(dict.fromkeys(notes))] if notes else [])]
    )


def _shown(converted: Converted | None, is_unverified: bool) -> str:
    if converted is None:
        return ""
    return verdict(converted) + (" ?" if is_unverified else "")


def _limits(target: Target) -> str:
    fields = target.limits.model_dump(exclude_none=True)
    listed = [f"{name} {value:,}" for name, value in fields.items() if isinstance(value, int | float)]
    kept = "several files" if target.may_split else "one file"
    mark = ", begins with a byte order mark" if target.byte_order_mark else ""
    source = f"[{target.limits.confidence}, {target.limits.as_of}]({target.limits.source_url})"
    return f"{', '.join(listed) or 'no limits known'}; {kept}{mark} ({source})"
