"""`python -m tunebridge_ray.cluster.driver JSON`: what Ray Jobs starts; it gives the trainer to Ray Train's workers."""

import json
import sys
from importlib.util import find_spec
from typing import Any

from tunebridge.training.config import RESULT_FILE
from tunebridge.training.news import read_news
from tunebridge_ray.cluster.place import Place

NEEDED = ("torch", "transformers", "peft", "safetensors")


def main(text: str) -> int:
    """Train with the workers that were asked for; return 0 where the run ended well or was stopped, else 1."""
    asked = json.loads(text)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"{', '.join(missing)} is not installed on the cluster. Set options.ray.requirements to install, or put "
            f"it on the cluster's machines.\n"
        )
        return 2
    place = Place(asked["run"])
    try:
        fit(asked, place)
    except Exception as error:  # a group of workers that failed too often; the reason is in their logs
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0 if place.read(RESULT_FILE) is not None or last_word(place) == "cancelled" else 1


def fit(asked: dict[str, Any], place: Place) -> None:
    """Let Ray Train run the trainer, and start the workers again when one dies."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    has_gpu = bool(asked["resources_per_worker"].get("GPU"))
    TorchTrainer(
        work,
        train_loop_config=asked,
        torch_config=TorchConfig(backend="nccl" if has_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=asked["num_workers"], use_gpu=has_gpu, resources_per_worker=asked["resources_per_worker"]
        ),
        run_config=RunConfig(
            name=asked["name"],
            failure_config=FailureConfig(max_failures=asked["max_failures"]),
            **place.for_ray("ray"),
        ),
    ).fit()


def work(asked: dict[str, Any]) -> None:
    """Train as one of the workers; raise where the group has to be started again."""
    import torch
    from ray.train import get_context

    from tunebridge.training.process import PEER_LOST
    from tunebridge.training.run import run
    from tunebridge_ray.cluster.mirror import worked_in

    rank, place = get_context().get_world_rank(), Place(asked["run"])
    with worked_in(place, f"{asked['name']}-{rank}", writes=rank == 0) as folder:
        code = run(folder, lambda: False)
    if code and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # else the others wait for this one
    if code == PEER_LOST and last_word(place) != "failed":
        raise RuntimeError("another worker was lost")


def last_word(place: Place) -> str | None:
    """Return the trainer's last word on its status."""
    return read_news((place.read("events.jsonl") or b"").split(b"\n")).word


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
