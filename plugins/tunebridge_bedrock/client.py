"""What the backend asks of Bedrock, in plain values."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from tunebridge.errors import InvalidRequest, NotFound
from tunebridge_aws.errors import error_code
from tunebridge_aws.session import Session, connect
from tunebridge_aws.storage import Storage

TAKEN = ("ConflictException", "ResourceInUseException")


def open_remote(connection: Mapping[str, Any]) -> "Remote":
    """Return Bedrock at a job's connection, with the credentials of the environment."""
    return Remote(connect("bedrock", connection), connection)


class Remote:
    """Bedrock in one region of one account; every method raises BackendError."""

    def __init__(self, session: Session, connection: Mapping[str, Any]) -> None:
        self._session, self._kms_key_id = session, connection.get("kms_key_id")

    @cached_property
    def storage(self) -> Storage:
        """The buckets."""
        return Storage(self._session, kms_key_id=self._kms_key_id)

    @property
    def _reads(self) -> Any:
        return self._session.client("bedrock")

    def create(self, body: Mapping[str, Any]) -> str:
        """Create a job with exactly one call and return its ARN; the same token twice is the same job."""
        once = self._session.client("bedrock", once=True)
        with self._session.translated("submit"):
            try:
                return str(once.create_model_customization_job(**body)["jobArn"])
            except Exception as error:
                if error_code(error) not in TAKEN:
                    raise
            found = self.find(body["jobName"])
            if found is None:
                raise InvalidRequest(
                    f"a job {body['jobName']} is there already and is another one. Submit the job again.",
                    backend="bedrock",
                    operation="submit",
                )
            return found

    def find(self, job_id: str) -> str | None:
        """Return the ARN of the job of that name when it was created with our token."""
        try:
            found = self.job(job_id, "find")
        except NotFound:
            return None
        return str(found["jobArn"]) if found.get("clientRequestToken") == job_id else None

    def job(self, identifier: str, operation: str = "poll") -> dict[str, Any]:
        """Return a job as the service knows it."""
        with self._session.translated(operation):
            found: dict[str, Any] = self._reads.get_model_customization_job(jobIdentifier=identifier)
            return found

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Yield every customization job of the region."""
        with self._session.translated("list_jobs"):
            for page in self._reads.get_paginator("list_model_customization_jobs").paginate():
                yield from page["modelCustomizationJobSummaries"]

    def stop(self, identifier: str) -> None:
        """Ask for a job's end; one that has ended stays as it is."""
        with self._session.translated("cancel"):
            try:
                self._reads.stop_model_customization_job(jobIdentifier=identifier)
            except Exception as error:
                if error_code(error) != "ConflictException":
                    raise

    def has_model(self, arn: str) -> bool:
        """Whether a tuned model is there."""
        with self._session.translated("artifacts"):
            return self._is_there(lambda: self._reads.get_custom_model(modelIdentifier=arn))

    def delete_model(self, arn: str) -> None:
        """Delete a tuned model; one that is gone is no error."""
        with self._session.translated("delete"):
            self._is_there(lambda: self._reads.delete_custom_model(modelIdentifier=arn))

    def deployment(self, name: str) -> dict[str, Any] | None:
        """Return a deployment by name, None where there is none."""
        with self._session.translated("deploy"):
            try:
                found: dict[str, Any] = self._reads.get_custom_model_deployment(customModelDeploymentIdentifier=name)
                return found
            except Exception as error:
                if error_code(error) == "ResourceNotFoundException":
                    return None
                raise

    def deploy(self, name: str, model_arn: str, tags: list[dict[str, str]]) -> None:
        """Deploy a tuned model with exactly one call."""
        once = self._session.client("bedrock", once=True)
        with self._session.translated("deploy"):
            once.create_custom_model_deployment(modelDeploymentName=name, modelArn=model_arn, tags=tags)

    def undeploy(self, name: str) -> None:
        """Remove a deployment; one that is gone is no error."""
        with self._session.translated("undeploy"):
            self._is_there(lambda: self._reads.delete_custom_model_deployment(customModelDeploymentIdentifier=name))

    def import_job(self, name: str) -> dict[str, Any] | None:
        """Return the import of that name, None where there is none."""
        with self._session.translated("deploy"):
            try:
                found: dict[str, Any] = self._reads.get_model_import_job(jobIdentifier=name)
                return found
            except Exception as error:
                if error_code(error) == "ResourceNotFoundException":
                    return None
                raise

    def import_model(self, body: Mapping[str, Any]) -> None:
        """Begin an import with exactly one call; the same token twice is the same import."""
        once = self._session.client("bedrock", once=True)
        with self._session.translated("deploy"):
            once.create_model_import_job(**body)

    def has_imported(self, arn: str) -> bool:
        """Whether an imported model is there."""
        with self._session.translated("deploy"):
            return self._is_there(lambda: self._reads.get_imported_model(modelIdentifier=arn))

    def delete_imported(self, arn: str) -> None:
        """Delete an imported model; one that is gone is no error."""
        with self._session.translated("undeploy"):
            self._is_there(lambda: self._reads.delete_imported_model(modelIdentifier=arn))

    def answer(self, model: str, conversation: Mapping[str, Any]) -> dict[str, Any]:
        """Let a model answer one conversation."""
        with self._session.translated("generate"):
            answer: dict[str, Any] = self._session.client("bedrock-runtime").converse(modelId=model, **conversation)
            return answer

    def caller(self) -> str:
        """Return whose credentials these are, and prove that they may look at jobs."""
        with self._session.translated("check"):
            who = self._session.client("sts").get_caller_identity()
            self._reads.list_model_customization_jobs(maxResults=1)
            return str(who["Arn"])

    @staticmethod
    def _is_there(call: Any) -> bool:
        try:
            call()
        except Exception as error:
            if error_code(error) == "ResourceNotFoundException":
                return False
            raise
        return True
