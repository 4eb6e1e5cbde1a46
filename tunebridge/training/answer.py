"""Answers of a model on this machine, made by a process of their own, so that no caller has to load torch."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunebridge.backend import Backend, Generation, GenerationParameters
from tunebridge.data.example import Message
from tunebridge.errors import NotFound, ServiceUnavailable
from tunebridge.job import Job
from tunebridge.training.news import log_tail


def answer(
    prompts: Sequence[Sequence[Message]],
    parameters: GenerationParameters,
    *,
    base_model: str,
    adapter: Path | None = None,
    backend: str,
) -> Iterator[Generation]:
    """Yield one answer per prompt, in order, of a base model with or without an adapter.

    ServiceUnavailable, in the name of `backend`, with the end of the process's log when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="tunebridge-") as name:
        folder = Path(name)
        rows = [{"id": str(i), "messages": [_chat(m) for m in prompt]} for i, prompt in enumerate(prompts)]
        (folder / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        _run(folder, _arguments(folder, base_model, adapter, parameters), backend)
        for line in (folder / "answers.jsonl").read_text().split("\n"):
            if line:
                found = json.loads(line)
                known = {key: found[key] for key in ("output", "finish_reason", "tokens")}
                yield Generation.model_validate(known)


def answer_from_result(
    backend: Backend, target: Job | str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
) -> Iterator[Generation]:
    """Yield answers of a finished job, made on this machine with its downloaded adapter or model.

    UnsupportedFeature for a base model by name, NotFound where the job left no result.
    """
    name = backend.info.name
    if isinstance(target, str):
        raise backend.unsupported("generate with a base model by name")
    found = backend.artifacts(target)
    if not found:
        raise NotFound("the job left no result. Look at its log.", backend=name, operation="generate")
    with tempfile.TemporaryDirectory(prefix="tunebridge-") as folder:
        path = backend.download(target, found[0], Path(folder))
        whole = found[0].kind == "model"
        base, adapter = (str(path), None) if whole else (target.base_model, path)
        yield from answer(prompts, parameters, base_model=base, adapter=adapter, backend=name)


def request_body(prompts: Sequence[Sequence[Message]], parameters: GenerationParameters) -> dict[str, Any]:
    """Return what an endpoint that runs `tunebridge.training.generate` is asked."""
    chats = [{"messages": [_chat(turn.model_copy(update={"weight": None})) for turn in turns]} for turns in prompts]
    return {"inputs": chats, "parameters": parameters.model_dump()}


def read_answers(said: Mapping[str, Any]) -> list[Generation]:
    """Return the answers of such an endpoint."""
    return [Generation.model_validate(found) for found in said["answers"]]


def _arguments(folder: Path, base_model: str, adapter: Path | None, parameters: GenerationParameters) -> list[str]:
    options: dict[str, Any] = {
        "--base-model": base_model,
        "--input": folder / "requests.jsonl",
        "--output": folder / "answers.jsonl",
        "--max-tokens": parameters.max_tokens,
        "--temperature": parameters.temperature,
        "--seed": parameters.seed,
    }
    if adapter is not None:
        options["--adapter"] = adapter
    return [text for name, value in options.items() for text in (name, str(value))]


def _run(folder: Path, arguments: Sequence[str], backend: str) -> None:
    log = folder / "generate.log"
    command = [sys.executable, "-m", "tunebridge.training.generate", *arguments]
    try:
        with log.open("wb") as file:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=True)
    except subprocess.CalledProcessError as error:
        reason = log_tail(log, 3) or f"exit code {error.returncode}"
        raise ServiceUnavailable(reason, backend=backend, operation="generate") from error


def _chat(message: Message) -> dict[str, Any]:
    return message.model_dump(mode="json", exclude_none=True)
