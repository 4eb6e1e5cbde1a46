"""Bedrock on 127.0.0.1: customization jobs that really train, custom models, deployments and Converse."""

import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

from tunebridge.backend import GenerationParameters
from tunebridge.errors import TuneBridgeError
from tunebridge.testing.shelf import take
from tunebridge.testing.workshop import Workshop
from tunebridge_aws.identity import ACCOUNT_ID
from tunebridge_aws.storage import Location
from tunebridge_aws.wire import Account, Operation, Unchecked, refusal, strange
from tunebridge_bedrock import emulated
from tunebridge_bedrock.emulated_imports import Imports

BUCKET = "tunebridge-rehearsal"
ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/rehearsal"
DEPLOYING_SECONDS = 0.5


class Emulator:
    """Bedrock, S3 and STS of one account; everything it knows lies in its folder."""

    def __init__(self, folder: Path) -> None:
        self.imports = Imports(folder, lambda: self.account)
        services: dict[str, dict[str, Operation]] = {
            "bedrock": {
                **self.imports.operations,
                "CreateModelCustomizationJob": self._create,
                "GetModelCustomizationJob": self._get,
                "ListModelCustomizationJobs": self._list,
                "StopModelCustomizationJob": self._stop,
                "GetCustomModel": self._get_model,
                "DeleteCustomModel": self._delete_model,
                "CreateCustomModelDeployment": self._deploy,
                "GetCustomModelDeployment": self._get_deployment,
                "DeleteCustomModelDeployment": self._undeploy,
            },
            "bedrock-runtime": {"Converse": self._converse},
        }
        self.account = Account(
            folder,
            services,
            creates="CreateModelCustomizationJob",
            quota_code="ServiceQuotaExceededException",
            empty={"jobs": {}, "deployments": {}, "imports": {}},
        )
        self.faults, self._shelf, self._workshop = self.account.faults, self.account.shelf, Workshop(folder)
        self.account.buckets.create(BUCKET)

    def start(self) -> "Emulator":
        """Begin to answer."""
        self.account.wire.start()
        return self

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return every job by number, as the account has it on disk."""
        with self._shelf.opened() as state:
            return dict(state["jobs"])

    def deployments(self) -> list[str]:
        """Return the names of the deployments that stand."""
        with self._shelf.opened() as state:
            return list(state["deployments"])

    # ---- jobs

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        for uri in (asked["trainingDataConfig"].get("s3Uri", ""), *_validators(asked)):
            self._content(uri)
        if problem := emulated.problem_of_request(asked):
            raise refusal("ValidationException", problem)
        with self._shelf.opened() as state:
            for job in state["jobs"].values():
                if job["asked"].get("clientRequestToken") == asked.get("clientRequestToken"):
                    if job["asked"] != asked:
                        raise refusal("ConflictException", "The token was used with other parameters.")
                    return {"jobArn": emulated.job_arn(job)}
                if job["asked"]["jobName"] == asked["jobName"]:
                    raise refusal("ConflictException", "The job name is in use.")
            number = secrets.token_hex(6)
            state["jobs"][number] = emulated.new_job(asked, number)
            return {"jobArn": emulated.job_arn(state["jobs"][number])}

    def _get(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._shelf.opened() as state:
            number = _known(state, asked["jobIdentifier"])["number"]
            if take(state, "sdk_error"):
                raise strange()
            odd = take(state, "unknown_word")
            if take(state, "job_fails"):
                state["jobs"][number]["broken"] = True
        described = emulated.described(self._moved(number))
        return Unchecked({**described, "status": "Pondering"}) if odd else described

    def _moved(self, number: str) -> dict[str, Any]:
        """Return a job after a moment has passed: rows are read, the workshop is asked, results are kept."""
        job = self.jobs()[number]
        moved = emulated.move(dict(job), self._workshop, self._content)
        if moved["status"] == "Completed" and job["status"] != "Completed":
            self._keep(emulated.metric_files(moved, self._workshop.metrics(moved["workshop_id"])))
        with self._shelf.opened() as state:
            if state["jobs"][number] == job:  # nobody else has moved it meanwhile
                state["jobs"][number] = moved
            return dict(state["jobs"][number])

    def _list(self, asked: dict[str, Any]) -> dict[str, Any]:
        start, size = int(asked.get("nextToken", 0)), asked.get("maxResults", 10)
        found = [emulated.described(job) for job in reversed(self.jobs().values())]
        page = [{name: job[name] for name in emulated.SUMMARY} for job in found[start : start + size]]
        more = {"nextToken": str(start + size)} if len(found) > start + size else {}
        return {"modelCustomizationJobSummaries": page, **more}

    def _stop(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._shelf.opened() as state:
            job = _known(state, asked["jobIdentifier"])
            if job["status"] in emulated.ENDED:
                raise refusal("ConflictException", f"The job is {job['status']} and cannot be stopped.")
            job["status"] = "Stopping"
        if job["workshop_id"]:
            self._workshop.stop(job["workshop_id"])
        return {}

    # ---- models and deployments

    def _get_model(self, asked: dict[str, Any]) -> dict[str, Any]:
        job = self._job_of_model(asked["modelIdentifier"])
        return {
            "modelArn": job["model"],
            "modelName": job["asked"]["customModelName"],
            "jobArn": emulated.job_arn(job),
            "baseModelArn": emulated.base_arn(job["asked"]["baseModelIdentifier"]),
            "creationTime": emulated.moment(job["ended"]),
            "trainingDataConfig": job["asked"]["trainingDataConfig"],
            "outputDataConfig": job["asked"]["outputDataConfig"],
        }

    def _delete_model(self, asked: dict[str, Any]) -> dict[str, Any]:
        number = self._job_of_model(asked["modelIdentifier"])["number"]
        with self._shelf.opened() as state:
            if any(found["modelArn"] == asked["modelIdentifier"] for found in state["deployments"].values()):
                raise refusal("ConflictException", "The model has a deployment.")
            state["jobs"][number]["model"] = None
        return {}

    def _deploy(self, asked: dict[str, Any]) -> dict[str, Any]:
        self._job_of_model(asked["modelArn"])
        name, arn = asked["modelDeploymentName"], f"{emulated.ARN}:custom-model-deployment/{secrets.token_hex(6)}"
        with self._shelf.opened() as state:
            if name in state["deployments"]:
                raise refusal("ValidationException", "The deployment name is in use.")
            state["deployments"][name] = {"arn": arn, "modelArn": asked["modelArn"], "created": time.time()}
        return {"customModelDeploymentArn": arn}

    def _get_deployment(self, asked: dict[str, Any]) -> dict[str, Any]:
        name, found = self._deployment(asked["customModelDeploymentIdentifier"])
        is_ready = time.time() - found["created"] > DEPLOYING_SECONDS
        return {
            "customModelDeploymentArn": found["arn"],
            "modelDeploymentName": name,
            "modelArn": found["modelArn"],
            "createdAt": emulated.moment(found["created"]),
            "status": "Active" if is_ready else "Creating",
        }

    def _undeploy(self, asked: dict[str, Any]) -> dict[str, Any]:
        name, _ = self._deployment(asked["customModelDeploymentIdentifier"])
        with self._shelf.opened() as state:
            state["deployments"].pop(name, None)
        return {}

    def _converse(self, asked: dict[str, Any]) -> dict[str, Any]:
        workshop_id, workshop = None, self._workshop
        if ":imported-model/" in asked["modelId"]:
            workshop = self.imports.workshop(asked["modelId"])
        elif asked["modelId"].startswith("arn:"):
            _, deployment = self._deployment(asked["modelId"])
            workshop_id = self._job_of_model(deployment["modelArn"])["workshop_id"]
        limits = asked.get("inferenceConfig", {})
        parameters = GenerationParameters(
            max_tokens=limits.get("maxTokens", 256), temperature=limits.get("temperature", 0.0)
        )
        try:
            answer = workshop.answer(workshop_id, emulated.conversation(asked), parameters)
        except TuneBridgeError as error:
            raise refusal("ValidationException", str(error)) from None
        return emulated.converse_answer(answer)

    def _deployment(self, identifier: str) -> tuple[str, dict[str, Any]]:
        with self._shelf.opened() as state:
            for name, found in state["deployments"].items():
                if identifier in (name, found["arn"]):
                    return name, found
        raise refusal("ResourceNotFoundException", "The deployment could not be found.", status=404)

    def _job_of_model(self, arn: str) -> dict[str, Any]:
        for job in self.jobs().values():
            if job["model"] == arn:
                return job
        raise refusal("ResourceNotFoundException", "The model could not be found.", status=404)

    # ---- files

    def _content(self, uri: str) -> bytes:
        place = Location.parse(uri)
        path = self.account.buckets.path(place.bucket, place.key)
        if not path.is_file():
            raise refusal("ValidationException", f"The provided S3 URI {uri} could not be found or read.")
        return path.read_bytes()

    def _keep(self, files: dict[Location, bytes]) -> None:
        for place, content in files.items():
            with tempfile.NamedTemporaryFile() as file:
                file.write(content)
                file.flush()
                self.account.buckets.put(place.bucket, place.key, Path(file.name))


def _validators(asked: dict[str, Any]) -> list[str]:
    return [found["s3Uri"] for found in asked.get("validationDataConfig", {}).get("validators", [])]


def _known(state: dict[str, Any], identifier: str) -> dict[str, Any]:
    for number, job in state["jobs"].items():
        if identifier in (number, job["asked"]["jobName"], emulated.job_arn(job)):
            found: dict[str, Any] = job
            return found
    raise refusal("ResourceNotFoundException", "The provided job identifier could not be found.", status=404)
