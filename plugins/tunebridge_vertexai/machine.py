"""Runs on the rented machine: `python machine.py FOLDER`, where FOLDER is the job's folder in Cloud Storage, mounted.

The trainer works on the machine's own disk: a mounted bucket knows no locks, and shows a file that is being written
only once it is closed. Every few seconds its events and new checkpoints are copied to the bucket; a machine that
takes over from an interrupted one begins with what lies there. Only the standard library, until the source is there.
"""

import shutil
import sys
import tarfile
import tempfile
import threading
from pathlib import Path

SYNC_SECONDS = 10.0
EVENTS, CHECKPOINTS = "events.jsonl", "checkpoints"


def main(folder: Path) -> int:
    """Return the trainer's exit code, 1 where it was stopped before there was a result."""
    scratch = Path(tempfile.mkdtemp(prefix="tunebridge-"))
    source, work, saved = scratch / "source", scratch / "work", folder / "work"
    with tarfile.open(folder / "source.tar.gz") as packed:
        packed.extractall(source, filter="data")
    restore(saved, work)
    sys.path.insert(0, str(source))
    from tunebridge.training import start

    done = threading.Event()
    thread = threading.Thread(target=keep_saving, args=(work, saved, done), daemon=True)
    thread.start()
    sys.argv = ["start", str(folder / "run"), str(work), "--results", str(folder / "results")]
    code = start.main()
    done.set()
    thread.join()
    save(work, saved)
    return code or int(not (work / "result.json").exists())


def keep_saving(work: Path, saved: Path, done: threading.Event) -> None:
    """Save what is new until the trainer is done."""
    while not done.wait(SYNC_SECONDS):
        save(work, saved)


def save(work: Path, saved: Path) -> None:
    """Copy the events, and the newest checkpoint as one file, which is there as a whole or not at all."""
    (saved / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    if (work / EVENTS).exists():
        shutil.copyfile(work / EVENTS, saved / EVENTS)
    newest = max((work / CHECKPOINTS).glob("step-*"), default=None)
    if newest is None or (saved / CHECKPOINTS / f"{newest.name}.tar").exists():
        return
    packed = work.parent / "checkpoint.tar"
    try:
        with tarfile.open(packed, "w") as tar:
            tar.add(newest, newest.name)
    except FileNotFoundError:  # the trainer has removed it meanwhile; there is a newer one
        return
    old = list((saved / CHECKPOINTS).iterdir())
    shutil.copyfile(packed, saved / CHECKPOINTS / f"{newest.name}.tar")
    for path in old:
        path.unlink()


def restore(saved: Path, work: Path) -> None:
    """Take over what an interrupted machine left."""
    work.mkdir(parents=True, exist_ok=True)
    if (saved / EVENTS).exists():
        shutil.copyfile(saved / EVENTS, work / EVENTS)
    for path in (saved / CHECKPOINTS).glob("step-*.tar"):
        with tarfile.open(path) as tar:
            tar.extractall(work / CHECKPOINTS, filter="data")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
