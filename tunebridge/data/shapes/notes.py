"""What happens to a row on its way to a service: stable codes, and the Shape that keeps count of them.

A part of a row is *lost* (`L-`) when the rest is a true but poorer row. The row is *refused* (`X-`) when the rest would
teach something that the row does not say, or when the service would not take it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from tunebridge.data.canonical import kind_of
from tunebridge.data.example import Kind
from tunebridge.data.targets import CanonicalRow, Converted, Loss

CODES = {
    "L-call-ids": "ids of tool calls are dropped; calls and results are paired by their order",
    "L-call-ids-renamed": "ids of tool calls are replaced by ids of the form that the service takes",
    "L-developer": "a developer's turn becomes a system turn",
    "L-id": "the row's id is dropped",
    "L-image-detail": "the detail at which an image is looked at is dropped",
    "L-label": "the label is dropped: rows of this shape have none",
    "L-metadata": "the row's metadata is dropped",
    "L-name": "the name of a turn's speaker is dropped",
    "L-parallel-calls": "whether tools may be called in parallel is dropped",
    "L-parts-joined": "several parts of text become one text, joined by newlines",
    "L-reasoning": "the reasoning before an answer is dropped; only the answer is taught",
    "L-reference": "the reference is dropped: no grader sees it",
    "L-rendered": "the conversation becomes one text, with the speakers as words in it",
    "L-split": "the split is not in the row any more; the file that it goes into says it",
    "L-system-in-prompt": "the system turn becomes the beginning of the prompt",
    "L-system-merged": "system turns further down are moved into one at the beginning",
    "L-template": "kept in the row, but many chat templates leave it out or refuse it",
    "L-tool-extra": "keys of a tool's declaration beyond name, description and parameters are dropped",
    "L-tool-schema": "keywords of a tool's parameters that the service does not know are dropped",
    "L-trailing-turns": "turns after the last trained answer are dropped",
    "L-weight-untrained": "the weight of a turn that is never trained in this shape is dropped",
    "X-alternation": "user and assistant do not alternate, as the service wants; merge turns that follow each other",
    "X-answer-turns": "an answer is not one assistant's turn; shorten the pair, or move turns into the context",
    "X-arguments": "a call's arguments are not the text of a JSON object; mend them",
    "X-empty-answer": "an assistant's turn is empty; fill it or remove it",
    "X-empty-turn": "a turn has no content; fill it or remove it",
    "X-first-turn": "the service takes conversations that begin with a user's turn only; remove what is before it",
    "X-image-count": "a row has more images than the service takes; leave some out, or make several rows of it",
    "X-image-role": "the service takes images in a user's turn only; move the image there",
    "X-image-size": "an image is larger than the service takes; make it smaller",
    "X-image-source": "the service cannot read images from there; move them to where it can",
    "X-image-type": "the image's type is not one that the service takes, or its name does not end in it; convert it",
    "X-images": "rows of this shape cannot carry images; leave the row out or choose another target",
    "X-kind": "rows of this kind cannot be sent in this shape; choose a target of the row's kind",
    "X-last-turn": "the conversation does not end with the turn that the service wants last; complete or cut it",
    "X-misplaced": "a key stands in a turn of a role that cannot have it; remove it",
    "X-mixed": "a text has no preference pair and no tools; make two rows of it",
    "X-system-later": "the service takes a system turn at the beginning only; merge them",
    "X-tool-declaration": "a tool is not declared as a function with a name; mend the declaration",
    "X-tool-result": "a tool's result names no call that came before it; mend its tool_call_id",
    "X-tools": "rows of this shape cannot carry tools; leave the row out or choose another target",
    "X-weight-fraction": "the service cannot train a turn with a share of its loss; use weights 0 and 1",
    "X-weight-zero": "the service trains every answer of a conversation; cut the row before those that are left out",
}
"""Code -> what happens, for people; the codes are stable."""

Rows = tuple[dict[str, Any], ...]


class Refusal(Exception):  # not an error: it carries a refusal out of a builder
    """The row cannot be sent; `loss` says why."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss.code)
        self.loss = loss


class Notes:
    """Collects what a row loses while it is built."""

    __slots__ = ("losses",)

    def __init__(self) -> None:
        self.losses: list[Loss] = []

    def report(self, code: str | None, path: str | None = None) -> None:
        """Note a loss, or refuse the row, as the code says. None stands for what is carried exactly."""
        if code is None:
            return
        if code.startswith("X-"):
            self.refuse(code, path)
        loss = Loss(code, CODES[code], path)
        if loss not in self.losses:
            self.losses.append(loss)

    def refuse(self, code: str, path: str | None = None) -> NoReturn:
        """End the conversion."""
        raise Refusal(Loss(code, CODES[code], path))


@dataclass(frozen=True)
class Shape:
    """One shape of row: which kind of row it takes and how it is built."""

    kind: Kind
    build: Callable[[CanonicalRow, Notes], Rows]
    """Return the row in this shape, and report what it cannot carry."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """Kinds for a Target."""
        return frozenset({self.kind})

    def convert(self, row: CanonicalRow) -> Converted:
        """Return what becomes of a canonical row; rows of other kinds are refused."""
        notes = Notes()
        try:
            if kind_of(row) != self.kind:
                notes.report("X-kind")
            return Converted(self.build(row, notes), tuple(notes.losses))
        except Refusal as refusal:
            return Converted((), refused=refusal.loss)
