"""From a job's data section to its Dataset."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tunebridge.data.dataset import Dataset
from tunebridge.data.engine.run import Progress, Reading, sources_of
from tunebridge.data.engine.split import Splitter
from tunebridge.data.library import Library
from tunebridge.data.reading.readers import READERS, Reader
from tunebridge.spec import DataSpec


def load_dataset(
    data: DataSpec,
    *,
    seed: int = 0,
    readers: Sequence[Reader] = (),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Read, convert, check and split the job's rows.

    The canonical rows are kept below `folder`, so that the next time nothing is read but the files' digest; without
    one they live as long as the process. DataError names the first problems with file, line, code and fix; warnings
    stay in `Dataset.problems`.
    """
    return Library(folder or _temporary()).load(reading_of(data, seed=seed, readers=readers), progress=progress)


def reading_of(data: DataSpec, *, seed: int = 0, readers: Sequence[Reader] = ()) -> Reading:
    """Return what the data section asks for."""
    share = data.validation if isinstance(data.validation, float) else None
    return Reading(
        train=sources_of(data.train),
        validation=sources_of(data.validation) if not isinstance(data.validation, float) else (),
        format=data.format,
        columns=data.columns or {},
        readers=(*READERS, *readers),
        splitter=Splitter(share, seed, data.group, data.stratify) if share is not None else None,
    )


@cache
def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tunebridge-data-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
