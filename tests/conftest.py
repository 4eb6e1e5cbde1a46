"""Guards that hold for every test."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the user's job store."""
    monkeypatch.setenv("TUNEBRIDGE_HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True)
def _same_place() -> Iterator[None]:
    """Fail a test that leaves another working folder or environment behind."""
    folder, before = Path.cwd(), _environment()
    yield
    assert Path.cwd() == folder
    # Names only: the values may be somebody's keys, and a failed assertion is printed. The dictionaries
    # are compared outside the assertion, because pytest prints what stands in one.
    changed = sorted(name for name, _ in before.items() ^ _environment().items())
    assert changed == []


def _environment() -> dict[str, str]:
    """Return the environment without what pytest, and PyTorch when it is first imported, set themselves."""
    theirs = ("PYTEST_", "TORCHINDUCTOR_")
    return {name: value for name, value in os.environ.items() if not name.startswith(theirs)}


@pytest.fixture(scope="session", autouse=True)
def _no_trainer_is_left() -> Iterator[None]:
    """End the trainers, workers and machines that this process started and that a test left running."""
    yield
    owners = ("tunebridge_local.client", "tunebridge_gradient.worker", "tunebridge_azureml.works")
    for name in (*owners, "tunebridge_ray.local_cluster", "tunebridge.testing.machine"):
        children = getattr(sys.modules.get(name), "_children", ())
        for process in children.values() if isinstance(children, dict) else children:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(autouse=True)
def _no_network(_same_place: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test connect to anything but this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test connects to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
