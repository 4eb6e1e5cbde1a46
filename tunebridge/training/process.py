"""How the trainer's process behaves; only the standard library, so that it stands before anything is imported."""

import os
import signal
from collections.abc import Callable
from types import FrameType

PEER_LOST = 75
"""Exit code of a trainer that lost another one it trains with: start all of them again (EX_TEMPFAIL)."""


class Stopped(Exception):  # not an error
    """The trainer was told to stop before its first step."""


def hear_stop() -> Callable[[], bool]:
    """Turn SIGTERM and SIGINT into a request to stop, and return a function that says whether there was one."""
    heard: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    return lambda: bool(heard)


def share_the_cores() -> None:
    """Let waiting OpenMP threads sleep, not spin: somebody else may need the core."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def is_peer_lost(error: BaseException) -> bool:
    """Whether an error says that another process of the same run is gone or was not reached.

    Why it is gone stands in that one's log.
    """
    if type(error).__name__ in ("DistBackendError", "DistNetworkError", "DistStoreError"):
        return True
    text = str(error).lower()
    return "gloo" in text and any(end in text for end in ("closed by peer", "reset by peer", "connectfullmesh failed"))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whichever device."""
    text = str(error)
    return isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text
