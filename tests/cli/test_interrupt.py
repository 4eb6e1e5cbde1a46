"""Ctrl-C at any moment: one sentence, exit code 130, and the job in a true state."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.torture.kill import Setting, write_job
from tunebridge.client import Client
from tunebridge.job import JobStatus

pytestmark = pytest.mark.torch
LONG = Setting(base_model="random", steps=5000, checkpoint_seconds=1)


def submit(folder: Path) -> "subprocess.Popen[str]":
    """Start `tunebridge submit --wait` in a folder."""
    command = [sys.executable, "-m", "tunebridge", "submit", str(write_job(folder, LONG)), "--wait"]
    environment = {**os.environ, "TUNEBRIDGE_HOME": str(folder / "home")}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_job_goes_on_and_the_message_names_it(tmp_path: Path) -> None:
    cli, client = submit(tmp_path), Client(tmp_path / "home")
    deadline = time.monotonic() + 60
    while not (jobs := client.list(refresh=True)) or jobs[0].status != JobStatus.running:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    cli.send_signal(signal.SIGINT)
    _, said = cli.communicate(timeout=60)
    assert cli.returncode == 130
    assert f"Job {jobs[0].id} goes on. Follow it with `tunebridge jobs watch {jobs[0].id}`" in said
    assert "Traceback" not in said
    assert client.get(jobs[0].id).status == JobStatus.running
    client.cancel(jobs[0].id)
    for _ in client.watch(jobs[0].id, timeout_seconds=60):
        pass
    assert client.get(jobs[0].id).status == JobStatus.cancelled


@pytest.mark.parametrize("seconds", [0.3, 0.45, 0.6, 0.8, 1.1])
def test_no_moment_leaves_half_a_job(seconds: float, tmp_path: Path) -> None:
    cli = submit(tmp_path)
    time.sleep(seconds)
    cli.send_signal(signal.SIGINT)
    _, said = cli.communicate(timeout=60)
    assert cli.returncode in (130, -signal.SIGINT)  # the latter while Python itself is still starting
    assert cli.returncode != 130 or "Interrupted" in said
    client = Client(tmp_path / "home")
    assert client.reconcile().failed == {}
    for job in client.list(refresh=True):
        assert job.backend_id is not None
        client.cancel(job.id)
        for _ in client.watch(job.id, timeout_seconds=60):
            pass
    assert [job.status for job in client.list()] in ([], [JobStatus.cancelled])
