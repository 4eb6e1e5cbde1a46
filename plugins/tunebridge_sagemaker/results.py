"""What a job left in its bucket: `model.tar.gz`, unpacked without trust."""

import json
import shutil
import tarfile
import tempfile
from pathlib import Path

from tunebridge import digests
from tunebridge.errors import StoreError
from tunebridge.training.config import ADAPTER_FOLDER, MODEL_FOLDER, RESULT_FILE

MAX_BYTES = 200 * 2**30
MAX_FILES = 10_000


def unpack(archive: Path, target: Path) -> None:
    """Unpack plain files only, none outside `target`, and no more than the bounds; StoreError otherwise."""
    size = 0
    with tarfile.open(archive, "r:gz") as tar:
        for number, member in enumerate(tar, start=1):
            size += member.size
            is_plain = (member.isfile() or member.isdir()) and not member.name.startswith("/")
            if not is_plain or number > MAX_FILES or size > MAX_BYTES:
                raise _suspicious(archive, member.name)
            try:
                tar.extract(member, target, filter="data")
            except tarfile.FilterError:
                raise _suspicious(archive, member.name) from None


def take(archive: Path, folder: Path, expected_digest: str | None) -> Path:
    """Unpack an archive's adapter or model into a folder, check it against the trainer's digest, return where it is."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked-") as name:
        unpack(archive, Path(name))
        found = next(
            (Path(name) / kind for kind in (ADAPTER_FOLDER, MODEL_FOLDER) if (Path(name) / kind).is_dir()), None
        )
        if found is None:
            raise StoreError(f"{archive.name} holds neither an adapter nor a model. Look at the job's log.")
        said = json.loads((Path(name) / RESULT_FILE).read_text())["artifact_digest"]
        if digests.of_folder(found) != said or expected_digest not in (None, said):
            raise StoreError(f"{found.name} differs from what was trained (digest). Download it again.")
        target = folder / found.name
        if target.exists():
            raise StoreError(f"{target} exists already. Choose another folder.")
        shutil.move(found, target)
    return target


def take_all(archive: Path, folder: Path) -> Path:
    """Unpack an archive that a recipe of the catalogue left, which says no digest, and return where it is."""
    target = folder / MODEL_FOLDER
    if target.exists():
        raise StoreError(f"{target} exists already. Choose another folder.")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked-") as name:
        unpack(archive, Path(name) / MODEL_FOLDER)
        shutil.move(Path(name) / MODEL_FOLDER, target)
    return target


def _suspicious(archive: Path, member: str) -> StoreError:
    return StoreError(
        f"{archive.name} was not unpacked: {member!r} is no plain file in it, or it is too large. Look at it by hand."
    )
