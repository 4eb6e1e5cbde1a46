"""generate: the tuned model answers one prompt, or a whole file."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunebridge.cli.options import Json
from tunebridge.errors import DataError, TuneBridgeError

if TYPE_CHECKING:
    from tunebridge.data.example import Message


def add_to(app: typer.Typer) -> None:
    """Add this command to the tree."""
    app.command("generate", epilog='Example: tunebridge generate last "Fix typo in os.path docs."')(generate)


def generate(  # noqa: PLR0913  # each is an option of the command
    target: Annotated[str, typer.Argument(metavar="JOB|MODEL", help="Job id or `last`; with --backend a base model.")],
    prompt: Annotated[str | None, typer.Argument(help="What to ask.")] = None,
    backend: Annotated[str | None, typer.Option("--backend", "-b", help="Ask a base model on this backend.")] = None,
    system: Annotated[str | None, typer.Option(help="System message before the prompt.")] = None,
    input_: Annotated[Path | None, typer.Option("--input", help="JSONL rows with `prompt` or `messages`.")] = None,
    output: Annotated[Path | None, typer.Option(help="File for the answers, `{id, output}` per row.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens per answer at most.")] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 gives the same answer each time.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Let a tuned model answer: one prompt, or a whole file in one go."""
    from tunebridge.backend import GenerationParameters
    from tunebridge.cli import render
    from tunebridge.client import Client
    from tunebridge.data.example import Message

    if (prompt is None) == (input_ is None) or (input_ is not None) != (output is not None):
        raise TuneBridgeError("Give a prompt, or --input and --output together. See `tunebridge generate --help`.")
    parameters = GenerationParameters(max_tokens=max_tokens, temperature=temperature)
    before = [Message(role="system", content=system)] if system else []
    ids, prompts = _requests(input_) if input_ else ([0], [[Message(role="user", content=prompt)]])
    with render.waiting(f"{len(prompts)} prompt(s) are being answered ..."):
        asked = [[*before, *messages] for messages in prompts]
        answers = list(Client().generate(target, asked, parameters, backend=backend))
    rows = [{"id": id_, **answer.model_dump()} for id_, answer in zip(ids, answers, strict=True)]
    if output is not None:
        _write(output, rows)
        summary = {"rows": len(rows), "output": str(output), "tokens": sum(row["tokens"] or 0 for row in rows)}
        render.document(summary) if as_json else render.text(f"{len(rows)} answers written to {output}")
    elif as_json:
        render.document({key: value for key, value in rows[0].items() if key != "id"})
    else:
        render.raw(rows[0]["output"])


def _requests(path: Path) -> tuple[list[Any], list[list["Message"]]]:
    """Return the ids and prompts of a file; the last answer of a training row is left out."""
    ids: list[Any] = []
    prompts: list[list[Message]] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror}). Check --input.", file=path) from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            row = _request(line, path, number)
            ids.append(row.get("id", len(ids)))
            prompts.append(_messages(row, path, number))
    if not prompts:
        raise DataError("there are no rows. Add prompts, one JSON object per line.", file=path)
    return ids, prompts


def _request(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"not valid JSON: {error}. Mend the line.", file=path, line=number) from None
    if not isinstance(row, dict):
        raise DataError("a row is a JSON object. Mend the line.", file=path, line=number)
    return row


def _messages(row: dict[str, Any], path: Path, number: int) -> list["Message"]:
    from pydantic import ValidationError

    from tunebridge.data.example import Message

    if isinstance(row.get("prompt"), str):
        return [Message(role="user", content=row["prompt"])]
    try:
        messages = [Message.model_validate(message) for message in row["messages"]]
    except (KeyError, TypeError, ValidationError):
        raise DataError("a row has `prompt` or `messages`. Mend the line.", file=path, line=number) from None
    return messages[:-1] if messages and messages[-1].role == "assistant" else messages


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the answers in one step: the file is complete or not there."""
    partial = path.with_name(path.name + ".partial")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    partial.rename(path)
