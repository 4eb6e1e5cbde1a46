"""A problem: what is wrong, where, and what to do about it."""

from typing import Literal, NamedTuple

from tunebridge.spec import SpecModel

Severity = Literal["error", "warning"]


class Problem(SpecModel):
    """Something wrong with a row."""

    code: str
    severity: Severity
    message: str
    fix: str
    """What to do about it, for people."""
    file: str | None = None
    line: int | None = None
    path: str | None = None
    """Where in the row, such as `messages.2.content`."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.code} {self.message}. {self.fix}"


class Finding(NamedTuple):
    """What is wrong with one row; the file and the line come from where the row was read."""

    code: str
    message: str
    fix: str
    path: str | None = None

    @property
    def severity(self) -> Severity:
        """Errors begin with E."""
        return "error" if self.code[0] == "E" else "warning"

    def at(self, file: str | None, line: int | None) -> Problem:
        """Return the Problem of a place."""
        return Problem(severity=self.severity, file=file, line=line or None, **self._asdict())
