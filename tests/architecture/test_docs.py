"""The generated reference is what the code says."""

from pathlib import Path

import pytest

pytest.importorskip("typer")
FOLDER = Path(__file__).parent.parent.parent / "docs" / "reference"


def test_the_reference_is_up_to_date() -> None:
    from tools.reference import pages

    for name, text in pages().items():
        assert (FOLDER / name).read_text() == text, f"{name} is old: run `make docs`"
