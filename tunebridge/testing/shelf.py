"""State on disk that several processes share, and faults that can be switched on: what every emulator keeps."""

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock


class Shelf:
    """One JSON document in a folder that only its owner can read; a killed process leaves the last whole one."""

    def __init__(self, folder: Path, *, empty: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self._empty = empty or {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """Give the document to read and change; it is written back in one step, also after an exception."""
        path = self.folder / "service.json"
        with filelock.FileLock(self.folder / "service.lock"):
            state = json.loads(path.read_text()) if path.exists() else json.loads(json.dumps(self._empty))
            try:
                yield state
            finally:
                partial = path.with_suffix(".partial")
                with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
                    json.dump(state, file)
                partial.rename(path)


class Faults:
    """Faults by name, each for so many calls or for a share of all calls drawn from a seed."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def inject(self, fault: str, *, times: int = 1, share: float = 1.0, seed: int = 0) -> None:
        """Let the next `times` calls that the fault concerns go wrong, or of those a `share` drawn from `seed`."""
        with self._shelf.opened() as state:
            state.setdefault("faults", {})[fault] = {"times": times, "share": share, "seed": seed}

    def takes(self, fault: str) -> bool:
        """Whether the call at hand goes wrong in this way; counts it."""
        with self._shelf.opened() as state:
            return take(state, fault)


def take(state: dict[str, Any], fault: str) -> bool:
    """Do what `Faults.takes` does inside an opened Shelf."""
    known = state.get("faults", {}).get(fault)
    if not known or known["times"] <= 0:
        return False
    known["times"] -= 1
    return bool(random.Random(f"{known['seed']}/{fault}/{known['times']}").random() < known["share"])
