"""The local backend holds the contract; it trains for real."""

import pytest

from tunebridge.testing.case import BackendCase
from tunebridge.testing.suite import BackendConformance
from tunebridge_local.conformance import case as local_case


@pytest.mark.torch
class TestLocal(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        return local_case()
