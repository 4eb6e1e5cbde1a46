"""What the SageMaker SDK makes of a model of the catalogue, as a program that answers on its output.

The only importer of `sagemaker`, and a process of its own: the SDK takes seconds and some 200 MB to import, keeps
clients for as long as the process lives, and writes to the terminal. It composes the request and uploads what the
recipe needs; the job itself is created by the one call that creates every job of ours, under our name.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from tunebridge.errors import BackendError, InvalidRequest
from tunebridge_aws.errors import backend_error


class Composed(Exception):  # not an error: it ends the SDK's call before anything is created
    """The request that the SDK was about to send."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        super().__init__("composed")
        self.request = request


def compose(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the CreateTrainingJob request of a catalogue model's recipe; ValueError for knobs that it lacks.

    `asked`: `model` (of JumpStartConfig), `instance_type`, `hyperparameters`, `channels` (name -> S3 address), `role`,
    `bucket` and `prefix` for uploads, `output`, `kms_key_id` where there is one. Region and credentials are those of
    the environment.
    """
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.jumpstart.configs import JumpStartConfig
    from sagemaker.core.jumpstart.document import get_hub_content_and_document
    from sagemaker.train import ModelTrainer
    from sagemaker.train.configs import Compute, InputData, MetricDefinition, OutputDataConfig

    session = Session(default_bucket=asked["bucket"], default_bucket_prefix=asked["prefix"])
    session.boto_session.events.register("provide-client-params.sagemaker.CreateTrainingJob", _stop)
    model = JumpStartConfig(**asked["model"])
    _, document = get_hub_content_and_document(model, session)
    _check_known(asked["hyperparameters"], document.Hyperparameters or [])
    trainer = ModelTrainer.from_jumpstart_config(
        model,
        compute=Compute(instance_type=asked["instance_type"], volume_size_in_gb=None)
        if asked["instance_type"]
        else None,
        hyperparameters=dict(asked["hyperparameters"]),
        input_data_config=[InputData(channel_name=name, data_source=uri) for name, uri in asked["channels"].items()],
        output_data_config=OutputDataConfig(s3_output_path=asked["output"], kms_key_id=asked.get("kms_key_id")),
        sagemaker_session=session,
        role=asked["role"],
    )
    known = document.TrainingMetrics or []
    trainer.with_metric_definitions([MetricDefinition(name=found.Name, regex=found.Regex) for found in known] or None)
    try:
        trainer.train(wait=False, logs=False)
    except Composed as composed:
        return composed.request
    raise RuntimeError("the SDK created the job without asking")


def main() -> None:
    """Answer with `{"request"}`, or with `{"kind", "message"}` where `kind` names one of our errors."""
    asked, answers = json.load(sys.stdin), sys.stdout
    with redirect_stdout(sys.stderr):
        try:
            said: dict[str, Any] = {"request": compose(asked)}
        except Exception as error:  # whatever it is, the process that asked words it
            kind = InvalidRequest if isinstance(error, ValueError) else type(_translated(error))
            said = {"kind": kind.__name__, "message": str(error) or type(error).__name__}
    json.dump(said, answers)


def _stop(params: Mapping[str, Any], **_: Any) -> None:
    raise Composed(params)


def _translated(error: Exception) -> BackendError:
    return backend_error(error, backend="sagemaker", operation="submit")


def _check_known(wanted: Mapping[str, Any], recipe: Any) -> None:
    known = {knob.Name for knob in recipe}
    missing = sorted(wanted.keys() - known)
    if missing:
        raise ValueError(f"the model's recipe has no {', '.join(missing)}; it has {', '.join(sorted(known))}")


if __name__ == "__main__":
    main()
