"""Spec, plan, plugins, store, submit and watch, with the fake backend."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.fakes import fake_case, fake_client, fake_spec, write_job
from tunebridge import plugins, specfile, submit
from tunebridge.errors import (
    BackendNotFound,
    DuplicateJob,
    JobFailed,
    JobTimeout,
    MissingDependency,
    SpecError,
    StoreError,
    TuneBridgeError,
    UnsupportedFeature,
)
from tunebridge.hookspecs import hookimpl
from tunebridge.job import Event, Job, JobStatus
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.store import Store
from tunebridge.testing.case import small_dataset
from tunebridge.testing.fake import FakeBackend, fake_info
from tunebridge.testing.service import FakeService


def test_a_job_goes_from_file_to_answer(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    job = client.wait(client.submit(write_job(tmp_path)).id)
    assert job.status == JobStatus.succeeded
    assert len(client.artifacts("last")) == 1
    assert [metric.step for metric in client.metrics(job.id)] == [2, 3, 4]


def test_short_forms_and_overrides(tmp_path: Path) -> None:
    job = write_job(tmp_path, "method: dpo\n")
    spec = specfile.load(job, ["method.adapter=full", "hyperparameters.epochs=2"], backend="other")
    assert (spec.method.type, spec.method.adapter.type, spec.backend) == ("dpo", "full", "other")
    assert spec.hyperparameters.epochs == 2
    assert spec.data.train == str(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("hyperparameters: {epoch: 3}\n", 4, "Did you mean `epochs`?"),
        ("method: {adapter: {rank: 0}}\n", 4, "greater than or equal to 1"),
        ("backend: twice\n", 4, "stands in line 1 already"),
        ("options:\n  fake: {api_key: abc123}\n", 5, "Secrets never stand in a job file"),
        ("name: [\n", 5, "Not valid YAML"),
    ],
)
def test_a_broken_job_file_says_where(text: str, line: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        specfile.load(write_job(tmp_path, text))
    assert says in str(raised.value)
    assert f"job.yaml:{line}: " in str(raised.value)
    assert "abc123" not in str(raised.value)


def test_toml_and_json_say_the_same_as_yaml(tmp_path: Path) -> None:
    values = {"backend": "fake", "base_model": "m", "data": {"train": "rows.jsonl"}}
    (tmp_path / "job.json").write_text(json.dumps(values))
    (tmp_path / "job.toml").write_text('backend = "fake"\nbase_model = "m"\n[data]\ntrain = "rows.jsonl"\n')
    yaml_spec = specfile.load(write_job(tmp_path))
    assert specfile.load(tmp_path / "job.json") == specfile.load(tmp_path / "job.toml") == yaml_spec


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("job.json", '{"backend": "fake",\n "base_model": "m",\n "data": {"train": "a",\n  "lossi": "warn"}}', 4),
        ("job.toml", 'backend = "fake"\nbase_model = "m"\n\n[data]\ntrain = "a"\nlossi = "warn"\n', 6),
        ("job.toml", 'backend = "fake"\nbase_model = "m"\ndata = {train = "a", lossi = "warn"}\n', 3),
    ],
)
def test_toml_and_json_have_lines_too(name: str, text: str, line: int, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SpecError, match="Did you mean `lossy`") as raised:
        specfile.load(tmp_path / name)
    assert f"{name}:{line}: " in str(raised.value)


def test_the_schema_accepts_what_the_spec_accepts(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = specfile.schema()
    job = {"backend": "x", "base_model": "m", "data": {"train": "a", "validation": "10%"}, "method": "dpo"}
    jsonschema.validate(job, schema)
    jsonschema.validate({**job, "method": {"adapter": "full"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**job, "hyperparameters": {"epoch": 1}}, schema)


def test_a_dropped_field_needs_leave(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    job = write_job(tmp_path, "hyperparameters: {weight_decay: 0.1}\n")
    with pytest.raises(UnsupportedFeature, match=r"hyperparameters.weight_decay"):
        client.submit(job)
    assert client.list() == []
    made = client.plan(job, overrides=["allow.drop=[hyperparameters.weight_decay]"])
    assert [line.field for line in made.report.by_outcome("dropped")] == ["hyperparameters.weight_decay"]
    made.require_sendable()


def test_the_same_plan_is_not_submitted_twice(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    first = client.submit(write_job(tmp_path))
    with pytest.raises(DuplicateJob, match=first.id):
        client.submit(tmp_path / "job.yaml")
    client.submit(tmp_path / "job.yaml", again=True)
    assert len(client.list()) == 2


def test_two_submits_at_once_make_one_job(tmp_path: Path) -> None:
    write_job(tmp_path)
    outcomes: list[str] = []

    def try_it() -> None:
        try:
            fake_client(tmp_path).submit(tmp_path / "job.yaml")
            outcomes.append("submitted")
        except DuplicateJob:
            outcomes.append("refused")

    threads = [threading.Thread(target=try_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 3 + ["submitted"]
    assert len(FakeService(tmp_path / "service").jobs()) == 1


def test_a_hundred_lost_answers_make_a_hundred_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "RETRY_SECONDS", 0.001)
    case = fake_case(tmp_path / "service")
    store, backend = Store(tmp_path / "store"), FakeBackend(FakeService(tmp_path / "service"), case.info)
    faults = ("unavailable_after", "dropped_after", "unavailable_before", "rate_limited")
    plan = backend.plan(case.spec, case.dataset)
    for trial in range(100):
        backend.service.inject(faults[trial % 4])
        if trial % 3 == 0:
            backend.service.inject(faults[(trial + 1) % 4])
        submit.submit(store, backend, plan, case.dataset, again=True)
    names = [job["name"] for job in backend.service.jobs().values()]
    assert len(names) == len(set(names)) == 100
    assert {job.id for job in store.list()} == set(names)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.fakes import fake_client
fake_client(Path({folder!r})).submit(Path({folder!r}) / "job.yaml")
"""


