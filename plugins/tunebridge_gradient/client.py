"""The only importer of gradientai: adapters, samples and answers, in plain values."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from tunebridge.errors import AuthenticationError, BackendError, NotFound
from tunebridge_gradient.status import backend_error

TOKEN, WORKSPACE, HOST = "GRADIENT_ACCESS_TOKEN", "GRADIENT_WORKSPACE_ID", "GRADIENT_API_URL"
TIMEOUT_SECONDS = 60.0
"""For every call but those that train."""


@dataclass(frozen=True)
class Access:
    """Where, and with which token; the token is never written anywhere."""

    host: str
    token: str
    workspace_id: str


class Applied(NamedTuple):
    """What the service said of a chunk that it has trained."""

    tokens: int
    sum_loss: float


def access(connection: Mapping[str, Any]) -> Access:
    """Return the access of a job's connection; what it leaves open comes from the environment, as in the SDK."""
    found = {
        HOST: connection.get("host") or os.environ.get(HOST),
        TOKEN: os.environ.get(TOKEN),
        WORKSPACE: connection.get("workspace_id") or os.environ.get(WORKSPACE),
    }
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise AuthenticationError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set. The public service is closed, so "
            f"nothing is assumed: set the environment variables of an installation that you can reach.",
            backend="gradient",
            operation="connect",
        )
    return Access(str(found[HOST]), str(found[TOKEN]), str(found[WORKSPACE]))


class Remote:
    """An installation of the service; every method raises BackendError and returns plain values."""

    def __init__(self, access: Access, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        from gradientai._gradient import Gradient  # the public name's stub knows no arguments

        with translated("connect"):
            self._sdk: Any = Gradient(access_token=access.token, host=access.host, workspace_id=access.workspace_id)
        # The SDK's public methods have no timeout, so that a lost answer would be waited for for ever.
        for name in ("create_model", "fine_tune_model", "complete_model", "get_model", "list_models", "delete_model"):
            method = getattr(self._sdk._models_api, name)
            setattr(self._sdk._models_api, name, partial(method, _request_timeout=timeout_seconds))

    def create(self, name: str, asked: Mapping[str, Any]) -> str:
        """Create an adapter with exactly one call and return its id; NotFound names the slugs that there are."""
        bases = {model.slug: model for model in self._models(only_base=True, operation="submit")}
        if asked["base_model"] not in bases:
            raise NotFound(
                f"there is no base model {asked['base_model']!r}. Choose one of {', '.join(sorted(bases)) or 'none'}.",
                backend="gradient",
                operation="submit",
            )
        with translated("submit"):
            base = bases[asked["base_model"]]
            made = base.create_model_adapter(
                name=name, rank=asked.get("rank"), learning_rate=asked.get("learning_rate")
            )
        return str(made.id)

    def adapters(self, operation: str = "list_jobs") -> Iterator[tuple[str, str]]:
        """Yield id and name of the workspace's adapters."""
        for model in self._models(only_base=False, operation=operation):
            if hasattr(model, "name"):
                yield str(model.id), str(model.name)

    def slugs(self) -> list[str]:
        """Return the base models that the installation has."""
        return [str(model.slug) for model in self._models(only_base=True, operation="check")]

    def look(self, adapter_id: str) -> None:
        """Raise NotFound where an adapter is gone."""
        with translated("poll"):
            self._sdk.get_model_adapter(model_adapter_id=adapter_id)

    def fine_tune(self, adapter_id: str, samples: Sequence[Mapping[str, Any]]) -> Applied:
        """Train an adapter on a chunk of samples, with exactly one call that lasts as long as the training."""
        with translated("fine_tune"):
            adapter = self._adapter(adapter_id)
            said = adapter.fine_tune(samples=[_sample(sample) for sample in samples])
        return Applied(int(said.number_of_trainable_tokens), float(said.sum_loss))

    def complete(self, model_id: str, query: str, *, max_tokens: int, temperature: float) -> tuple[str, str]:
        """Return how an answer ended, and the answer."""
        with translated("generate"):
            said = self._adapter(model_id).complete(
                query=query, max_generated_token_count=max_tokens, temperature=temperature
            )
        return str(said.finish_reason), str(said.generated_output)

    def base_id(self, slug: str) -> str:
        """Return the id of a base model."""
        for model in self._models(only_base=True, operation="generate"):
            if model.slug == slug:
                return str(model.id)
        raise NotFound(f"there is no base model {slug!r}. Look at its slug.", backend="gradient", operation="generate")

    def delete(self, adapter_id: str) -> None:
        """Delete an adapter."""
        with translated("delete"):
            self._adapter(adapter_id).delete()

    def _models(self, *, only_base: bool, operation: str) -> list[Any]:
        with translated(operation):
            return list(self._sdk.list_models(only_base=only_base))

    def _adapter(self, adapter_id: str) -> Any:
        """Return an adapter by its id without asking the service for it."""
        from gradientai._model_adapter import ModelAdapter  # the public name is a protocol

        return ModelAdapter(
            api_instance=self._sdk._models_api,
            id=adapter_id,
            base_model_id="",
            name="",
            workspace_id=self._sdk._workspace_id,
        )


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn whatever the SDK raises inside the block into a BackendError."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:  # whatever the SDK raises becomes one of ours, and its text loses its traceback
        raise backend_error(error, operation) from None


def _sample(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the SDK takes it: there the multiplier lies flat, on the wire it does not."""
    multiplier = row.get("fineTuningParameters", {}).get("multiplier")
    return {"inputs": row["inputs"], **({} if multiplier is None else {"multiplier": float(multiplier)})}
