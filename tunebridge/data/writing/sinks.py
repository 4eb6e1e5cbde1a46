"""Where the engine's rows go that were converted on the way: into counts, and into a service's files."""

from collections.abc import Sequence
from pathlib import Path

from tunebridge.data.engine.batch import Side
from tunebridge.data.places import file_and_line
from tunebridge.data.targets import Target
from tunebridge.data.writing.limits import Extent
from tunebridge.data.writing.losses import LossCounter, RowsReport
from tunebridge.data.writing.shards import ShardWriter


class LossSink:
    """Takes the engine's rows that were converted on the way, and counts what they lose."""

    def __init__(self, target: Target, files: Sequence[str]) -> None:
        self._files, self._counter = files, LossCounter(target)
        self.train, self.validation = Extent(), Extent()

    def write(self, side: Side, *, held_out: bool) -> None:
        """Count the next rows of one side."""
        extent = self.validation if held_out else self.train
        extent.rows += sum(map(len, side.converted))
        extent.size_bytes += sum(len(row) + 1 for rows in side.converted for row in rows)
        self._counter.add_exact(len(side.rows) - len(side.inexact))
        for number, converted in side.inexact:
            file, line = file_and_line(side.places[number])
            self._counter.add(converted, f"{self._files[file]}:{line}")

    @property
    def report(self) -> RowsReport:
        """What the rows lost."""
        return self._counter.report(train_rows=self.train.rows, validation_rows=self.validation.rows)


class TargetSink(LossSink):
    """Counts the rows and writes them, both splits into one folder."""

    def __init__(self, folder: Path, target: Target, files: Sequence[str]) -> None:
        super().__init__(target, files)
        folder.mkdir(parents=True, exist_ok=True)
        self._writers = {held_out: ShardWriter(folder, _STEMS[held_out], target) for held_out in (False, True)}

    def write(self, side: Side, *, held_out: bool) -> None:
        """Count and write the next rows of one side."""
        super().write(side, held_out=held_out)
        self._writers[held_out].write([row for rows in side.converted for row in rows])

    def close(self) -> list[Path]:
        """Give all files their names and return them."""
        return [path for writer in self._writers.values() for path in writer.close()]

    def discard(self) -> None:
        """Remove what was written."""
        for writer in self._writers.values():
            writer.discard()


_STEMS = {False: "train", True: "validation"}
