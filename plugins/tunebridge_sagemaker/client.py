"""The only importer of boto3's results: what the backend asks of SageMaker, in plain values."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from importlib.resources import as_file, files
from importlib.util import find_spec
from typing import Any

from tunebridge import errors
from tunebridge.errors import BackendError, InvalidRequest, MissingDependency, NotFound
from tunebridge_aws.errors import ADVICE, error_code
from tunebridge_aws.session import Session, connect
from tunebridge_aws.storage import Storage
from tunebridge_sagemaker.follow import Line, Place, after

JOB_TAG, PLAN_TAG = "tunebridge-job", "tunebridge-plan"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
TAKEN = ("ResourceInUse", "ResourceInUseException", "ConflictException")
LINES_PER_PAGE = 10_000
COMPOSE_SECONDS = 300


def open_remote(connection: Mapping[str, Any]) -> "Remote":
    """Return SageMaker at a job's connection, with the credentials of the environment."""
    return Remote(connect("sagemaker", connection), connection)


class Remote:
    """SageMaker in one region of one account; every method raises BackendError."""

    def __init__(self, session: Session, connection: Mapping[str, Any]) -> None:
        self._session, self._kms_key_id = session, connection.get("kms_key_id")

    @cached_property
    def storage(self) -> Storage:
        """The buckets."""
        return Storage(self._session, kms_key_id=self._kms_key_id)

    @cached_property
    def _reads(self) -> Any:
        return self._session.client("sagemaker")

    @cached_property
    def _logs(self) -> Any:
        return self._session.client("logs")

    def create(self, request: Mapping[str, Any]) -> str:
        """Create a job with exactly one call and return its name; one that is there and is ours is adopted."""
        name = str(request["TrainingJobName"])
        once = self._session.client("sagemaker", once=True)
        with self._session.translated("submit"):
            try:
                once.create_training_job(**request)
            except Exception as error:
                if error_code(error) not in TAKEN:
                    raise
                self._check_ours(name, {tag["Key"]: tag["Value"] for tag in request["Tags"]})
        return name

    def find(self, name: str, job_id: str) -> str | None:
        """Return the name when there is a job of that name that carries our id."""
        try:
            arn = self.describe(name, "find")["TrainingJobArn"]
        except NotFound:
            return None
        return name if self._tags(arn).get(JOB_TAG) == job_id else None

    def describe(self, name: str, operation: str = "poll") -> dict[str, Any]:
        """Return a job as the service knows it."""
        with self._session.translated(operation):
            described: dict[str, Any] = self._reads.describe_training_job(TrainingJobName=name)
            return described

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Yield every training job of the region."""
        with self._session.translated("list_jobs"):
            for page in self._reads.get_paginator("list_training_jobs").paginate():
                yield from page["TrainingJobSummaries"]

    def stop(self, name: str) -> None:
        """Ask for a job's end; one that has ended stays as it is."""
        with self._session.translated("cancel"):
            try:
                self._reads.stop_training_job(TrainingJobName=name)
            except Exception as error:
                if "is in status" not in str(error):
                    raise

    def delete(self, name: str) -> None:
        """Delete a job that has ended."""
        with self._session.translated("delete"):
            self._reads.delete_training_job(TrainingJobName=name)

    def lines(
        self, name: str, places: Mapping[str, Place], until_ms: int | None
    ) -> Iterator[tuple[str, list[Line], Place]]:
        """Yield each log stream of a job with its lines behind the place that is known of it, and the new place."""
        for stream in self._streams(name):
            place = places.get(stream, Place())
            yield stream, *after(place, self._read(stream, place, until_ms))

    def last_lines(self, name: str, count: int) -> Sequence[str]:
        """Return the last lines of a job's newest log stream."""
        streams = self._streams(name)
        if not streams:
            return ()
        with self._session.translated("poll"):
            found = self._logs.get_log_events(
                logGroupName=LOG_GROUP, logStreamName=streams[-1], limit=count, startFromHead=False
            )
            return [event["message"] for event in found["events"]]

    def hub_model_arn(self, hub: str, name: str) -> str:
        """Return the ARN, with its newest version, of a model of a hub."""
        if name.startswith("arn:"):
            return name
        with self._session.translated("submit"):
            found = self._reads.describe_hub_content(HubName=hub, HubContentType="Model", HubContentName=name)
            return str(found["HubContentArn"])

    def compose(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request that the SageMaker SDK makes of a catalogue model, in a process of its own.

        `asked` is what `catalogue.compose` takes. Nothing is created; MissingDependency where there is no SDK.
        """
        if find_spec("sagemaker") is None:
            raise MissingDependency("sagemaker", backend="sagemaker", extra="jumpstart")
        with as_file(files(__package__).joinpath("sdk.yaml")) as settings:
            switches = {
                "SAGEMAKER_USER_CONFIG_OVERRIDE": str(settings),
                "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": str(settings),
                "SAGEMAKER_VALIDATE_ROLE": "false",
            }
            done = subprocess.run(
                [sys.executable, "-m", "tunebridge_sagemaker.catalogue"],
                input=json.dumps(asked),
                env={**os.environ, **self._session.environment(), **switches},
                capture_output=True,
                text=True,
                timeout=COMPOSE_SECONDS,
                check=False,
            )
        if done.returncode:
            raise InvalidRequest(
                f"the SageMaker SDK ended with {done.stderr.strip()[-500:]!r}. Reinstall tunebridge[jumpstart].",
                backend="sagemaker",
                operation="submit",
            )
        said = json.loads(done.stdout)
        if "request" not in said:
            kind: type[BackendError] = getattr(errors, said["kind"])
            message = f"{said['message'].rstrip('.')}. {ADVICE[kind]}."
            raise kind(message, backend="sagemaker", operation="submit")
        request: dict[str, Any] = said["request"]
        return request

    def make(self, things: Mapping[str, Mapping[str, Any]]) -> None:
        """Make what an endpoint consists of, each with one call; what is there already is left as it is."""
        once = self._session.client("sagemaker", once=True)
        for kind, request in things.items():
            with self._session.translated("deploy"):
                try:
                    getattr(once, f"create_{kind}")(**request)
                except Exception as error:
                    if "already exist" not in str(error):
                        raise

    def endpoint(self, name: str) -> dict[str, Any] | None:
        """Return an endpoint as the service knows it, None where there is none."""
        try:
            with self._session.translated("deploy"):
                found: dict[str, Any] = self._reads.describe_endpoint(EndpointName=name)
                return found
        except NotFound:
            return None

    def remove(self, name: str) -> None:
        """Remove an endpoint, its configuration and its model; what is gone is no error."""
        for kind, key in (
            ("endpoint", "EndpointName"),
            ("endpoint_config", "EndpointConfigName"),
            ("model", "ModelName"),
        ):
            with suppress(NotFound), self._session.translated("undeploy"):
                getattr(self._reads, f"delete_{kind}")(**{key: name})

    def invoke(self, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask an endpoint."""
        with self._session.translated("generate"):
            runtime = self._session.client("sagemaker-runtime")
            answer = runtime.invoke_endpoint(
                EndpointName=name, ContentType="application/json", Body=json.dumps(asked).encode()
            )
            found: dict[str, Any] = json.loads(answer["Body"].read())
            return found

    def caller(self) -> str:
        """Return whose credentials these are, and prove that they may look at training jobs."""
        with self._session.translated("check"):
            who = self._session.client("sts").get_caller_identity()
            self._reads.list_training_jobs(MaxResults=1)
            return str(who["Arn"])

    def _check_ours(self, name: str, wanted: Mapping[str, str]) -> None:
        tags = self._tags(self.describe(name, "submit")["TrainingJobArn"])
        if any(tags.get(tag) != wanted[tag] for tag in (JOB_TAG, PLAN_TAG)):
            raise InvalidRequest(
                f"a training job {name} is there already and is another one. Submit the job again.",
                backend="sagemaker",
                operation="submit",
            )

    def _tags(self, arn: str) -> dict[str, str]:
        with self._session.translated("find"):
            pages = self._reads.get_paginator("list_tags").paginate(ResourceArn=arn)
            return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}

    def _streams(self, name: str) -> list[str]:
        """Return the log streams of a job, oldest first; none before the container has said anything."""
        with self._session.translated("poll"):
            try:
                pages = self._logs.get_paginator("describe_log_streams").paginate(
                    logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/"
                )
                found = [stream for page in pages for stream in page["logStreams"]]
            except Exception as error:
                if error_code(error) != "ResourceNotFoundException":  # nobody has used the group yet
                    raise
                return []
        return [s["logStreamName"] for s in sorted(found, key=lambda s: (s.get("creationTime", 0), s["logStreamName"]))]

    def _read(self, stream: str, place: Place, until_ms: int | None) -> Iterator[Line]:
        asked: dict[str, Any] = {"logGroupName": LOG_GROUP, "logStreamName": stream, "startTime": place.at_ms}
        if until_ms is not None:
            asked["endTime"] = until_ms
        token: str | None = None
        while True:
            more = {"nextToken": token} if token else {}
            with self._session.translated("poll"):
                page = self._logs.get_log_events(**asked, **more, startFromHead=True, limit=LINES_PER_PAGE)
            yield from (Line(event["timestamp"], event["message"]) for event in page["events"])
            if page["nextForwardToken"] == token:  # the service says so that there is no more
                return
            token = page["nextForwardToken"]
