"""The local backend: trains on this machine, in a process of its own."""

from tunebridge.backend import Backend, BackendInfo
from tunebridge.capabilities import Capabilities
from tunebridge.hookspecs import hookimpl
from tunebridge_local.options import LocalOptions
from tunebridge_local.translate import FIELDS

CAPABILITIES = Capabilities(
    methods=frozenset({"sft"}),
    adapters=frozenset({"lora", "full"}),
    dataset_kinds=frozenset({"sft", "text"}),
    dataset_features=frozenset({"tools", "weight", "name"}),
    fields=FIELDS,
    validation_data=True,
    cancel=True,
    events=True,
    metrics=True,
    resume=True,
    inference=True,
    download=True,
    delete=True,
    poll_seconds=1.0,
)


def _load() -> type[Backend]:
    from tunebridge_local.backend import LocalBackend

    return LocalBackend


INFO = BackendInfo(
    name="local",
    title="This machine (PyTorch and PEFT)",
    capabilities=CAPABILITIES,
    load=_load,
    extra="local",
    requires=("torch", "transformers", "peft", "psutil"),
    options=LocalOptions,
)


@hookimpl
def tunebridge_backends() -> list[BackendInfo]:
    """Bring the local backend."""
    return [INFO]
