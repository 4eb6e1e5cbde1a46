"""A model behind any OpenAI-compatible endpoint, asked by chat completions."""

import asyncio
import importlib.util
import json
import os
import random
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunebridge.backend import GenerationParameters
from tunebridge.errors import AuthenticationError, EvaluationError, InvalidRequest, MissingDependency
from tunebridge.evaluation.answers import Answer, failure_of
from tunebridge.evaluation.models.model import Numbered, Patience, at_most
from tunebridge.evaluation.task import EvalRow

if TYPE_CHECKING:
    import httpx2

OPENAI = "https://api.openai.com"
BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
MOST_ERROR_CHARACTERS = 300


@dataclass(frozen=True)
class EndpointModel:
    """A model at `base_url` (such as http://127.0.0.1:8000/v1); its key comes from the environment only.

    The key is `TUNEBRIDGE_API_KEY_<LABEL>`, with the label that the evaluation gives the model in capitals, or else
    `TUNEBRIDGE_API_KEY`; `OPENAI_API_KEY` is sent to OpenAI alone.
    """

    base_url: str
    model: str
    label: str = ""
    patience: Patience = Patience()

    @property
    def identity(self) -> Mapping[str, str]:
        """Where the model is, and its name there."""
        return {"kind": "endpoint", "base_url": self.base_url.rstrip("/"), "model": self.model}

    async def answers(
        self, rows: Sequence[EvalRow], parameters: GenerationParameters
    ) -> AsyncGenerator[Numbered, None]:
        """Yield the answers as they come; EvaluationError or AuthenticationError where no row can be answered."""
        if importlib.util.find_spec("httpx2") is None:
            raise MissingDependency("httpx2", extra="eval")
        import httpx2

        key = key_for(self.base_url, self.label)
        most = self.patience.concurrency
        async with httpx2.AsyncClient(
            headers={"authorization": f"Bearer {key}"} if key else {},
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most),
            timeout=self.patience.timeout_seconds,
        ) as client:
            asking = _Asking(self, client, parameters)
            async for numbered in at_most(most, len(rows), lambda number: asking.ask(rows[number])):
                yield numbered


def key_for(base_url: str, label: str) -> str | None:
    """Return the key for an endpoint, from the environment."""
    names = ["TUNEBRIDGE_API_KEY"]
    if label:
        names.insert(0, f"TUNEBRIDGE_API_KEY_{''.join(c if c.isalnum() else '_' for c in label).upper()}")
    if base_url.rstrip("/") == OPENAI or base_url.startswith(f"{OPENAI}/"):
        names.append("OPENAI_API_KEY")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


@dataclass(frozen=True)
class _Asking:
    """One evaluation's connection to an endpoint."""

    model: EndpointModel
    client: "httpx2.AsyncClient"
    parameters: GenerationParameters

    async def ask(self, row: EvalRow) -> Answer:
        """Return a row's answer, asked again while the endpoint is busy; latency is that of the last attempt."""
        patience = self.model.patience
        for attempt in range(1, patience.attempts + 1):
            start = time.perf_counter()
            answer, pause = await self._try(row)
            if pause is None or attempt == patience.attempts:
                return answer.model_copy(update={"latency_seconds": round(time.perf_counter() - start, 6)})
            # Rows that failed together must not come back together.
            await asyncio.sleep(patience.pause_seconds(attempt, pause or None) * random.uniform(0.8, 1.2))
        raise AssertionError("there is at least one attempt")

    async def _try(self, row: EvalRow) -> tuple[Answer, float | None]:
        """Return an answer and, where asking again may help, the seconds that the endpoint wants us to wait, or 0."""
        import httpx2

        url = f"{self.model.base_url.rstrip('/')}/chat/completions"
        try:
            async with asyncio.timeout(self.model.patience.timeout_seconds):
                response = await self.client.post(url, json=body(self.model.model, row, self.parameters))
        except (TimeoutError, httpx2.TimeoutException):
            return Answer(failure="timeout", error="no answer in time"), None
        except httpx2.TransportError as error:
            return Answer(failure="error", error=f"{type(error).__name__}: {error}"), 0.0
        except httpx2.InvalidURL as error:
            raise EvaluationError(f"{self.model.base_url!r} is no URL ({error}). Mend --model.") from None
        if response.status_code in BUSY:
            return _refused(response), _retry_after(response.headers.get("retry-after"))
        if response.status_code in (401, 403, 404):
            raise self._stopped(response)
        return (_read(response) if response.is_success else _refused(response)), None

    def _stopped(self, response: "httpx2.Response") -> Exception:
        where, said = self.model.base_url, _said(response)
        if response.status_code == 404:
            advice = f"Check the URL, which usually ends in /v1, and the model's name {self.model.model!r}."
            return InvalidRequest(f"HTTP 404: {said}. {advice}", backend=where, operation="chat completions")
        advice = f"Set TUNEBRIDGE_API_KEY_{self.model.label.upper() or 'NAME'} to the endpoint's key."
        reason = f"HTTP {response.status_code}: {said}. {advice}"
        return AuthenticationError(reason, backend=where, operation="chat completions")


def body(model: str, row: EvalRow, parameters: GenerationParameters) -> dict[str, Any]:
    """Return the request for a row."""
    turns = [turn.model_dump(mode="json", exclude_none=True, exclude={"weight", "reasoning"}) for turn in row.prompt]
    asked = {"model": model, "messages": turns, "max_tokens": parameters.max_tokens, "seed": parameters.seed}
    asked["temperature"] = parameters.temperature
    return {**asked, "tools": list(row.tools)} if row.tools else asked


def _read(response: "httpx2.Response") -> Answer:
    """Return what the endpoint answered; an answer of another shape is an error of its row."""
    try:
        said = response.json()
        choice = said["choices"][0]
        message = choice["message"]
        refusal = message.get("refusal")
        usage = said.get("usage") or {}
        return Answer(
            output=refusal or message.get("content") or _calls(message.get("tool_calls")),
            failure="refusal" if refusal else failure_of(choice.get("finish_reason")),
            input_tokens=usage.get("prompt_tokens"),
            output_tokens=usage.get("completion_tokens"),
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        return Answer(failure="error", error=f"the endpoint's answer is no chat completion ({type(error).__name__})")


def _calls(calls: Any) -> str:
    """Return the calls of an answer that is made of calls, as JSON of names and arguments."""
    if not calls:
        return ""
    made = [call["function"] for call in calls]
    return json.dumps(
        [{"name": one["name"], "arguments": _arguments(one["arguments"])} for one in made], ensure_ascii=False
    )


def _arguments(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        return text


def _refused(response: "httpx2.Response") -> Answer:
    said = _said(response)
    is_refusal = "content_filter" in said or "content management policy" in said
    return Answer(failure="refusal" if is_refusal else "error", error=f"HTTP {response.status_code}: {said}")


def _said(response: "httpx2.Response") -> str:
    """Return an error's own words, or the beginning of the body."""
    try:
        found = response.json()
        problem = found.get("error", found) if isinstance(found, dict) else found
        parts = [problem.get("code"), problem.get("message")] if isinstance(problem, dict) else [problem]
        said = " ".join(str(part) for part in parts if part)
    except ValueError:
        said = response.text
    return said[:MOST_ERROR_CHARACTERS].strip().rstrip(".") or "no reason given"


def _retry_after(value: str | None) -> float:
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        return 0.0
