"""A fake service, a case and a client for tests."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tunebridge import plugins
from tunebridge.client import Client
from tunebridge.hookspecs import hookimpl
from tunebridge.spec import JobSpec
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.testing.fake import fake_info
from tunebridge.testing.service import FakeService

SECRETS = {"FAKE_API_KEY": "sentinel-5f0c1d9ab7e24"}


def fake_spec() -> JobSpec:
    """Return the smallest job for the fake backend."""
    return JobSpec.model_validate({"backend": "fake", "base_model": "m", "data": {"train": "rows.jsonl"}})


def fake_case(folder: Path) -> BackendCase:
    """Return the fake backend with everything that the suite can use."""
    service = FakeService(folder)
    return BackendCase(
        info=fake_info(folder),
        spec=fake_spec(),
        dataset=small_dataset(),
        inject=service.inject,
        count_remote_jobs=lambda: len(service.jobs()),
        secrets=SECRETS,
    )


def fake_client(folder: Path, **changes: Any) -> Client:
    """Return a client that knows the fake backend only, with changes to its description."""

    class Plugin:
        @hookimpl
        def tunebridge_backends(self) -> list[object]:
            return [replace(fake_info(folder / "service"), **changes)]

    found = plugins.empty()
    found.register(Plugin(), "fake")
    return Client(folder / "store", plugins=found)


def write_job(folder: Path, extra: str = "") -> Path:
    """Write a job file for the fake backend with a few rows."""
    from tunebridge.data.dataset import Split

    rows: Split = small_dataset().train
    rows.write(folder / "rows.jsonl")
    job = folder / "job.yaml"
    job.write_text(f"backend: fake\nbase_model: m\ndata: {{train: rows.jsonl}}\n{extra}")
    return job
