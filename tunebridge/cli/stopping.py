"""What Ctrl-C leaves behind, said in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from tunebridge.errors import TuneBridgeError

ANYWHERE = "Interrupted. Jobs that were submitted go on; `tunebridge jobs list` shows them."


class Interrupted(TuneBridgeError):
    """Ctrl-C was pressed; the message says in what state things are."""

    exit_code = 130

    def __init__(self, message: str = ANYWHERE, *, job_id: str | None = None) -> None:
        self.job_id = job_id
        super().__init__(message)


@contextmanager
def interrupted_as(message: str, *, job_id: str | None = None) -> Iterator[None]:
    """Turn Ctrl-C inside the block into Interrupted with this message."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. {message}", job_id=job_id) from None
