"""A submitting process that is killed right before or after the create call leaves one job, never none or two."""

import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tunebridge import submit
from tunebridge.job import JobStatus
from tunebridge.store import Store

pytest.importorskip("google.genai")
pytest.importorskip("huggingface_hub")
pytest.importorskip("gradientai")
pytestmark = pytest.mark.torch

PROFILES = {
    "vertexai": ("gemini", "create"),
    "vertexai-custom": ("custom_job", "create_custom_job"),
    "huggingface": (None, "create"),
    "gradient": (None, "create"),
}


def room(case: str, folder: Path) -> tuple[Any, Any, Any]:
    """Return the emulator in a folder, the backend connected to it, and the plugin's own sample of a job."""
    plugin = f"tunebridge_{case.removesuffix('-custom')}"
    conformance = import_module(f"{plugin}.conformance")
    emulator = import_module(f"{plugin}.emulator").Emulator(folder / "service").start()
    profile, _ = PROFILES[case]
    return emulator, conformance.connected(emulator), conformance.case(*([profile] if profile else []))


def die(case: str, folder: Path, when: str) -> None:
    """Submit a job and be killed at the create call; run in a process of its own."""
    _, backend, sample = room(case, folder)
    remote = import_module(f"tunebridge_{case.removesuffix('-custom')}.client").Remote
    name = PROFILES[case][1]
    create = getattr(remote, name)

    def killed(self: Any, *arguments: Any) -> None:
        if when == "after":
            create(self, *arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(remote, name, killed)
    plan = backend.plan(sample.spec, sample.dataset)
    submit.submit(Store(folder / "store"), backend, plan, sample.dataset)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("case", PROFILES)
def test_a_kill_leaves_one_job(case: str, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, __file__, case, str(tmp_path), when], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    emulator, backend, _ = room(case, tmp_path)
    store = Store(tmp_path / "store")
    (job,) = store.list()
    assert (job.status, job.backend_id, job.attempts) == (JobStatus.submitting, None, 1)
    with store.exclusive(job.id):
        settled = submit.settle(store, backend, job.id)
    count = len(emulator.adapters() if case == "gradient" else emulator.jobs())
    assert (count, backend.find(job)) == (1, settled.backend_id)
    emulator.wire.stop()


if __name__ == "__main__":
    die(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
