"""Two total tables: the service's states -> JobStatus, its reasons of failure -> what to do."""

from collections.abc import Mapping
from typing import Any

from tunebridge.job import JobStatus

PRIMARY: dict[str, JobStatus] = {
    "InProgress": JobStatus.running,
    "Completed": JobStatus.succeeded,
    "Failed": JobStatus.failed,
    "Stopping": JobStatus.cancelling,
    "Stopped": JobStatus.cancelled,
}
"""`Deleting` is not here on purpose: what a job was that is being deleted, nobody says."""
SECONDARY: dict[str, JobStatus] = {
    "Starting": JobStatus.queued,
    "Pending": JobStatus.queued,
    "LaunchingMLInstances": JobStatus.queued,
    "Downloading": JobStatus.preparing,
    "DownloadingTrainingImage": JobStatus.preparing,
    "PreparingTrainingStack": JobStatus.preparing,
    "Updating": JobStatus.preparing,
    "Training": JobStatus.running,
    "Interrupted": JobStatus.running,
    "Restarting": JobStatus.running,
    "Uploading": JobStatus.finalizing,
}
"""What `InProgress` means more closely; the service may add words, which then mean no more than `running`."""
OVER_TIME = {
    "MaxRuntimeExceeded": "it ran into its longest runtime. Raise budget.max_hours or options.sagemaker."
    "max_runtime_seconds; its checkpoints are kept in the bucket.",
    "MaxWaitTimeExceeded": "no spot capacity was found for so long. Raise options.sagemaker.max_wait_seconds, or set "
    "spot: false.",
    "MaxPendingTimeExceeded": "no capacity was found for so long. Choose another instance type or region.",
}
"""Secondary status of a job that the service stopped by itself, although it says `Stopped` like one that a user did."""
REASONS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("out of memory", "outofmemory", "exit code: 137", "memory ran out"),
        "Memory ran out: lower hyperparameters.max_length or batch_size, or take a larger instance_type.",
    ),
    (
        ("capacityerror", "capacity"),
        "The region has no such machine free: try again later, or another instance_type or region.",
    ),
    (
        ("resourcelimitexceeded", "limit exceeded", "quota"),
        "An account limit is reached: ask for a higher service quota.",
    ),
    (
        ("accessdenied", "access denied", "not authorized", "passrole"),
        "The role may not do this: look at its policy and at the bucket's and the key's.",
    ),
    (("clienterror",), "The service could not use what it was given: look at the bucket, the image and the role."),
    (("internalservererror", "internal error"), "The service had a fault: submit the job again."),
    (("algorithmerror",), "The trainer failed: its last lines say why; `tunebridge jobs logs` has the rest."),
)
"""Words in a failure's reason (small letters) -> what to do; the first that fits counts."""


def job_status(described: Mapping[str, Any]) -> JobStatus:
    """Return the JobStatus of a described job, `unknown` for a word that is not in the table."""
    primary, secondary = described["TrainingJobStatus"], described["SecondaryStatus"]
    if primary == "InProgress":
        return SECONDARY.get(secondary, JobStatus.running)
    if primary == "Stopped" and secondary in OVER_TIME:
        return JobStatus.failed
    return PRIMARY.get(primary, JobStatus.unknown)


def status_word(described: Mapping[str, Any]) -> str:
    """Return the service's own words for the state."""
    return f"{described['TrainingJobStatus']}/{described['SecondaryStatus']}"


def failure(described: Mapping[str, Any], said: str | None) -> str:
    """Return why a job failed: what the trainer said last or the service's reason, and what to do."""
    if described["SecondaryStatus"] in OVER_TIME:
        return f"{described['SecondaryStatus']}: {OVER_TIME[described['SecondaryStatus']]}"
    reason = str(described.get("FailureReason") or "the service gave no reason").strip().rstrip(".")
    told = f"{reason}. The log ends with: {said.strip().rstrip('.')}" if said else reason
    low = told.lower()
    advice = next((advice for words, advice in REASONS if any(word in low for word in words)), "")
    return f"{told}. {advice or 'Look at `tunebridge jobs logs`.'}"
