"""A short run of the fuzzer; `python -m tests.fuzz.readers` is the long one."""

from pathlib import Path

import pytest

hypothesis = pytest.importorskip("hypothesis")

from tests.fuzz.readers import read_anything  # noqa: E402
from tests.fuzz.rows import files  # noqa: E402

ALL = list(hypothesis.HealthCheck)


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=ALL)
@hypothesis.given(file=files())
def test_reading_anything_ends_with_a_report_or_an_error(
    file: tuple[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    read_anything(folder, *file)
