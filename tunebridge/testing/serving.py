"""Tuned models behind an emulator's endpoints: processes that answer a line of JSON with a line of JSON."""

import json
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Servers:
    """Processes by name, each started when it is first asked; they end with this process."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._turn = threading.Lock()

    def ask(self, name: str, command: Sequence[str], log: Path, asked: Any) -> dict[str, Any]:
        """Return a server's answer, `{"ok": ...}` or `{"error": ...}`; `command` starts it where it does not run."""
        with self._turn:
            process = self._processes.get(name) or self._start(name, command, log)
            assert process.stdin
            assert process.stdout
            try:
                process.stdin.write(json.dumps(asked) + "\n")
                process.stdin.flush()
            except BrokenPipeError:  # it ended while it was starting
                return self._gone(name)
            line = process.stdout.readline()
            said: dict[str, Any] = json.loads(line) if line else self._gone(name)
            return said

    def end(self, name: str) -> None:
        """End a server; one that does not run is no error."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.communicate()

    def end_all(self) -> None:
        """End every server."""
        for name in list(self._processes):
            self.end(name)

    def _start(self, name: str, command: Sequence[str], log: Path) -> "subprocess.Popen[str]":
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with log.open("wb") as file:
            pipe = subprocess.PIPE
            self._processes[name] = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=file, text=True)
        return self._processes[name]

    def _gone(self, name: str) -> dict[str, Any]:
        self.end(name)
        return {"error": "the container ended"}
