"""SageMaker on 127.0.0.1: training jobs that really train, with states, logs, checkpoints and archives.

A job starts at the first look at it that comes after it has waited for its machine: from then on a process of its own
(`machine`) does what Amazon does. Requests and answers are checked against botocore's model of the service.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tunebridge.testing.shelf import take
from tunebridge.testing.workshop import Workshop
from tunebridge_aws.identity import ACCOUNT_ID
from tunebridge_aws.storage import Location
from tunebridge_aws.wire import Account, Operation, refusal, strange
from tunebridge_sagemaker import emulated, emulated_catalogue, recipes
from tunebridge_sagemaker.emulated_hosting import Hosting
from tunebridge_sagemaker.machine import BREAK, INTERRUPT, JOB_FILE, STATE_FILE, STOP

BUCKET = "tunebridge-rehearsal"
ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/rehearsal"
SCRIPTED = ("capacity_pending", "max_runtime")
"""Faults that a job takes along when it is made."""
PENDING_SECONDS = 2.0
LOG_GROUP = "/aws/sagemaker/TrainingJobs"


class Emulator:
    """SageMaker, CloudWatch Logs, S3 and STS of one account; everything it knows lies in its folder."""

    def __init__(self, folder: Path) -> None:
        self.hosting = Hosting(folder, lambda: self.account)
        operations: dict[str, dict[str, Operation]] = {
            "sagemaker": {
                "CreateTrainingJob": self._create,
                "DescribeTrainingJob": self._describe,
                "StopTrainingJob": self._stop,
                "DeleteTrainingJob": self._delete,
                "ListTrainingJobs": self._list,
                "ListTags": self._list_tags,
                "DescribeHubContent": self._describe_hub_content,
                **self.hosting.operations,
            },
            "sagemaker-runtime": {"InvokeEndpoint": self.hosting.invoke},
            "logs": {"DescribeLogStreams": self._streams, "GetLogEvents": self._log_events},
        }
        self.account = Account(
            folder,
            operations,
            creates="CreateTrainingJob",
            quota_code="ResourceLimitExceeded",
            empty={"jobs": {}, "models": {}, "configs": {}, "endpoints": {}},
        )
        self._folder, self.faults = folder, self.account.faults
        self._workshop = Workshop(folder)
        self._machines: dict[str, subprocess.Popen[bytes]] = {}
        self.account.buckets.create(BUCKET)
        emulated_catalogue.stock(self.account.buckets)

    def start(self) -> "Emulator":
        """Begin to answer."""
        self.account.wire.start()
        return self

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return every job by name, as the account has it on disk."""
        with self.account.shelf.opened() as state:
            return dict(state["jobs"])

    def interrupt(self, name: str) -> None:
        """Take the job's spot machine away."""
        (self._job_folder(name) / INTERRUPT).touch()

    def end_machines(self) -> None:
        """End every machine that this process started, and every endpoint that it serves."""
        self.hosting.end()
        for process in self._machines.values():
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()

    # ---- jobs

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["TrainingJobName"]
        problem = emulated.problem_of_request(asked, self.account.buckets)
        if "ServerlessJobConfig" in asked:
            problem = problem or recipes.problem_of_serverless(asked)
        if problem:
            raise refusal("ValidationException", problem)
        with self.account.shelf.opened() as state:
            if name in state["jobs"]:
                raise refusal("ResourceInUse", f"Training job names must be unique: {emulated.arn(name)}")
            script = [fault for fault in SCRIPTED if take(state, fault)]
            state["jobs"][name] = {"request": asked, "created": time.time(), "script": script}
        return {"TrainingJobArn": emulated.arn(name)}

    def _describe(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["TrainingJobName"]
        with self.account.shelf.opened() as state:
            record = self._known(state, name)
            if take(state, "sdk_error"):
                raise strange()
            odd = take(state, "unknown_word")
            if take(state, "job_fails"):
                record["broken"] = True
        machine = self._machine_state(name, record)
        described = {**emulated.described(record, machine), **recipes.results(self.jobs()[name])}
        # What the model of the service does not know yet: it says of these words that they may change.
        return {**described, "TrainingJobStatus": "Deleting"} if odd else described

    def _stop(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["TrainingJobName"]
        with self.account.shelf.opened() as state:
            record = self._known(state, name)
        status = self._machine_state(name, record, start=False)["status"]
        if status not in ("InProgress", "Stopping"):
            words = f"The request was rejected because the training job is in status {status}."
            raise refusal("ValidationException", words)
        self._job_folder(name).mkdir(parents=True, exist_ok=True)
        (self._job_folder(name) / STOP).touch()
        return {}

    def _delete(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["TrainingJobName"]
        with self.account.shelf.opened() as state:
            record = self._known(state, name)
            if self._machine_state(name, record, start=False)["status"] in ("InProgress", "Stopping"):
                raise refusal("ResourceInUse", f"The training job {name} is still running")
            del state["jobs"][name]
        return {}

    def _list(self, asked: dict[str, Any]) -> dict[str, Any]:
        records = sorted(self.jobs().items(), key=lambda item: -item[1]["created"])
        start, size = int(asked.get("NextToken", 0)), asked.get("MaxResults", 10)
        found = [
            emulated.summary(emulated.described(record, self._machine_state(name, record, start=False)))
            for name, record in records
            if asked.get("NameContains", "") in name
        ]
        more = {"NextToken": str(start + size)} if len(found) > start + size else {}
        return {"TrainingJobSummaries": found[start : start + size], **more}

    def _list_tags(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self.account.shelf.opened() as state:
            record = self._known(state, asked["ResourceArn"].rpartition("/")[2])
        return {"Tags": record["request"].get("Tags", [])}

    def _describe_hub_content(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = emulated_catalogue.hub_content(asked["HubContentName"])
        if found is None or asked["HubContentType"] != "Model":
            raise refusal("ResourceNotFound", f"Hub content {asked['HubContentName']} does not exist.")
        return found

    # ---- logs

    def _streams(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked.get("logGroupName") != LOG_GROUP:
            raise refusal("ResourceNotFoundException", "The specified log group does not exist.")
        name, _, rest = asked["logStreamNamePrefix"].partition("/")
        found = sorted((self._job_folder(name) / "logs").glob(f"{rest}*.jsonl"))
        streams = [
            {"logStreamName": f"{name}/{path.stem}", "creationTime": int(path.stem.split("-")[2]) * 1000}
            for path in found
        ]
        return {"logStreams": streams}

    def _log_events(self, asked: dict[str, Any]) -> dict[str, Any]:
        name, _, stem = asked["logStreamName"].partition("/")
        path = self._job_folder(name) / "logs" / f"{stem}.jsonl"
        if not path.exists():
            raise refusal("ResourceNotFoundException", "The specified log stream does not exist.")
        text = path.read_bytes()
        lines = [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]
        return emulated.log_page(lines, asked)

    # ---- machines

    def _job_folder(self, name: str) -> Path:
        return self._folder / "machines" / name

    def _machine_state(self, name: str, record: dict[str, Any], *, start: bool = True) -> dict[str, Any]:
        """Return what the job's machine has written, and start it when its time has come."""
        if "ServerlessJobConfig" in record["request"]:
            return self._moved(name)
        path = self._job_folder(name) / STATE_FILE
        if path.exists():
            if record.get("broken"):
                (self._job_folder(name) / BREAK).touch()
            return self._checked(name, path)
        if (self._job_folder(name) / STOP).exists() and not (self._job_folder(name) / JOB_FILE).exists():
            return emulated.stopped_before(record)
        if start and time.time() - record["created"] > emulated.STARTING_SECONDS:
            self._start_machine(name, record)
        return emulated.starting(record)

    def _moved(self, name: str) -> dict[str, Any]:
        """Return the state of a serverless job after a moment has passed."""
        before = self.jobs()[name]
        is_asked = (self._job_folder(name) / STOP).exists()
        moved = recipes.move(dict(before), self._workshop, self._content, stop=is_asked)
        with self.account.shelf.opened() as state:
            if state["jobs"][name] == before:  # nobody else has moved it meanwhile
                state["jobs"][name] = moved
            machine: dict[str, Any] = dict(state["jobs"][name]["machine"])
        return machine

    def _content(self, uri: str) -> bytes:
        place = Location.parse(uri)
        return self.account.buckets.path(place.bucket, place.key).read_bytes()

    def _start_machine(self, name: str, record: dict[str, Any]) -> None:
        folder = self._job_folder(name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        job = {
            "request": record["request"],
            "created": record["created"],
            "buckets": str(self._folder / "s3"),
            "artifact": emulated.artifact_uri(record["request"]),
            "pending_seconds": PENDING_SECONDS if "capacity_pending" in record["script"] else 0,
            "out_of_time": "max_runtime" in record["script"],
        }
        try:
            with (folder / JOB_FILE).open("x") as file:  # of two who look at the same moment one starts it
                json.dump(job, file)
        except FileExistsError:
            return
        with (folder / "machine.log").open("wb") as log:
            self._machines[name] = subprocess.Popen(
                [sys.executable, "-m", "tunebridge_sagemaker.machine", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _checked(self, name: str, path: Path) -> dict[str, Any]:
        """Return a machine's state; of one that died without a word the state is a fault of the service."""
        process = self._machines.get(name)
        is_gone = process is not None and process.poll() is not None
        state: dict[str, Any] = json.loads(path.read_text())
        if is_gone and "ended" not in state:
            return {**state, "status": "Failed", "failure": "InternalServerError: the machine was lost", "ended": 0.0}
        return state

    def _known(self, state: dict[str, Any], name: str) -> dict[str, Any]:
        if name not in state["jobs"]:
            raise refusal("ValidationException", "Requested resource not found.")
        found: dict[str, Any] = state["jobs"][name]
        return found
