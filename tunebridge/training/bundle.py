"""What a rented machine needs to train: this package's source, and a run folder with its rows.

A compute backend uploads both and starts `start_command` where the source lies; nothing else is asked of the machine
but Python and, to be quick, an image that has PyTorch.
"""

import gzip
import importlib.metadata
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tunebridge
from tunebridge.training.config import NANO, RANDOM, TRAIN_FILE, VALIDATION_FILE, RunConfig
from tunebridge.training.start import REQUIREMENTS_FILE

CORE_REQUIREMENTS = ("filelock", "orjson", "pydantic")
"""What the trainer imports of the core's own requirements."""
LEFT_OUT = ("__pycache__", "cli", "quickstart_data", "testing")
"""Folders of the package that no trainer needs."""


@dataclass(frozen=True)
class Bundle:
    """Two folders to upload, together or apart."""

    source: Path
    """Holds the package `tunebridge` and the list of what it requires; the same for every job with the same model."""
    run: Path
    """Holds `run.json`, `train.jsonl` and, where there are held-out rows, `validation.jsonl`."""


def write_bundle(folder: Path, run: RunConfig, rows: Path) -> Bundle:
    """Write source and run folder below `folder`; `rows` is the job's folder, in which its rows lie."""
    bundle = Bundle(folder / "source", folder / "run")
    for left in (bundle.source, bundle.run):  # an earlier attempt may have been cut short
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_source(bundle.source, with_nano=run.base_model in (NANO, RANDOM))
    write_run(bundle.run, run, rows)
    return bundle


def write_source(target: Path, *, with_nano: bool) -> None:
    """Write this package and the list of what it requires into a new folder; `with_nano`: the shipped model too."""
    package = Path(tunebridge.__file__).parent
    for path in _source_files(package, with_nano=with_nano):
        copy = target / package.name / path.relative_to(package)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (target / REQUIREMENTS_FILE).write_text("".join(f"{line}\n" for line in requirements()))


def write_run(target: Path, run: RunConfig, rows: Path) -> None:
    """Make a run folder under another name first, so that a folder of the right name is complete."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    run.write(partial)
    for name in (TRAIN_FILE, VALIDATION_FILE):
        if (rows / name).exists():
            (partial / name).hardlink_to(rows / name)
    partial.rename(target)


def start_command(run: str, work: str, results: str | None = None) -> list[str]:
    """Return the command that trains, to be started in the source folder (or with it in PYTHONPATH).

    `run`: where the run folder lies on the machine; `work`: a folder that outlives an interruption, in which an
    interrupted run goes on; `results`: where the vendor collects results from, unless that is `work`.
    """
    return ["python", "-m", "tunebridge.training.start", run, work, *(["--results", results] if results else [])]


def archive(folder: Path, target: Path) -> Path:
    """Pack a folder's files as `.tar.gz`, the same bytes for the same files, and return the archive."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            tar.add(path, path.relative_to(folder).as_posix(), filter=_anonymous)
    return target


def requirements() -> list[str]:
    """Return what the trainer requires beyond Python, as this installation declares it."""
    declared = importlib.metadata.requires("tunebridge") or []
    wanted = [
        line for line in declared if _name(line) in CORE_REQUIREMENTS or re.search(r"""extra == ['"]local""", line)
    ]
    return sorted(line.split(";")[0].strip() for line in wanted)


def _source_files(package: Path, *, with_nano: bool) -> Iterator[Path]:
    left_out = {*LEFT_OUT, *(() if with_nano else ("nano",))}
    for path in sorted(package.rglob("*")):
        if path.is_file() and not left_out.intersection(path.relative_to(package).parts):
            yield path


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def _name(requirement: str) -> str:
    found: Sequence[str] = re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)
    return found[0].lower()
