"""A Python function as a model: `file.py:function` takes the turns of a prompt and returns what it says."""

import asyncio
import hashlib
import importlib.util
import inspect
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebridge.backend import GenerationParameters
from tunebridge.errors import EvaluationError
from tunebridge.evaluation.answers import Answer, failure_of
from tunebridge.evaluation.models.model import Numbered, Patience, at_most
from tunebridge.evaluation.task import EvalRow


@dataclass(frozen=True)
class FunctionModel:
    """A function of a Python file: it takes a list of `{"role", "content"}` and returns a text.

    It may return `{"output", "finish_reason", "input_tokens", "output_tokens"}` instead, and what it raises is that
    row's error. An `async def` is called for several rows at once, any other function for one after the other.
    """

    path: Path
    name: str
    patience: Patience = Patience()

    @property
    def identity(self) -> Mapping[str, str]:
        """The function and the digest of its file: other code is another model."""
        try:
            digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        except OSError as error:
            raise EvaluationError(f"{self.path} cannot be read ({error.strerror}). Check --model.") from None
        return {"kind": "function", "file": str(self.path.absolute()), "function": self.name, "digest": digest}

    async def answers(
        self, rows: Sequence[EvalRow], parameters: GenerationParameters
    ) -> AsyncGenerator[Numbered, None]:
        """Yield the answers as they come."""
        function = load_function(self.path, self.name)
        most = self.patience.concurrency if inspect.iscoroutinefunction(function) else 1
        async for numbered in at_most(most, len(rows), lambda number: self._ask(function, rows[number])):
            yield numbered

    async def _ask(self, function: Callable[..., Any], row: EvalRow) -> Answer:
        turns = [turn.model_dump(mode="json", exclude_none=True) for turn in row.prompt]
        start = time.perf_counter()
        try:
            async with asyncio.timeout(self.patience.timeout_seconds):
                said = function(turns)
                if inspect.isawaitable(said):
                    said = await said
        except TimeoutError:
            return Answer(failure="timeout", error="no answer in time")
        except Exception as error:  # the user's function may raise anything, and other rows may still be answered
            return Answer(failure="error", error=f"{type(error).__name__}: {error}")
        return _answer(said, time.perf_counter() - start)


def load_function(path: Path, name: str) -> Callable[..., Any]:
    """Return a function of a Python file; EvaluationError where there is none, or the file cannot be run."""
    spec = importlib.util.spec_from_file_location(f"tunebridge_evaluated_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise EvaluationError(f"There is no Python file {path}. Give FILE.py:FUNCTION.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look a module up by its name
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # somebody else's code
        raise EvaluationError(f"{path} cannot be run: {type(error).__name__}: {error}. Mend the file.") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise EvaluationError(f"{path} has no function {name!r}. Check its name.")
    return function  # type: ignore[no-any-return]


def _answer(said: Any, seconds: float) -> Answer:
    if isinstance(said, str):
        return Answer(output=said, latency_seconds=seconds)
    try:
        known = {key: said.get(key) for key in ("output", "error", "input_tokens", "output_tokens")}
        failure = failure_of(said.get("finish_reason")) or ("error" if known["error"] else None)
        return Answer.model_validate({**known, "failure": failure, "latency_seconds": seconds})
    except (ValueError, AttributeError):
        return Answer(failure="error", error=f"the function returned {type(said).__name__}, not a text")
