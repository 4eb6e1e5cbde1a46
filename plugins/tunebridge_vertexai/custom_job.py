"""Mode `custom_job`: our trainer on a machine of Vertex AI, its folder in Cloud Storage mounted as `/gcs`."""

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from tunebridge.capabilities import Capabilities
from tunebridge.job import Artifact, Job, JobStatus, Snapshot, Usage
from tunebridge.plan import Plan, Translation
from tunebridge.training import translate as trainer
from tunebridge.training.bundle import archive, write_bundle
from tunebridge.training.config import EVENTS_FILE, RESULT_FILE, RUN_FILE, RunConfig
from tunebridge.training.news import read_news
from tunebridge_vertexai import machine
from tunebridge_vertexai.client import Remote
from tunebridge_vertexai.options import VertexAIOptions
from tunebridge_vertexai.status import job_status
from tunebridge_vertexai.weights import weights

ONLY_HERE = ("machine_type", "accelerator_type", "image_uri", "spot", "timeout_hours", "service_account")
"""Options of this mode."""
ONLY_ELSEWHERE = (
    "custom_base_model",
    "description",
    "distillation",
    "export_last_checkpoint_only",
    "pre_tuned_model_checkpoint_id",
    "reinforcement",
    "tuned_model_display_name",
)
"""Options of the mode `tuning`."""
SENT_AS = {
    **trainer.RUN_OPTIONS,
    **{name: f"connection.{name}" for name in ("mode", "project", "location", "bucket", "prefix")},
    **{name: f"request.{name}" for name in (*ONLY_HERE, "labels", "kms_key_name")},
}
FIELDS = trainer.FIELDS
DEFAULT_HOURS = 24.0
DEFAULTS: Mapping[str, Any] = {
    "machine_type": "g2-standard-8",
    "accelerator_type": "NVIDIA_L4",
    "image_uri": "docker.io/library/python:3.12",
    "spot": False,
    "timeout_hours": DEFAULT_HOURS,
}
START_HOURS = 0.5
"""What a run may take beyond its training: the machine, image, requirements, model."""
TRAINER: dict[str | None, JobStatus] = {
    None: JobStatus.preparing,
    "preparing": JobStatus.preparing,
    "running": JobStatus.running,
    "finalizing": JobStatus.finalizing,
    "succeeded": JobStatus.finalizing,
}
"""What a running machine does, by the trainer's last word."""
DRIVERS = "/usr/local/nvidia/lib64"
"""Where the service puts the GPU's libraries in a container that does not bring them."""


def translate(job: Translation, capabilities: Capabilities) -> Plan:
    """Return the plan of a run on a rented machine."""
    trainer.translate_rented_run(job)
    options = job.options(VertexAIOptions, SENT_AS)
    for name in ("location", "prefix"):
        default = getattr(options, name)
        job.take(f"options.vertexai.{name}", SENT_AS[name], default=default, source="TuneBridge's default")
    for name, default in DEFAULTS.items():
        if name == "accelerator_type" and options.machine_type is not None:
            job.take("options.vertexai.accelerator_type", SENT_AS[name])
        else:
            job.take(f"options.vertexai.{name}", SENT_AS[name], default=default, source="TuneBridge's default")
    for name in ONLY_ELSEWHERE:
        if getattr(options, name) is not None:
            job.refuse(f"options.vertexai.{name}", "it belongs to the mode tuning; remove it")
    if options.location == "global":
        job.refuse("options.vertexai.location", "machines are rented in a region; name one such as us-central1")
    _timeout(job, options)
    return job.plan()


def submit(remote: Remote, plan: Plan, job: Job, folder: str) -> str:
    """Upload source, run and rows under the job's own folder, then create the job with one call."""
    _upload(remote, plan, job, folder)
    return remote.create_custom_job(_request(plan.payload["request"], job.id, folder))


