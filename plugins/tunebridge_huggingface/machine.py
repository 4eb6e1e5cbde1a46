"""Runs on the rented machine: `python machine.py RUN REPOSITORY` trains, then pushes the result to the hub.

It is uploaded beside the trainer's source, which PYTHONPATH names. `huggingface_hub` is there once the trainer's
requirements are, because transformers needs it.
"""

import os
import sys
import tempfile
from pathlib import Path

from tunebridge.training import start


def main(run: str, repository: str) -> int:
    """Return the trainer's exit code, 1 where it was stopped before there was a result."""
    work = Path(tempfile.mkdtemp(prefix="tunebridge-"))
    results = work / "results"
    sys.argv = ["start", run, str(work / "run"), "--results", str(results)]
    code = start.main()
    if code or not (results / "result.json").exists():
        return code or 1
    push(results, repository)
    return 0


def push(results: Path, repository: str) -> None:
    """Upload a folder to a model repository, which is made private where it is new."""
    from huggingface_hub import HfApi

    hub = HfApi(token=os.environ["HF_TOKEN"])
    hub.create_repo(repository, private=True, exist_ok=True)
    hub.upload_folder(repo_id=repository, folder_path=results, commit_message="Add the result of a TuneBridge job")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
