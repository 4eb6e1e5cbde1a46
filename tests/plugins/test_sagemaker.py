"""SageMaker against its emulator, with the unchanged boto3."""

from collections.abc import Iterator

import pytest

from tunebridge.testing.case import BackendCase
from tunebridge.testing.suite import BackendConformance

pytest.importorskip("boto3")
pytestmark = pytest.mark.torch

from tunebridge_sagemaker import conformance  # noqa: E402


class TestSageMaker(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Iterator[BackendCase]:
        yield conformance.case()
        conformance.shared_emulator().end_machines()
