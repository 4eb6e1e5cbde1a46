"""Feed the readers anything for a while: `python -m tests.fuzz.readers --minutes 10`.

Whatever a file holds, reading it ends with a report or a DataError, within a second and a bounded memory, and what
was found to be right is an Example. With `--atheris` bytes are made by libFuzzer's coverage feedback instead of
hypothesis (`pip install atheris`).
"""

import argparse
import contextlib
import resource
import sys
import tempfile
import time
from pathlib import Path

import hypothesis

from tests.fuzz.rows import files
from tunebridge.data.engine.batch import Side
from tunebridge.data.engine.run import Reading, run, sources_of
from tunebridge.data.example import Example
from tunebridge.errors import DataError

MAX_SECONDS = 5.0
"""A file of some hundred bytes that takes longer hangs, whatever else the machine does."""
MAX_MIB = 400
SETTINGS = hypothesis.settings(
    max_examples=500, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
)


class _Right:
    """Sees that every row that is said to be right is an Example in canonical form."""

    def write(self, side: Side, *, held_out: bool) -> None:
        for row in side.rows:
            Example.model_validate_json(row)


def read_anything(folder: Path, name: str, data: bytes) -> None:
    """Read one file; AssertionError where a promise is broken."""
    path = folder / name
    path.write_bytes(data)
    started = time.monotonic()
    with contextlib.suppress(DataError):
        report = run(Reading(sources_of(str(path)), max_problems=5), _Right())
        assert bool(report.errors) == any(problem.severity == "error" for problem in report.problems)
        assert report.rows == sum(report.kinds.values())
    assert time.monotonic() - started < MAX_SECONDS, name


def main() -> None:
    """Run until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.atheris:
            _with_atheris(Path(folder), arguments.minutes)
        else:
            _with_hypothesis(Path(folder), arguments.minutes, arguments.seed)


def _with_hypothesis(folder: Path, minutes: float, seed: int) -> None:
    end, count = time.monotonic() + 60 * minutes, 0
    while time.monotonic() < end:
        seed += 1

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=500, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(file=files())
        def once(file: tuple[str, bytes]) -> None:
            nonlocal count
            count += 1
            read_anything(folder, *file)

        once()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:,} files in {minutes:g} minutes, nothing broke; peak {peak:.0f} MiB")  # noqa: T201
    assert peak < MAX_MIB


def _with_atheris(folder: Path, minutes: float) -> None:
    import atheris  # type: ignore[import-not-found]  # optional, see above

    suffixes = (".jsonl", ".json", ".csv", ".jsonl.gz", ".parquet")

    def once(data: bytes) -> None:
        if data:
            read_anything(folder, "rows" + suffixes[data[0] % len(suffixes)], data[1:])

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={int(60 * minutes)}"], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
