"""Kill -9 the command line and the trainer at random moments, and look whether every job tells the truth afterwards.

    python -m tests.torture.kill --trials 50 --seed 1

Each trial has a job store of its own. It starts `tunebridge submit --wait`, kills one process after a random time,
then does what a user would do: `jobs reconcile`, look at the job, `jobs resume` where it failed. It must end with
exactly one job (none, if the command line died before it had written one: then the job is submitted again), which
succeeded, with the same weights as an undisturbed run. Prints one JSON document; exit code 1 when a trial went wrong.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tunebridge.client import Client
from tunebridge.job import Job, JobStatus

Victim = Literal["cli", "trainer"]

JOB = """
backend: local
base_model: {base_model}
data: {{train: rows.jsonl, validation: 25%}}
method: {{type: sft, adapter: {{type: lora, rank: 4, dropout: 0.1}}}}
hyperparameters: {{epochs: 100, max_steps: {steps}, batch_size: 8, learning_rate: 5.0e-3, seed: 3}}
options: {{local: {{threads: 1, checkpoint_seconds: {checkpoint_seconds}, evaluations: 2}}}}
"""


@dataclass(frozen=True)
class Setting:
    """What is trained in every trial."""

    base_model: str = "tunebridge/nano"
    steps: int = 40
    checkpoint_seconds: float = 0.2


@dataclass(frozen=True)
class Trial:
    """What one trial did and found."""

    victim: Victim
    seconds: float
    """Time after the start at which the victim was killed."""
    status_found: str
    """Status of the job when it was first looked at after the kill; `none` when there was no job."""
    jobs: int
    resumes: int
    problem: str | None


def write_job(folder: Path, setting: Setting) -> Path:
    """Write a small job with its rows, and return the job file."""
    rows = [_row(number) for number in range(64)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = folder / "job.yaml"
    job.write_text(JOB.format(**asdict(setting)))
    return job


def undisturbed(folder: Path, setting: Setting) -> tuple[str, float]:
    """Return the digest of the weights of a run that nobody disturbs, and how long it took in seconds."""
    client = Client(folder / "home")
    start = time.monotonic()
    job = client.wait(client.submit(write_job(folder, setting)).id)
    return weights(client, job), time.monotonic() - start


def weights(client: Client, job: Job) -> str:
    """Return the digest of the adapter's weights file."""
    from tunebridge import digests

    (artifact,) = client.artifacts(job.id)
    return digests.of_file(Path(artifact.uri.removeprefix("file://")) / "adapter_model.safetensors")


def run_trial(victim: Victim, seconds: float, setting: Setting, expected: str) -> Trial:
    """Kill one process once and bring the job to its end."""
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        job_file, client = write_job(folder, setting), Client(folder / "home")
        _submit_and_kill(victim, seconds, job_file, folder / "home")
        found = _look(client)
        resumes, problem = _finish(client, job_file, expected)
        return Trial(victim, round(seconds, 2), found, len(client.list()), resumes, problem)


def _submit_and_kill(victim: Victim, seconds: float, job_file: Path, home: Path) -> None:
    command = [sys.executable, "-m", "tunebridge", "submit", str(job_file), "--wait", "--yes"]
    environment = {**os.environ, "TUNEBRIDGE_HOME": str(home)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as cli:
        time.sleep(seconds)
        if victim == "cli":
            cli.kill()
        else:
            _kill_trainer(home)
        cli.wait(timeout=300)


def _kill_trainer(home: Path) -> None:
    for record in home.glob("jobs/*/run/launch.json"):
        try:
            os.kill(int(json.loads(record.read_text())["pid"]), signal.SIGKILL)
        except ProcessLookupError:
            continue


def _look(client: Client) -> str:
    jobs = client.list(refresh=True)
    return str(jobs[0].status) if jobs else "none"


def _finish(client: Client, job_file: Path, expected: str) -> tuple[int, str | None]:
    """Do what a user would do until the job has succeeded; return the resumes it took and what is wrong."""
    client.reconcile()
    if not client.list():
        client.submit(job_file)
    job, resumes = client.list()[0], 0
    while job.status != JobStatus.succeeded and resumes < 5:
        for _ in client.watch(job.id, timeout_seconds=300):
            pass
        job = client.get(job.id)
        if job.status in (JobStatus.failed, JobStatus.cancelled):
            client.resume(job.id)
            resumes += 1
    return resumes, _problem(client, job, expected)


def _problem(client: Client, job: Job, expected: str) -> str | None:
    numbered = client.events(job.id)
    ids = [event.id for _, event in numbered]
    if len(client.list()) != 1:
        return f"{len(client.list())} jobs instead of one"
    if job.status != JobStatus.succeeded:
        return f"{job.status}: {job.error}"
    if len(ids) != len(set(ids)):
        return "an event is there twice"
    if weights(client, job) != expected:
        return "the weights differ from those of an undisturbed run"
    return None


def _row(number: int) -> dict[str, Any]:
    words = ("red", "green", "blue", "black")
    question = f"What colour has ball {number}?"
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": words[number * 7 % 4]}]
    }


def main() -> int:
    """Run the trials and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50, help="kills per victim")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=200, help="steps of the training, so that most kills fall into it")
    arguments = parser.parse_args()
    setting, moments = Setting(steps=arguments.steps), random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        expected, duration = undisturbed(Path(name), setting)
    trials = []
    for victim in ("cli", "trainer"):
        for number in range(arguments.trials):
            trial = run_trial(victim, moments.uniform(0, duration), setting, expected)  # type: ignore[arg-type]
            trials.append(trial)
            print(f"{victim} {number + 1}/{arguments.trials}: {trial}", file=sys.stderr)  # noqa: T201
    wrong = [asdict(trial) for trial in trials if trial.problem]
    summary = {
        "trials": len(trials),
        "undisturbed_seconds": round(duration, 1),
        "found_after_the_kill": {
            v: Counter(t.status_found for t in trials if t.victim == v) for v in ("cli", "trainer")
        },
        "resumes": sum(trial.resumes for trial in trials),
        "wrong": wrong,
    }
    print(json.dumps(summary, indent=2))  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
