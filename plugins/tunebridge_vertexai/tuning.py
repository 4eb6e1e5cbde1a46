"""Mode `tuning`: the service trains; the rows go to Cloud Storage, the tuned model answers at its endpoint."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tunebridge.backend import Generation, GenerationParameters
from tunebridge.data.example import Message
from tunebridge.errors import NotFound, UnsupportedFeature
from tunebridge.job import Artifact, Job, JobStatus, Snapshot
from tunebridge.plan import Plan
from tunebridge_vertexai import follow
from tunebridge_vertexai.client import Remote
from tunebridge_vertexai.files import write_file
from tunebridge_vertexai.models import regions
from tunebridge_vertexai.status import job_status
from tunebridge_vertexai.translate import JOB_LABEL, request
from tunebridge_vertexai.weights import weights

WEIGHTS = "postprocess/node-0/checkpoints/final"
"""Where, below its output, a tuned open model lies."""
CONCURRENT_ANSWERS = 8
ROLES = {"user": "user", "assistant": "model"}
FINISH = {"STOP": "stop", "MAX_TOKENS": "length"}


def submit(remote: Remote, plan: Plan, job: Job) -> str:
    """Upload the rows under the job's own folder, then create the job with one call that carries our id as a label."""
    folder, files = folder_of(job), {}
    for split in ("train", "validation"):
        if (job.folder / f"{split}.jsonl").exists():
            files[split] = f"{folder}/{split}.jsonl"
            remote.upload(write_file(job.folder, split, plan.payload["rows"]["shape"]), files[split])
    return remote.create(request(plan.payload, job.id, files, folder))


def find(remote: Remote, job: Job) -> str | None:
    """Look for our id among the labels; a job sent to `global` lies in whichever region the service chose."""
    location = job.connection["location"]
    for place in regions() if location == "global" else (location,):
        for found in remote.jobs(place, "find"):
            if (found.get("labels") or {}).get(JOB_LABEL) == job.id:
                return str(found["name"])
    return None


def poll(remote: Remote, job: Job, cursor: str | None) -> Snapshot:
    """Return the job's state and the events behind the cursor, which is the number of those that were given."""
    found = remote.job(job.backend_id or "")
    status = job_status(found["state"], found.get("tuning_job_state"))
    told = follow.events(found)
    seen = int(cursor or 0)
    phase = found.get("tuning_job_state") if status != JobStatus.unknown and not status.is_terminal else None
    return Snapshot(
        status=status,
        backend_status=f"{found['state']} {phase}" if phase else found["state"],
        cursor=str(max(seen, len(told))),
        events=tuple(told[seen:]),
        usage=follow.usage(found),
        error=follow.failure(found) if status == JobStatus.failed else None,
    )


def artifacts(remote: Remote, job: Job) -> Sequence[Artifact]:
    """Return Gemini's endpoints, of the tuned model first and of its checkpoints; or an open model's weights."""
    found = remote.job(job.backend_id or "", "artifacts")
    if found.get("output_uri"):
        return weights(remote, f"{found['output_uri'].rstrip('/')}/{WEIGHTS}", _kind(found))
    tuned = found.get("tuned_model") or {}
    names = [tuned[key] for key in ("endpoint", "model") if tuned.get(key)]
    kept = [one["endpoint"] for one in tuned.get("checkpoints") or () if one.get("endpoint")]
    return [
        *(Artifact(kind="model_id", uri=name) for name in names),
        *(Artifact(kind="checkpoint", uri=name) for name in kept if name not in names),
    ]


def generate(
    remote: Remote, model: str, prompts: Sequence[Sequence[Message]], parameters: GenerationParameters
) -> Iterator[Generation]:
    """Yield one answer per prompt, in order."""

    def answer(prompt: Sequence[Message]) -> Generation:
        return _generation(remote.answer(model, *_asked(prompt, parameters)))

    with ThreadPoolExecutor(CONCURRENT_ANSWERS) as pool:
        yield from pool.map(answer, prompts)


def endpoint_of(remote: Remote, job: Job) -> str:
    """Return where the tuned model answers; an open model's weights answer nowhere by themselves."""
    found = remote.job(job.backend_id or "", "generate")
    if found.get("output_uri"):
        raise UnsupportedFeature(
            "An open model that was tuned at Vertex AI answers only where its weights are deployed. Deploy them in "
            "Model Garden, or download them with `tunebridge jobs download`.",
            feature="generate",
            backend="vertexai",
        )
    tuned = found.get("tuned_model") or {}
    if not tuned.get("endpoint"):
        raise NotFound(
            "the job has no endpoint. Look at it with `tunebridge jobs show`.", backend="vertexai", operation="generate"
        )
    return str(tuned["endpoint"])


def folder_of(job: Job) -> str:
    """Return the job's own folder in Cloud Storage."""
    return f"gs://{job.connection['bucket']}/{job.connection['prefix']}/{job.id}"


def _kind(found: Mapping[str, Any]) -> str:
    mode = (found.get("supervised_tuning_spec") or {}).get("tuning_mode")
    return "model" if mode == "TUNING_MODE_FULL" else "adapter"


def _asked(prompt: Sequence[Message], parameters: GenerationParameters) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return contents and config of a call; system turns become its instruction."""
    config: dict[str, Any] = {"max_output_tokens": parameters.max_tokens, "temperature": parameters.temperature}
    config["seed"] = parameters.seed
    system = [_text(turn) for turn in prompt if turn.role not in ROLES]
    if system:
        config["system_instruction"] = "\n\n".join(system)
    turns = [{"role": ROLES[turn.role], "parts": [{"text": _text(turn)}]} for turn in prompt if turn.role in ROLES]
    return turns, config


def _text(turn: Message) -> str:
    if isinstance(turn.content, str) or turn.content is None:
        return turn.content or ""
    return "\n".join(str(part.get("text", "")) for part in turn.content)


def _generation(answered: Mapping[str, Any]) -> Generation:
    (candidate, *_) = answered.get("candidates") or [{}]
    parts = (candidate.get("content") or {}).get("parts") or ()
    return Generation.model_validate(
        {
            "output": "".join(part.get("text") or "" for part in parts),
            "finish_reason": FINISH.get(str(candidate.get("finish_reason")), "error"),
            "tokens": (answered.get("usage_metadata") or {}).get("candidates_token_count"),
        }
    )
