"""The conformance suite as pytest tests: subclass BackendConformance and give it a `case` fixture."""

from collections.abc import Iterator

import pytest

from tunebridge.testing.case import BackendCase, Lab, lab
from tunebridge.testing.conformance import CHECKS, run_check


class BackendConformance:
    """One test per check; a class with a `case` fixture of class scope is all that a plugin's test file needs."""

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        """Return the backend to test; override it."""
        raise NotImplementedError("give the subclass a `case` fixture that returns a BackendCase")

    @pytest.fixture(scope="class")
    @classmethod
    def room(cls, case: BackendCase) -> Iterator[Lab]:
        """One store and one finished job for all checks of a class."""
        with lab(case) as opened:
            yield opened

    @pytest.mark.parametrize("check", CHECKS)
    def test_conformance(self, check: str, room: Lab) -> None:
        """The backend holds one part of the contract."""
        result = run_check(check, room)
        if result.outcome == "skipped":
            pytest.skip(result.reason)
        if result.outcome == "expected gap":
            pytest.xfail(result.reason)
        assert result.outcome == "passed", result.reason
