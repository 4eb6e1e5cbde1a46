"""A run folder on a worker's own disk, copied from a place of fsspec and, while the first worker trains, back to it."""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from tunebridge.training.config import CANCEL_FILE, CHECKPOINTS_FOLDER, LOCK_FILE, RESULT_FILE
from tunebridge_ray.cluster.place import Place

PAUSE_SECONDS = 2.0
"""Time between two looks at what is new, here and there."""
LAST = ("state.json", RESULT_FILE)
"""Files that make a checkpoint, or the run, a whole one: they are copied behind all others."""


@contextmanager
def worked_in(place: Place, name: str, *, writes: bool) -> Iterator[Path]:
    """Give the folder to train in: the place's own where it is a shared folder, else a copy that is sent back."""
    if place.folder:
        yield place.folder
        return
    folder = Path(tempfile.gettempdir()) / f"tunebridge-{name}"
    shutil.rmtree(folder, ignore_errors=True)  # of a worker that was killed
    folder.mkdir(mode=0o700)
    try:
        for file in place.sizes():
            place.get(file, folder / file)
        with _sent_back(folder, place) if writes else nullcontext():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _sent_back(folder: Path, place: Place) -> Iterator[None]:
    mirror, ended = Mirror(folder, place), threading.Event()

    def keep_up() -> None:
        while not ended.wait(PAUSE_SECONDS):
            mirror.exchange()

    thread = threading.Thread(target=keep_up, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        mirror.exchange()


class Mirror:
    """Sends what is new of a folder to a place, and brings the request to stop from there."""

    def __init__(self, folder: Path, place: Place) -> None:
        self._folder, self._place = folder, place
        self._sent: dict[str, tuple[int, int]] = {name: self._stamp(name) for name in self._names()}

    def exchange(self) -> None:
        """Send new and changed files, remove checkpoints that are gone, and look for a request to stop."""
        names = self._names()
        for name in sorted(names, key=lambda name: (name.endswith(LAST), name)):
            with suppress(FileNotFoundError):  # an old checkpoint may go at any moment
                stamp = self._stamp(name)
                if self._sent.get(name) != stamp:
                    self._place.put(self._folder / name, name)
                    self._sent[name] = stamp
        for name in [name for name in self._sent if name not in names and name.startswith(f"{CHECKPOINTS_FOLDER}/")]:
            self._place.remove(name)
            del self._sent[name]
        if self._place.read(CANCEL_FILE) is not None:
            (self._folder / CANCEL_FILE).touch()

    def _names(self) -> list[str]:
        """Return the names of the files that are whole."""
        found = [path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file()]
        return [name for name in found if ".partial" not in name and name not in (LOCK_FILE, CANCEL_FILE)]

    def _stamp(self, name: str) -> tuple[int, int]:
        status = (self._folder / name).stat()
        return status.st_mtime_ns, status.st_size
