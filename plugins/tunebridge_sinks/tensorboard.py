"""TensorBoard: event files in the job's folder, `tensorboard --logdir FOLDER` shows them."""

from collections.abc import Mapping
from typing import Any

from tunebridge.job import Job
from tunebridge_sinks.sink import require


class TensorBoard:
    """Writes TensorBoard's event files."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write one summary of the step."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.add_event(Event(step=step, summary=Summary(value=found)))
        self._writer.flush()

    def close(self, *, succeeded: bool) -> None:
        """Close the file."""
        self._writer.close()


def open_sink(job: Job) -> TensorBoard:
    """Begin an event file; TensorBoard joins those of one folder."""
    require("tensorboard")
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    return TensorBoard(EventFileWriter(str(job.folder / "tensorboard")))
