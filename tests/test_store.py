"""The store: several processes at once, a full disk, a file that is no store, stale news."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import fake_client, write_job
from tests.processes import ROOT, run_at_once
from tunebridge.errors import JobNotFound, StoreError
from tunebridge.job import Event, JobStatus, now
from tunebridge.store import Store
from tunebridge.testing.service import FakeService


def test_four_processes_write_one_store(tmp_path: Path) -> None:
    write_job(tmp_path)
    code = """
from tunebridge.job import Event, now
client = fake_client(folder)
job = client.submit(folder / "job.yaml", again=True)
for number in range(40):
    first = client.store.list()[-1].id
    client.store.add_event(first, Event(id=f"{os.getpid()}-{number}", at=now(), message="m"))
"""
    run_at_once(code, tmp_path, processes=4)
    store = Store(tmp_path / "store")
    written = [event.id for job in store.list() for _, event in store.events(job.id) if event.message == "m"]
    assert len(store.list()) == 4
    assert len(written) == len(set(written)) == 160
    with sqlite3.connect(tmp_path / "store" / "jobs.sqlite3") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_processes_that_watch_one_job_see_each_event_once(tmp_path: Path) -> None:
    job = fake_client(tmp_path).submit(write_job(tmp_path))
    code = f"print(*[event.id for _, event in fake_client(folder).watch({job.id!r}, timeout_seconds=60)])"
    seen = run_at_once(code, tmp_path, processes=2)
    everything = [event.id for _, event in fake_client(tmp_path).events(job.id)]
    assert [line.split() for line in seen] == [everything] * 2
    assert len(set(everything)) == len(everything)
    assert fake_client(tmp_path).get(job.id).status == JobStatus.succeeded


def test_a_full_disk_is_said_and_leaves_the_store_whole(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    job = client.submit(write_job(tmp_path))
    code = f"""
import resource, sys
from pathlib import Path
from tests.fakes import fake_client
from tunebridge.errors import StoreError
from tunebridge.job import Event, now
store = fake_client(Path({str(tmp_path)!r})).store
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    for number in range(100):
        store.add_event({job.id!r}, Event(id=str(number), at=now(), message="x" * 3000))
        print(number)
except StoreError as error:
    print(error, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "free space" in done.stderr
    kept = [event.id for _, event in client.events(job.id) if event.id.isdigit()]
    assert kept == done.stdout.split()
    assert client.wait(job.id).status == JobStatus.succeeded


def test_the_reason_of_a_failed_write_is_not_hidden(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    job = client.submit(write_job(tmp_path))

    def outgrow() -> None:
        with client.store._write() as db:
            db.execute("PRAGMA max_page_count = 1")
            for number in range(100):
                values = (job.id, str(number), "x" * 3000)
                db.execute("INSERT OR IGNORE INTO events (job_id, event_id, record) VALUES (?, ?, ?)", values)

    # SQLite may have rolled back by itself; a second ROLLBACK would hide why.
    with pytest.raises(StoreError, match="database or disk is full"):
        outgrow()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite3").write_text("not a database " * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="another folder"):
        Store(tmp_path / "file")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    folder = client.store.home / "jobs"
    folder.rmdir()
    folder.write_text("in the way")
    with pytest.raises(StoreError, match="cannot be made"):
        client.submit(write_job(tmp_path))
    assert client.list() == []
    assert FakeService(tmp_path / "service").jobs() == {}


def test_stale_news_does_not_end_a_job_that_was_resumed(tmp_path: Path) -> None:
    client, service = fake_client(tmp_path), FakeService(tmp_path / "service")
    job = client.submit(write_job(tmp_path))
    while job.status != JobStatus.running:
        job = client.get(job.id)
    service.inject("job_fails")
    stale = client.backend("fake").poll(job, job.cursor)
    assert client.get(job.id).status == JobStatus.failed
    client.resume(job.id)
    assert client.store.record(job, stale)[0].status == JobStatus.queued
    assert client.wait(job.id).status == JobStatus.succeeded


def test_a_part_of_an_id_must_be_unambiguous(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    job = client.submit(write_job(tmp_path))
    other = client.submit(tmp_path / "job.yaml", again=True)
    assert client.store.get(job.id[-6:]).id == job.id
    assert client.store.get("last").id == other.id
    with pytest.raises(JobNotFound, match="2 jobs"):
        client.store.get("tb-")
    with pytest.raises(JobNotFound):
        client.store.get("")


def test_an_event_is_kept_once(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    job = client.submit(write_job(tmp_path))
    for _ in range(2):
        client.store.add_event(job.id, Event(id="one", at=now(), message="m"))
    assert [event.id for _, event in client.events(job.id)].count("one") == 1