def find(remote: Remote, job: Job, label: str) -> str | None:
    """Look for our id among the labels of the region's custom jobs."""
    for found in remote.custom_jobs("find"):
        if (found.get("labels") or {}).get(label) == job.id:
            return str(found["name"])
    return None


def poll(remote: Remote, job: Job, cursor: str | None, folder: str) -> Snapshot:
    """Return the job's state and what its events in Cloud Storage say behind the byte of the cursor."""
    found = remote.custom_job(job.backend_id or "")
    text, start = remote.read(f"{folder}/work/{EVENTS_FILE}") or b"", int(cursor or 0)
    end = max(text.rfind(b"\n") + 1, start)
    news, whole = read_news(text[start:end].split(b"\n")), read_news(text[:end].split(b"\n"))
    status = job_status(found["state"])
    failed = status == JobStatus.failed
    return Snapshot(
        status=TRAINER.get(whole.word, status) if status == JobStatus.running else status,
        backend_status=found["state"],
        cursor=str(end),
        events=news.events,
        metrics=news.metrics,
        usage=Usage(training_seconds=found.get("seconds")),
        error=(whole.failure or found.get("error") or "the service gave no reason") if failed else None,
    )


def artifacts(remote: Remote, folder: str) -> Sequence[Artifact]:
    """Return the adapter or model in Cloud Storage, with the digest that the trainer wrote down."""
    result = remote.read(f"{folder}/results/{RESULT_FILE}")
    if result is None:
        return []
    found = json.loads(result)
    kind = found["artifact_kind"]
    return weights(remote, f"{folder}/results/{kind}", kind, found["artifact_digest"])


def _timeout(job: Translation, options: VertexAIOptions) -> None:
    limits = [options.timeout_hours or DEFAULT_HOURS]
    if (hours := job.get("budget.max_hours")) is not None:
        limits.append(hours + START_HOURS)
    job.payload["request"]["timeout_seconds"] = int(min(limits) * 3600)


def _upload(remote: Remote, plan: Plan, job: Job, folder: str) -> None:
    local = job.folder / "upload"
    bundle = write_bundle(local, RunConfig.model_validate({"job_id": job.id, **plan.payload["run"]}), job.folder)
    remote.upload(archive(bundle.source, local / "source.tar.gz"), f"{folder}/source.tar.gz")
    shutil.copyfile(machine.__file__, local / "machine.py")
    remote.upload(local / "machine.py", f"{folder}/machine.py")
    for name in (RUN_FILE, "train.jsonl", "validation.jsonl"):
        if (bundle.run / name).exists():
            remote.upload(bundle.run / name, f"{folder}/run/{name}")
    shutil.rmtree(local)


def _request(asked: Mapping[str, Any], job_id: str, folder: str) -> dict[str, Any]:
    """Return the service's CustomJob, without what only it sets."""
    mounted = f"/gcs/{folder.removeprefix('gs://')}"
    place: dict[str, Any] = {"machine_type": asked["machine_type"]}
    if asked.get("accelerator_type"):
        place |= {"accelerator_type": asked["accelerator_type"], "accelerator_count": 1}
    container = {
        "image_uri": asked["image_uri"],
        "command": ["python", f"{mounted}/machine.py", mounted],
        "env": [{"name": "LD_LIBRARY_PATH", "value": DRIVERS}],
    }
    spec: dict[str, Any] = {
        "worker_pool_specs": [{"machine_spec": place, "replica_count": 1, "container_spec": container}],
        "base_output_directory": {"output_uri_prefix": f"{folder}/output"},
        "scheduling": {
            "timeout": {"seconds": asked["timeout_seconds"]},
            **({"strategy": "SPOT"} if asked["spot"] else {}),
        },
    }
    if asked.get("service_account"):
        spec["service_account"] = asked["service_account"]
    made = {"display_name": job_id, "job_spec": spec, "labels": {**asked.get("labels", {}), "tunebridge_job": job_id}}
    if asked.get("kms_key_name"):
        made["encryption_spec"] = {"kms_key_name": asked["kms_key_name"]}
    return made
