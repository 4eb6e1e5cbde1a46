"""Where a run folder lies: a folder that every machine reaches, or a place of fsspec."""

from pathlib import Path
from typing import Any


class Place:
    """A folder of a file system that fsspec knows; names are relative to it."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.url = url
        self._files: Any
        self._files, self._path = url_to_fs(url)

    @property
    def folder(self) -> Path | None:
        """The folder itself where it is one of this machine's file system, shared with the others; else None."""
        return Path(self._path) if self.url.startswith(("/", "file://")) else None

    def read(self, name: str, start: int = 0) -> bytes | None:
        """Return a file's bytes from `start` on, None where there is no such file."""
        self._files.invalidate_cache()
        path = f"{self._path}/{name}"
        try:
            if start and self._files.size(path) <= start:
                return b""
            found: bytes = self._files.cat_file(path, start=start or None)
        except FileNotFoundError:
            return None
        return found

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        self._files.makedirs(self._path, exist_ok=True)
        self._files.pipe_file(f"{self._path}/{name}", content)

    def sizes(self, below: str = "") -> dict[str, int]:
        """Return the sizes of the files below a folder, by name."""
        self._files.invalidate_cache()
        root = f"{self._path}/{below}".rstrip("/")
        try:
            found = self._files.find(root, detail=True)
        except FileNotFoundError:
            return {}
        return {path[len(self._path) :].lstrip("/"): int(info["size"] or 0) for path, info in found.items()}

    def put(self, source: Path, name: str) -> None:
        """Copy a file of this machine to the place."""
        target = f"{self._path}/{name}"
        self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(source), target)

    def get(self, name: str, target: Path) -> None:
        """Copy a file of the place to this machine."""
        target.parent.mkdir(parents=True, exist_ok=True)
        self._files.get_file(f"{self._path}/{name}", str(target))

    def remove(self, name: str = "") -> None:
        """Remove a file or a folder, or the whole place; one that is gone is no error."""
        try:
            self._files.rm(f"{self._path}/{name}".rstrip("/"), recursive=True)
        except FileNotFoundError:
            return

    def for_ray(self, name: str) -> dict[str, Any]:
        """Return where Ray Train keeps its own notes, as arguments of its RunConfig."""
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        return {"storage_path": f"{self._path}/{name}", "storage_filesystem": PyFileSystem(FSSpecHandler(self._files))}
