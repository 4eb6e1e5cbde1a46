"""`python -m tunebridge.training.serve BASE_MODEL`: answers batches of prompts for as long as it is asked.

A line on standard input is `{"adapter", "requests", "parameters"}`; each answer is a line on standard output,
`{"number", "output", "finish_reason", "tokens"}`, as soon as its batch is done, and the last one `{"done": true}`. An
error is `{"error": {"type", "message"}}`. The base model is loaded once: it answers first, then an adapter is merged
into it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from tunebridge.errors import TuneBridgeError
from tunebridge.training.generate import Loaded, answer_all, load
from tunebridge.training.process import share_the_cores


class Host:
    """A base model in memory, with or without an adapter merged into it."""

    def __init__(self, base_model: str) -> None:
        self._base_model = base_model
        self._loaded: Loaded | None = None
        self._adapter: Path | None = None

    def model(self, adapter: Path | None) -> Loaded:
        """Return the model; only an adapter after another one, or the base after an adapter, loads it again."""
        if self._loaded is None or self._adapter not in (None, adapter):
            self._loaded, self._adapter = load(self._base_model, None), None
        if adapter is not None and self._adapter is None:
            from tunebridge.training.adapters import merged

            self._loaded = self._loaded._replace(model=merged(self._loaded.model, adapter).eval())
            self._adapter = adapter
        return self._loaded


def main() -> int:
    """Answer until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    host = Host(sys.argv[1])
    for line in sys.stdin:
        try:
            for said in _answers(host, json.loads(line)):
                _write(answers, said)
            _write(answers, {"done": True})
        except TuneBridgeError as error:
            _write(answers, {"error": {"type": type(error).__name__, "message": str(error)}})
    return 0


def _answers(host: Host, asked: dict[str, Any]) -> Any:
    adapter = Path(asked["adapter"]) if asked["adapter"] else None
    for number, answer in answer_all(host.model(adapter), asked["requests"], **asked["parameters"]):
        yield {"number": number, **answer}


def _write(answers: Any, said: dict[str, Any]) -> None:
    answers.write(json.dumps(said, ensure_ascii=False) + "\n")
    answers.flush()


if __name__ == "__main__":
    share_the_cores()
    sys.exit(main())
