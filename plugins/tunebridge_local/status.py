"""The trainer's words -> JobStatus: total, and an unknown word stays visible."""

from tunebridge.job import JobStatus

STATUS: dict[str, JobStatus] = {
    "queued": JobStatus.queued,
    "preparing": JobStatus.preparing,
    "running": JobStatus.running,
    "finalizing": JobStatus.finalizing,
    "cancelling": JobStatus.cancelling,
    "succeeded": JobStatus.succeeded,
    "failed": JobStatus.failed,
    "cancelled": JobStatus.cancelled,
}


def job_status(word: str) -> JobStatus:
    """Return the JobStatus for the trainer's word, `unknown` for one that is not in the table."""
    return STATUS.get(word, JobStatus.unknown)
