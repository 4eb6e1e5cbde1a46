"""One suite for every backend: run it with `tunebridge check-plugin NAME`, or from pytest with `suite`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tunebridge.errors import PluginError
from tunebridge.plugins import discover, require_installed
from tunebridge.testing import job_checks, plan_checks
from tunebridge.testing.case import BackendCase, Lab, Skipped, lab

Outcome = Literal["passed", "failed", "skipped", "expected gap", "gap is closed"]
Check = Callable[[Lab], None]

CHECKS: Mapping[str, Check] = {
    name.removeprefix("check_"): check
    for module in (plan_checks, job_checks)
    for name, check in vars(module).items()
    if name.startswith("check_")
}
"""Every check by name, in the order in which they run."""


@dataclass(frozen=True)
class Result:
    """What one check found."""

    check: str
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """What the suite found."""

    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed and no gap is closed that is still written down as one."""
        return not any(result.outcome in ("failed", "gap is closed") for result in self.results)

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(result.check for result in self.results if result.outcome == "failed")

    @property
    def summary(self) -> str:
        """One sentence."""
        counts = {
            outcome: sum(r.outcome == outcome for r in self.results) for outcome in ("passed", "failed", "skipped")
        }
        return f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"


def check_backend(case: BackendCase) -> Report:
    """Run every check on one backend."""
    with lab(case) as room:
        return Report(tuple(run_check(name, room) for name in CHECKS))


def run_check(name: str, room: Lab) -> Result:
    """Run one check; a known gap must fail, so that it is noticed when it closes."""
    gap = room.case.gaps.get(name)
    try:
        CHECKS[name](room)
    except Skipped as skipped:
        return Result(name, "skipped", str(skipped))
    except Exception as error:  # a backend under test may raise anything
        if gap:
            return Result(name, "expected gap", f"{gap.kind}: {gap.reason}")
        return Result(name, "failed", str(error) or type(error).__name__)
    return Result(name, "gap is closed", "remove it from `gaps`") if gap else Result(name, "passed")


def check_plugin(name: str) -> Report:
    """Run the suite on an installed backend, with the case that its plugin brings as `BackendInfo.conformance`."""
    info = discover().backend(name)
    require_installed(info)
    if info.conformance is None:
        raise PluginError(
            f"The backend {name!r} brings no case to test it with. Give its BackendInfo `conformance=`, a function "
            f"that returns a tunebridge.testing.case.BackendCase."
        )
    return check_backend(info.conformance())
