"""A model folder, the shipped model or a hub id, with or without an adapter, on this machine.

Models that share a base model share a process, which loads the base once.
"""

import asyncio
import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import weakref
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tunebridge.backend import GenerationParameters
from tunebridge.errors import EvaluationError, MissingDependency
from tunebridge.evaluation.answers import Answer, failure_of
from tunebridge.evaluation.models.model import Numbered
from tunebridge.evaluation.task import EvalRow
from tunebridge.training.sources import locate


@dataclass(frozen=True)
class LocalModel:
    """A base model on this machine, and perhaps an adapter's folder."""

    host: "Host"
    adapter: Path | None = None

    @property
    def identity(self) -> Mapping[str, str]:
        """The names and the state of the files, so that weights that changed are another model."""
        found = {"kind": "local model", "base_model": self.host.base_model, "files": _state(locate_folder(self.host))}
        return {**found, "adapter": str(self.adapter), "adapter_files": _state(self.adapter)} if self.adapter else found

    async def answers(
        self, rows: Sequence[EvalRow], parameters: GenerationParameters
    ) -> AsyncGenerator[Numbered, None]:
        """Yield the answers as their batches are done."""
        requests = [request(row) for row in rows]
        answers = self.host.ask(self.adapter, requests, parameters)
        while (numbered := await asyncio.to_thread(next, answers, None)) is not None:
            yield numbered


def request(row: EvalRow) -> dict[str, Any]:
    """Return a row as `tunebridge.training.generate` takes it."""
    turns = [turn.model_dump(mode="json", exclude_none=True) for turn in row.prompt]
    return {"messages": turns, **({"tools": list(row.tools)} if row.tools else {})}


class Host:
    """A base model in a process of its own, started when it is first asked; the process ends with the object."""

    def __init__(self, base_model: str) -> None:
        self.base_model = base_model
        """`tunebridge/nano`, a model folder, or a hub id."""
        self._process: subprocess.Popen[str] | None = None

    def ask(
        self, adapter: Path | None, requests: Sequence[Mapping[str, Any]], parameters: GenerationParameters
    ) -> Iterator[Numbered]:
        """Yield the answers as their batches are done; EvaluationError where the model cannot answer."""
        process = self._running()
        assert process.stdin
        assert process.stdout
        asked = {"adapter": adapter and str(adapter), "requests": requests, "parameters": parameters.model_dump()}
        with suppress(BrokenPipeError):  # then it has said why in its log
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            said = json.loads(line)
            if "done" in said:
                return
            if "error" in said:
                raise EvaluationError(said["error"]["message"])
            failure = failure_of(said["finish_reason"])
            yield said["number"], Answer(output=said["output"], failure=failure, output_tokens=said["tokens"])
        raise self._broken()

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            if importlib.util.find_spec("torch") is None:
                raise MissingDependency("torch", extra="local")
            self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tunebridge.training.serve", self.base_model],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                encoding="utf-8",
            )
            self._end = weakref.finalize(self, _end, self._process, self._log)
        return self._process

    def _broken(self) -> EvaluationError:
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().split("\n")[-1]
        self._end()
        return EvaluationError(
            f"The process that answers for {self.base_model} has ended: {said or 'it was killed'}. Run it again; what "
            f"was answered is kept."
        )


def locate_folder(host: Host) -> Path | None:
    """Return the folder of a host's base model; None for a hub id."""
    return locate(host.base_model).folder


def template_of(folder: Path | None) -> str | None:
    """Return the chat template that stands in a model's or an adapter's folder."""
    if folder is None:
        return None
    with suppress(OSError):
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
        return found if isinstance(found, str) else None
    return None


def _state(folder: Path | None) -> str:
    """Return a digest of names, sizes and times of change of a folder's files; empty where there is no folder."""
    if folder is None:
        return ""
    found = [(p.relative_to(folder).as_posix(), p.stat()) for p in sorted(folder.rglob("*")) if p.is_file()]
    listed = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:32]


def _end(process: "subprocess.Popen[str]", log: IO[bytes]) -> None:
    """Let a process go: it ends when nobody can ask any more."""
    for pipe in (process.stdin, process.stdout):
        with suppress(BrokenPipeError):  # it may have died with a question unread
            if pipe:
                pipe.close()
    process.terminate()
    process.wait()
    log.close()
