"""What Amazon does with one training job, as a process of its own: `python -m tunebridge_sagemaker.machine FOLDER`.

The folder holds `job.json` (the request). The machine copies the channels to where a container finds them, starts the
container's command as a process, stamps its lines, brings checkpoints to the bucket, and leaves the states it went
through in `state.json`. It listens to files: `stop` (StopTrainingJob), `interrupt` (spot capacity is taken back) and
`break` (the process is killed).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunebridge_aws.buckets import Buckets
from tunebridge_aws.storage import Location
from tunebridge_sagemaker.stand_in import stand_in

JOB_FILE, STATE_FILE = "job.json", "state.json"
STOP, INTERRUPT, BREAK = "stop", "interrupt", "break"
GRACE_SECONDS = 120.0
"""Time between SIGTERM and SIGKILL."""
LOOK_SECONDS = 0.05
DRIVERS = "sm_drivers"
"""Channel with the SageMaker SDK's own scripts, which name the container's folders."""
SPOT_SHARE = 0.3
"""Share of the training time that is billed on spot capacity; the real one depends on the market."""
INTERRUPT_AT = 0.5
"""Share of the steps after which a spot machine is taken away, once per job."""


class Machine:
    """One job on one machine after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._job: dict[str, Any] = json.loads((folder / JOB_FILE).read_text())
        self._request: dict[str, Any] = self._job["request"]
        self._buckets = Buckets(Path(self._job["buckets"]))
        self._state: dict[str, Any] = {"status": "InProgress", "transitions": [], "training_seconds": 0.0}
        self._opt, self._starts = folder / "opt" / "ml", 0
        self._interrupt_at = INTERRUPT_AT if self._request.get("EnableManagedSpotTraining") else None

    def run(self) -> None:
        """Bring the job to its end."""
        while not self._attempt():
            self._say("Interrupted", "Spot capacity was reclaimed; waiting for other capacity")
        self._state["ended"] = time.time()
        self._state["metrics"] = self._final_metrics()
        self._write()
        shutil.rmtree(self._folder / "opt", ignore_errors=True)

    def _final_metrics(self) -> list[dict[str, Any]]:
        """Return the last value that each metric definition finds in the log."""
        lines = [
            json.loads(line) for log in sorted(self._folder.glob("logs/*")) for line in log.read_text().splitlines()
        ]
        found = []
        for metric in self._request["AlgorithmSpecification"].get("MetricDefinitions", []):
            values = [(re.search(metric["Regex"], line["message"]), line["timestamp"]) for line in lines]
            told = [(match[1], at) for match, at in values if match]
            if told:
                found.append({"name": metric["Name"], "value": float(told[-1][0]), "at": told[-1][1] / 1000})
        return found

    def _attempt(self) -> bool:
        """Use one machine; False when it was taken away before the end."""
        first = None if self._state["transitions"] else self._job["created"]
        self._say("Starting", "Preparing the instances for training", at=first)
        if self._wait_for_capacity():
            return self._end("Stopped", "Stopped", "The job was stopped while it waited")
        self._say("Downloading", "Downloading input data")
        self._state.setdefault("training_start", time.time())
        began = time.monotonic()
        self._fill()
        hint = f" tunebridge/nano stands in for {self._state['replaced']}." if "replaced" in self._state else ""
        self._say("Training", f"Training image download completed. Training in progress.{hint}")
        code, why = self._work()
        self._sync()
        self._state["training_seconds"] += time.monotonic() - began
        if why == INTERRUPT:
            shutil.rmtree(self._folder / "opt")  # the next machine has nothing of this one
            return False
        return self._finish(code, why)

    def _finish(self, code: int, why: str | None) -> bool:
        if code and why is None:
            told = self._opt / "output" / "failure"
            reason = told.read_text()[:800] if told.exists() else ""
            self._state["failure"] = f"AlgorithmError: {reason}, exit code: {code if code > 0 else 128 - code}"
            return self._end("Failed", "Failed", "Training job failed")
        self._say("Uploading", "Uploading generated training model")
        self._upload()
        if why == STOP:
            return self._end("Stopped", "Stopped", "Training job stopped")
        if why == "runtime":
            return self._end("Stopped", "MaxRuntimeExceeded", "Training job runtime exceeded MaxRuntimeInSeconds")
        return self._end("Completed", "Completed", "Training job completed")

    def _wait_for_capacity(self) -> bool:
        """Wait until there is a machine; whether the job was stopped meanwhile."""
        until = time.monotonic() + self._job["pending_seconds"]
        if self._job["pending_seconds"]:
            self._say("Pending", "Waiting for capacity")
        while time.monotonic() < until and not self._asked(STOP):
            time.sleep(LOOK_SECONDS)
        return self._asked(STOP)

    def _fill(self) -> None:
        """Copy channels, configuration and checkpoints to where the container looks for them."""
        for channel in self._request["InputDataConfig"]:
            self._fetch(
                channel["DataSource"]["S3DataSource"]["S3Uri"],
                self._opt / "input" / "data" / channel["ChannelName"],
            )
        replaced = stand_in(self._opt / "input" / "data")
        if replaced:
            self._state["replaced"] = replaced
        for name in ("model", "output/data", "input/config"):
            (self._opt / name).mkdir(parents=True, exist_ok=True)
        for name, content in self._configuration().items():
            (self._opt / "input" / "config" / f"{name}.json").write_text(json.dumps(content))
        if "CheckpointConfig" in self._request:
            self._fetch(self._request["CheckpointConfig"]["S3Uri"], self._checkpoints())

    def _configuration(self) -> dict[str, Any]:
        """Return what a container finds below `input/config`, by name."""
        machine = self._request["ResourceConfig"]["InstanceType"]
        host = {"current_host": "algo-1", "current_instance_type": machine, "hosts": ["algo-1"]}
        channels = [channel["ChannelName"] for channel in self._request["InputDataConfig"]]
        mode = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
        return {
            "hyperparameters": self._request.get("HyperParameters", {}),
            "resourceconfig": {**host, "network_interface_name": "eth0"},
            "inputdataconfig": dict.fromkeys(channels, mode),
        }

    def _work(self) -> tuple[int, str | None]:
        """Run the container and return its exit code and why it was ended, None when it ended by itself."""
        self._starts += 1
        log = self._folder / "logs" / f"algo-1-{int(time.time())}-{self._starts}.jsonl"
        log.parent.mkdir(exist_ok=True)
        specification = self._request["AlgorithmSpecification"]
        command = [*specification.get("ContainerEntrypoint", []), *specification.get("ContainerArguments", [])]
        process = subprocess.Popen(
            [self._mapped(part) for part in command],
            cwd=self._opt,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        reader = threading.Thread(target=self._stamp, args=(process, log))
        reader.start()
        why = self._watch(process, log)
        reader.join()
        return process.returncode, why

    def _watch(self, process: subprocess.Popen[bytes], log: Path) -> str | None:
        deadline = time.monotonic() + self._request["StoppingCondition"]["MaxRuntimeInSeconds"]
        while process.poll() is None:
            time.sleep(LOOK_SECONDS)
            self._sync()
            if self._asked(BREAK):
                process.kill()
                process.wait()
                return None
            why = "runtime" if time.monotonic() > deadline or self._job["out_of_time"] else None
            why = STOP if self._asked(STOP) else why
            if why is None and (self._asked(INTERRUPT) or self._is_taken_away(log)):
                (self._folder / INTERRUPT).unlink(missing_ok=True)
                why = INTERRUPT
            if why:
                return self._terminate(process, why)
        return None

    def _terminate(self, process: subprocess.Popen[bytes], why: str) -> str:
        if why == STOP:
            self._state["status"] = "Stopping"
            self._say("Stopping", "Stopping the training job")
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return why

    def _is_taken_away(self, log: Path) -> bool:
        if self._interrupt_at is None or not log.exists():
            return False
        steps = re.findall(r'step\\": (\d+), \\"total_steps\\": (\d+)', log.read_text())
        if not any(int(step) >= self._interrupt_at * int(total) for step, total in steps):
            return False
        self._interrupt_at = None
        return True

    def _stamp(self, process: subprocess.Popen[bytes], log: Path) -> None:
        assert process.stdout
        with log.open("w") as file:
            for line in process.stdout:
                message = line.decode(errors="replace").rstrip("\r\n")
                if message:  # CloudWatch has no empty lines
                    file.write(json.dumps({"timestamp": int(time.time() * 1000), "message": message}) + "\n")
                    file.flush()

    def _environment(self) -> dict[str, str]:
        mine = {name: os.environ[name] for name in ("HOME", "LANG", "OMP_NUM_THREADS") if name in os.environ}
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        theirs = {key: self._mapped(value) for key, value in self._request.get("Environment", {}).items()}
        job = {"TRAINING_JOB_NAME": self._request["TrainingJobName"]}
        return {**mine, **job, "PATH": path, "HF_HUB_OFFLINE": "1", **theirs}

    def _mapped(self, text: str) -> str:
        """Return a text with the container's `/opt/ml` where it really is."""
        return text.replace("/opt/ml", str(self._opt))

    def _checkpoints(self) -> Path:
        return Path(self._mapped(self._request["CheckpointConfig"].get("LocalPath", "/opt/ml/checkpoints")))

    def _sync(self) -> None:
        """Bring new and changed files of the checkpoint folder to the bucket; none is ever deleted there."""
        if "CheckpointConfig" not in self._request:
            return
        place, root = Location.parse(self._request["CheckpointConfig"]["S3Uri"]), self._checkpoints()
        for folder, _, names in os.walk(root):  # it does not mind folders that the trainer removes meanwhile
            for path in (Path(folder, name) for name in names):
                key = place.below(path.relative_to(root).as_posix()).key
                target = self._buckets.path(place.bucket, key)
                with suppress(FileNotFoundError):
                    if not target.exists() or target.stat().st_mtime_ns != path.stat().st_mtime_ns:
                        self._buckets.put(place.bucket, key, path)

    def _fetch(self, uri: str, target: Path) -> None:
        place = Location.parse(uri)
        target.mkdir(parents=True, exist_ok=True)
        for key in self._buckets.keys(place.bucket, place.key):
            copy = target / (key.removeprefix(place.key).lstrip("/") or key.rpartition("/")[2])
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self._buckets.path(place.bucket, key), copy)
            if target.name == DRIVERS and copy.suffix in (".py", ".sh"):
                copy.write_text(self._mapped(copy.read_text()))

    def _upload(self) -> None:
        packed = self._folder / "model.tar.gz"
        with tarfile.open(packed, "w:gz") as tar:
            tar.add(self._opt / "model", ".")
        place = Location.parse(self._job["artifact"])
        self._buckets.put(place.bucket, place.key, packed)
        packed.unlink()

    def _end(self, status: str, secondary: str, message: str) -> bool:
        self._state["status"] = status
        self._say(secondary, message)
        return True

    def _say(self, secondary: str, message: str, at: float | None = None) -> None:
        entry = {"Status": secondary, "StartTime": at or time.time(), "StatusMessage": message}
        self._state["transitions"].append(entry)
        self._write()

    def _write(self) -> None:
        partial = self._folder / f"{STATE_FILE}.partial"
        partial.write_text(json.dumps(self._state))
        partial.rename(self._folder / STATE_FILE)

    def _asked(self, word: str) -> bool:
        return (self._folder / word).exists()


if __name__ == "__main__":
    Machine(Path(sys.argv[1])).run()