@pytest.mark.parametrize(("fault", "before"), [("kill_before", 0), ("kill_after", 1)])
def test_a_submit_that_is_killed_is_settled_by_reconcile(fault: str, before: int, tmp_path: Path) -> None:
    write_job(tmp_path)
    service = FakeService(tmp_path / "service")
    service.inject(fault)
    code = KILLED.format(root=str(Path(__file__).parent.parent), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert len(service.jobs()) == before
    client = fake_client(tmp_path)
    assert [job.status for job in client.list(refresh=True)] == [JobStatus.submitting]
    assert [job.status for job in client.reconcile().settled] == [JobStatus.queued]
    assert len(service.jobs()) == 1
    assert client.wait("last").status == JobStatus.succeeded


def test_a_service_that_never_answers_leaves_the_job_to_reconcile(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    FakeService(tmp_path / "service").inject("unavailable_before", times=submit.MAX_ATTEMPTS)
    with pytest.raises(JobFailed, match="jobs reconcile"):
        client.submit(write_job(tmp_path))
    assert client.list()[0].status == JobStatus.submitting
    assert len(client.reconcile().settled) == 1


def test_every_watcher_sees_each_event_once(tmp_path: Path) -> None:
    job = fake_client(tmp_path).submit(write_job(tmp_path))
    seen: list[list[str]] = [[], [], []]

    def follow(into: list[str]) -> None:
        into.extend(event.id for _, event in fake_client(tmp_path).watch(job.id, timeout_seconds=60))

    threads = [threading.Thread(target=follow, args=(into,)) for into in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [event.id for _, event in fake_client(tmp_path).events(job.id)]
    assert seen == [everything] * 3
    assert len(set(everything)) == len(everything)


def test_watching_goes_on_where_it_was_left(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    job = client.submit(write_job(tmp_path))
    events = client.watch(job.id)
    first = [next(events) for _ in range(3)]
    events.close()
    rest = list(fake_client(tmp_path).watch(job.id, after=first[-1][0]))
    assert [n for n, _ in first + rest] == [n for n, _ in client.events(job.id)]


def test_waiting_too_long_leaves_the_job_alone(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    job = client.submit(write_job(tmp_path))
    with pytest.raises(JobTimeout, match="goes on"):
        client.wait(job.id, timeout_seconds=0)
    assert client.wait(job.id).status == JobStatus.succeeded


def test_a_terminal_status_is_final_except_for_resume(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    FakeService(tmp_path / "service").inject("job_fails")
    job = client.submit(write_job(tmp_path))
    with pytest.raises(JobFailed, match="told to fail"):
        client.wait(job.id)
    changed = client.store.change(job.id, lambda j: j.model_copy(update={"status": JobStatus.running}))
    assert changed.status == JobStatus.failed
    client.resume(job.id)
    assert client.wait(job.id).status == JobStatus.succeeded


def test_a_store_from_a_newer_version_is_refused(tmp_path: Path) -> None:
    import sqlite3

    Store(tmp_path)
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="Upgrade TuneBridge"):
        Store(tmp_path)


def test_the_store_is_for_its_owner_only(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    client.submit(write_job(tmp_path))
    for path in client.store.home.rglob("*"):
        if path.is_dir() or path.name.startswith(("jobs.sqlite3", "train")):
            assert os.stat(path).st_mode & 0o077 == 0, path


def test_a_mistyped_hook_and_a_broken_plugin_are_listed_not_raised() -> None:
    class Mistyped:
        @hookimpl
        def tunebridge_backend(self) -> list[object]:
            return []

    class Exploding:
        @hookimpl
        def tunebridge_backends(self) -> list[object]:
            raise RuntimeError("boom")

    found = plugins.empty()
    found.register(Mistyped(), "mistyped")
    found.register(Exploding(), "exploding")
    assert [broken.name for broken in found.broken] == ["mistyped", "exploding"]
    assert found.backends() == {}


def test_the_allow_list_decides_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins.discover.cache_clear()
    monkeypatch.setenv(plugins.ALLOW_LIST, "")
    assert plugins.discover().backends() == {}
    plugins.discover.cache_clear()


def test_an_unknown_backend_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BackendNotFound, match="Did you mean 'fake'"):
        fake_client(tmp_path).plan(write_job(tmp_path), backend="fakee")


def test_a_missing_package_prints_the_command(tmp_path: Path) -> None:
    from dataclasses import replace

    info = replace(fake_info(tmp_path), requires=("no_such_sdk",), extra="acme")
    with pytest.raises(MissingDependency, match=r'pip install "tunebridge\[acme\]"'):
        plugins.require_installed(info)


def test_a_policy_stops_a_submit_and_a_failing_observer_does_not(tmp_path: Path) -> None:
    heard: list[str] = []

    class Watching:
        @hookimpl
        def tunebridge_job_changed(self, job: Job, event: Event) -> None:
            heard.append(event.id)
            raise RuntimeError("an observer that fails")

    class Forbidding:
        @hookimpl
        def tunebridge_check_plan(self, plan: Plan) -> None:
            raise TuneBridgeError("not on a Sunday")

    client = fake_client(tmp_path)
    client.plugins.register(Watching(), "watching")
    assert client.wait(client.submit(write_job(tmp_path)).id).status == JobStatus.succeeded
    assert heard
    client.plugins.register(Forbidding(), "forbidding")
    with pytest.raises(TuneBridgeError, match="Sunday"):
        client.submit(tmp_path / "job.yaml")
    assert len(client.list()) == 1


def test_a_spec_survives_the_store() -> None:
    spec = JobSpec.model_validate({**fake_spec().to_json(), "method": {"type": "dpo", "adapter": {"rank": 4}}})
    again = JobSpec.model_validate_json(json.dumps(spec.to_json()))
    assert again == spec
    assert again.set_fields() == spec.set_fields()


def test_the_fingerprint_follows_the_rows() -> None:
    assert small_dataset().fingerprint == small_dataset().fingerprint
    assert small_dataset().fingerprint != small_dataset(rows=11).fingerprint
