"""The suite accepts a good backend and rejects each broken one by the check that is meant to."""

import importlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import SECRETS, fake_case
from tunebridge.errors import AuthenticationError, BackendError
from tunebridge.job import Artifact, Deployment, Event, Job, JobStatus, Snapshot, now
from tunebridge.plan import CORE_FIELDS, Plan, TranslationReport
from tunebridge.spec import field_paths
from tunebridge.testing.case import BackendCase, Gap
from tunebridge.testing.conformance import check_backend
from tunebridge.testing.fake import CAPABILITIES, FakeBackend, fake_info
from tunebridge.testing.plan_checks import SAMPLES
from tunebridge.testing.service import FakeService, ServiceError
from tunebridge.testing.suite import BackendConformance


class TestFake(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> BackendCase:
        return fake_case(tmp_path_factory.mktemp("service"))


class LostCancel(FakeBackend):
    def cancel(self, job: Job) -> None:
        return None


class SwallowedUnknownState(FakeBackend):
    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        found = super().poll(job, cursor)
        return found.model_copy(update={"status": JobStatus.queued}) if found.status == JobStatus.unknown else found


class DroppedField(FakeBackend):
    def plan(self, spec: Any, dataset: Any) -> Plan:
        made = super().plan(spec, dataset)
        return made.model_copy(update={"payload": {k: v for k, v in made.payload.items() if k != "seed"}})


class DuplicateSubmit(FakeBackend):
    def find(self, job: Job) -> str | None:
        return None


class EventRepeated(FakeBackend):
    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        found = super().poll(job, None)
        return found


class EventLost(FakeBackend):
    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        found = super().poll(job, cursor)
        return found.model_copy(update={"events": found.events[1:]}) if cursor == "2" else found


class SecretInEvent(FakeBackend):
    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        found = super().poll(job, cursor)
        secret = f"using the key {next(iter(SECRETS.values()))}"
        event = Event(id=f"key-{found.cursor}", at=now(), message=secret)
        return found.model_copy(update={"events": (*found.events, event)})


class TerminalChanges(FakeBackend):
    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        found = super().poll(job, cursor)
        return found.model_copy(update={"status": JobStatus.running}) if job.status.is_terminal else found


class VendorErrorEscapes(FakeBackend):
    def poll(self, job: Job, cursor: str | None) -> Snapshot:
        try:
            return super().poll(job, cursor)
        except BackendError:
            raise ServiceError(418) from None


class DeclaredButNotThere(FakeBackend):
    def generate(self, *arguments: Any, **named: Any) -> Any:
        raise self.unsupported("generate")


class AnswersWithoutEndpoint(FakeBackend):
    def generate(self, target: Any, prompts: Any, parameters: Any) -> Any:
        return super().generate("base", prompts, parameters)


class DeploysWhatItDoesNotQuote(FakeBackend):
    def needs_endpoint(self, job: Job) -> bool:
        return False

    def quote(self, job: Job) -> Deployment:
        raise self.unsupported("deploy")

    def deploy(self, job: Job) -> Deployment:
        return Deployment(name="unpriced", is_ready=True)


class ImpurePlan(FakeBackend):
    count = 0

    def plan(self, spec: Any, dataset: Any) -> Plan:
        type(self).count += 1
        made = super().plan(spec, dataset)
        return made.model_copy(update={"payload": {**made.payload, "nonce": self.count}})


class SecretInError(FakeBackend):
    def classify(self, error: Exception, operation: str) -> BackendError:
        key = os.environ["FAKE_API_KEY"]
        return AuthenticationError(f"the key {key} is not valid", backend="fake", operation=operation)


class SecretInPayload(FakeBackend):
    def plan(self, spec: Any, dataset: Any) -> Plan:
        made = super().plan(spec, dataset)
        return made.model_copy(update={"payload": {**made.payload, "api_key": os.environ["FAKE_API_KEY"]}})


class UncheckedDownload(FakeBackend):
    def download(self, job: Job, artifact: Artifact, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return shutil.copy(artifact.uri.removeprefix("file://"), folder / "tuned.txt")


class SwallowedWarning(FakeBackend):
    def plan(self, spec: Any, dataset: Any) -> Plan:
        return super().plan(spec, dataset).model_copy(update={"warnings": ()})


class DroppedOption(FakeBackend):
    def plan(self, spec: Any, dataset: Any) -> Plan:
        made = super().plan(spec, dataset)
        kept = tuple(line for line in made.report.fields if not line.field.startswith("options."))
        return made.model_copy(update={"report": TranslationReport(fields=kept)})


class OwnSignature(FakeBackend):
    def cancel(self, the_job: Job) -> None:  # type: ignore[override]
        super().cancel(the_job)


class WrongErrorClass(FakeBackend):
    def classify(self, error: Exception, operation: str) -> BackendError:
        return BackendError("something went wrong", backend="fake", operation=operation)


BROKEN: Sequence[tuple[type[FakeBackend], str]] = (
    (LostCancel, "cancel"),
    (SwallowedUnknownState, "unknown_word"),
    (DroppedField, "every_field_is_accounted_for"),
    (DuplicateSubmit, "lost_answer"),
    (EventRepeated, "no_event_twice"),
    (EventLost, "no_event_lost"),
    (SecretInEvent, "secrets"),
    (TerminalChanges, "terminal_is_final"),
    (VendorErrorEscapes, "no_vendor_error_escapes"),
    (DeclaredButNotThere, "generate"),
    (AnswersWithoutEndpoint, "generate"),
    (DeploysWhatItDoesNotQuote, "deploy"),
    (ImpurePlan, "plan_is_pure"),
    (SecretInError, "secrets"),
    (SecretInPayload, "secrets"),
    (UncheckedDownload, "download"),
    (SwallowedWarning, "features_match_capabilities"),
    (DroppedOption, "options_are_accounted_for"),
    (OwnSignature, "signatures"),
    (WrongErrorClass, "refusals_are_classified"),
)


@pytest.mark.parametrize(("broken", "check"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_backend_is_rejected(broken: type[FakeBackend], check: str, tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    case.open = lambda: broken(FakeService(tmp_path), case.info)
    case.timeout_seconds = 2
    assert check in check_backend(case).failures


def test_a_capability_that_is_there_but_not_declared_is_rejected(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    fewer = CAPABILITIES.model_copy(update={"inference": False, "download": False})
    case.info = fake_info(tmp_path, capabilities=fewer)
    assert set(check_backend(case).failures) == {"generate", "download"}


def test_a_heavy_import_is_rejected(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    case.info = replace(case.info, requires=("pydantic",))
    assert "import_is_light" in check_backend(case).failures


def test_a_plan_that_needs_the_sdk_is_rejected(tmp_path: Path) -> None:
    class NeedsSdk(FakeBackend):
        def plan(self, spec: Any, dataset: Any) -> Plan:
            importlib.import_module("colorsys")
            return super().plan(spec, dataset)

    case = fake_case(tmp_path)
    case.info = replace(case.info, requires=("colorsys",))
    assert check_backend(case).passed
    case.open = lambda: NeedsSdk(FakeService(tmp_path), case.info)
    assert check_backend(case).failures == ("plan_needs_no_sdk",)


def test_the_samples_cover_every_field() -> None:
    chosen = {"base_model", "options", "method.type", "method.adapter.type"}
    assert {*SAMPLES, *CORE_FIELDS, *chosen} == set(field_paths())


def test_a_gap_must_fail_and_is_noticed_when_it_closes(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    case.gaps = {"cancel": Gap("not implemented", "nobody has written it")}
    report = check_backend(case)
    assert not report.passed
    assert [result.check for result in report.results if result.outcome == "gap is closed"] == ["cancel"]
