"""Digests of files and folders: `sha256:` and the hex digest."""

import hashlib
from pathlib import Path

from tunebridge.errors import StoreError


def of_file(path: Path) -> str:
    """Return the digest of a file's bytes."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def of_folder(folder: Path) -> str:
    """Return the digest over the sorted list of relative paths and file digests below a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {of_file(path)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def require(folder: Path, digest: str | None) -> Path:
    """Return a folder that was downloaded; StoreError when it is not what its digest says."""
    if digest is not None and of_folder(folder) != digest:
        raise StoreError(f"{folder} differs from what was trained (digest). Look at the disk, then download again.")
    return folder
