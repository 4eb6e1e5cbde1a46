"""The emulator's imports of models: the uploaded weights are read, checked and really loaded to answer."""

import json
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunebridge.testing.shelf import take
from tunebridge.testing.workshop import Workshop
from tunebridge_aws.storage import Location
from tunebridge_aws.wire import Account, Operation, refusal
from tunebridge_bedrock.emulated import ARN, moment

IMPORTING_SECONDS = 0.5
NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""Files that a model must bring beside its weights."""


class Imports:
    """Imported models of one account; what stands lies in its folder."""

    def __init__(self, folder: Path, account: Callable[[], Account]) -> None:
        self._folder, self._account = folder / "imported", account
        self._workshops: dict[str, Workshop] = {}

    @property
    def operations(self) -> dict[str, Operation]:
        """The operations by name."""
        return {
            "CreateModelImportJob": self._create,
            "GetModelImportJob": self._get,
            "GetImportedModel": self._get_model,
            "DeleteImportedModel": self._delete_model,
        }

    def standing(self) -> list[str]:
        """Return the names of the models that are there."""
        with self._account().shelf.opened() as state:
            return [record["asked"]["importedModelName"] for record in state["imports"].values() if _stands(record)]

    def workshop(self, arn: str) -> Workshop:
        """Return where an imported model answers."""
        record = self._record_of_model(arn)
        if arn not in self._workshops:
            self._workshops[arn] = Workshop(self._folder, base_model=str(self._fetched(record)))
        return self._workshops[arn]

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._account().shelf.opened() as state:
            for record in state["imports"].values():
                if record["asked"].get("clientRequestToken") == asked.get("clientRequestToken"):
                    return {"jobArn": record["arn"]}
                if asked["jobName"] == record["asked"]["jobName"]:
                    raise refusal("ConflictException", "The job name is in use.")
            number, model = secrets.token_hex(6), secrets.token_hex(6)
            record = {"asked": asked, "arn": f"{ARN}:model-import-job/{number}", "created": time.time()}
            problem = "Amazon Bedrock could not read the weights" if take(state, "job_fails") else self._problem(asked)
            state["imports"][number] = {**record, "model": f"{ARN}:imported-model/{model}", "failure": problem}
        return {"jobArn": record["arn"]}

    def _get(self, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = asked["jobIdentifier"]
        with self._account().shelf.opened() as state:
            records = list(state["imports"].values())
        record = next((found for found in records if wanted in (found["arn"], found["asked"]["jobName"])), None)
        if record is None:
            raise refusal("ResourceNotFoundException", "The import job could not be found.", status=404)
        status = _status(record)
        answer = {
            "jobArn": record["arn"],
            "status": status,
            "creationTime": moment(record["created"]),
            **{key: record["asked"][key] for key in ("jobName", "importedModelName", "roleArn", "modelDataSource")},
        }
        if status == "Completed":
            answer["importedModelArn"] = record["model"]
        return {**answer, "failureMessage": record["failure"]} if status == "Failed" else answer

    def _get_model(self, asked: dict[str, Any]) -> dict[str, Any]:
        record = self._record_of_model(asked["modelIdentifier"])
        return {
            "modelArn": record["model"],
            "modelName": record["asked"]["importedModelName"],
            "jobArn": record["arn"],
            "jobName": record["asked"]["jobName"],
            "modelDataSource": record["asked"]["modelDataSource"],
            "creationTime": moment(record["created"]),
            "instructSupported": True,
        }

    def _delete_model(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self._record_of_model(asked["modelIdentifier"])
        with self._account().shelf.opened() as state:
            for record in state["imports"].values():
                if record["arn"] == found["arn"]:
                    record["deleted"] = True
        self._workshops.pop(found["model"], None)
        return {}

    def _problem(self, asked: dict[str, Any]) -> str | None:
        """Return why the files are no model, None where they are one."""
        place = Location.parse(asked["modelDataSource"]["s3DataSource"]["s3Uri"])
        names = {key.removeprefix(place.key) for key in self._account().buckets.keys(place.bucket, place.key)}
        missing = [name for name in NEEDED if name not in names]
        if missing or not any(name.endswith(".safetensors") for name in names):
            return f"The model has no {missing[0] if missing else 'weights as safetensors'}"
        config = json.loads(self._account().buckets.path(place.bucket, f"{place.key}config.json").read_text())
        return None if config.get("architectures") else "config.json names no architecture"

    def _fetched(self, record: dict[str, Any]) -> Path:
        target = self._folder / str(record["model"]).rpartition("/")[2]
        place = Location.parse(record["asked"]["modelDataSource"]["s3DataSource"]["s3Uri"])
        for key in self._account().buckets.keys(place.bucket, place.key):
            copy = target / key.removeprefix(place.key)
            copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copyfile(self._account().buckets.path(place.bucket, key), copy)
        return target

    def _record_of_model(self, identifier: str) -> dict[str, Any]:
        with self._account().shelf.opened() as state:
            for record in state["imports"].values():
                if _stands(record) and identifier in (record["model"], record["asked"]["importedModelName"]):
                    return dict(record)
        raise refusal("ResourceNotFoundException", "The model could not be found.", status=404)


def _status(record: dict[str, Any]) -> str:
    if time.time() - record["created"] < IMPORTING_SECONDS:
        return "InProgress"
    return "Failed" if record["failure"] else "Completed"


def _stands(record: dict[str, Any]) -> bool:
    return _status(record) == "Completed" and not record.get("deleted")
