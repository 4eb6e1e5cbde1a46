"""What each service of the dialect accepts and how long its models live: dated rows of `services.toml`."""

import re
import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Service:
    """One service of the dialect."""

    name: str
    title: str
    key_variable: str
    """Environment variable that holds the key."""
    suffix_max_length: int
    pause: bool
    suffix_pattern: str = ".*"

    def refuses_suffix(self, suffix: str) -> str | None:
        """Return why the service would refuse a suffix, None where it would not."""
        if len(suffix) > self.suffix_max_length:
            return f"{self.title} takes a suffix of at most {self.suffix_max_length} characters"
        if not re.fullmatch(self.suffix_pattern, suffix):
            return f"{self.title} takes no such characters in a suffix"
        return None


@dataclass(frozen=True)
class Lifetime:
    """Until when a model can be trained, and when its tuned models stop answering."""

    service: str
    model: str
    """Beginning of the model's name."""
    source_url: str
    as_of: date
    orderable_until: date | None = None
    shutdown_on: date | None = None

    def closed(self, today: date) -> str | None:
        """Return why a job can no longer be made, None while it can."""
        if self.orderable_until and today > self.orderable_until:
            return (
                f"{self.service} has taken no new jobs for this model since {self.orderable_until} ({self.source_url})"
            )
        if self.shutdown_on and today >= self.shutdown_on:
            return f"{self.service} has shut this model down on {self.shutdown_on} ({self.source_url})"
        return None

    def warning(self, today: date) -> str | None:
        """Return what a user should know before paying, None where nothing ends."""
        if self.orderable_until is None and self.shutdown_on is None:
            return None
        parts = []
        if self.orderable_until:
            days = (self.orderable_until - today).days
            parts.append(f"{self.service} takes new jobs until {self.orderable_until} ({days} days)")
        if self.shutdown_on:
            parts.append(f"the tuned model stops answering on {self.shutdown_on}")
        return f"{'; '.join(parts)}. Source: {self.source_url}, seen {self.as_of}."


@dataclass(frozen=True)
class Hosting:
    """What Azure's resource manager needs to know of a tuned model's base."""

    model: str
    """Beginning of the base model's name."""
    format: str
    """What the resource manager calls the model's maker."""


def service(name: str) -> Service:
    """Return a service by name."""
    return Service(name=name, **_table()[name])


def bounds() -> dict[str, tuple[float, float]]:
    """Return the smallest and largest value of each bounded hyperparameter."""
    return {name: (low, high) for name, (low, high) in _table()["bounds"].items()}


def lifetime(service_name: str, model: str) -> Lifetime | None:
    """Return the dates that are known for a model on a service; a tuned model has those of its base."""
    base = model.removeprefix("ft:")
    rows = (Lifetime(**row) for row in _table()["lifetime"])
    return next((row for row in rows if row.service == service_name and base.startswith(row.model)), None)


def hosting(model: str) -> Hosting | None:
    """Return what is known of deploying a model tuned from this one, None for one that is not in the table."""
    rows = (Hosting(**row) for row in _table()["hosting"])
    return next((row for row in rows if model.startswith(row.model)), None)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("tunebridge_openai").joinpath("services.toml").read_text(encoding="utf-8"))
