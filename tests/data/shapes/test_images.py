"""Images are held against the number and size that a service takes of them."""

import base64
from typing import Any

import pytest

from tests.data.targets import target
from tools.dataset_targets import every_target
from tunebridge.data.shapes.convert import convert_row
from tunebridge.data.targets import ImageLimits
from tunebridge.data.writing.limits import Extent, check_limits

TARGETS = {f"{target.backend}/{target.name}": target for target in every_target()}


def row(*urls: str) -> dict[str, Any]:
    """Return a row that asks about images."""
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    asked = {"role": "user", "content": [{"type": "text", "text": "Which?"}, *parts]}
    return {"messages": [asked, {"role": "assistant", "content": "The first."}]}


def image(size_bytes: int) -> str:
    """Return the address of an image that is inside it."""
    return "data:image/png;base64," + base64.b64encode(bytes(size_bytes)).decode()


@pytest.mark.parametrize(
    ("name", "most", "url"),
    [
        ("openai/chat", 10, "https://a.example/b.png"),
        ("azure_openai/chat", 64, "https://a.example/b.png"),
        ("together/chat", 10, image(1)),
        ("vertexai/gemini_sft", 30, "gs://a/b.png"),
    ],
)
def test_a_row_has_as_many_images_as_the_service_takes(name: str, most: int, url: str) -> None:
    assert convert_row(row(*[url] * most), TARGETS[name]).refused is None
    refused = convert_row(row(*[url] * (most + 1)), TARGETS[name]).refused
    assert refused is not None
    assert (refused.code, refused.path) == ("X-image-count", f"messages.0.content.{most + 1}")


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_an_image_is_as_large_as_the_service_takes(spare: int) -> None:
    limits = TARGETS["openai/chat"].limits.images
    assert limits is not None
    assert limits.max_bytes == 10_000_000
    assert convert_row(row(image(limits.max_bytes - spare)), TARGETS["openai/chat"]).refused is None
    refused = convert_row(row(image(1), image(limits.max_bytes + 1 + spare)), TARGETS["openai/chat"]).refused
    assert refused is not None
    assert (refused.code, refused.path) == ("X-image-size", "messages.0.content.2")


def test_rows_with_images_are_counted() -> None:
    limits = ImageLimits(as_of="2026-01-01", source_url="https://example.com", confidence="unverified", max_rows=2)  # type: ignore[arg-type]
    limited = target(images=limits.model_dump())
    few, many = Extent(rows=5, image_rows=2), Extent(rows=5, image_rows=3)
    assert list(check_limits(limited, train=few, validation=None)) == []
    (finding,) = check_limits(limited, train=many, validation=None)
    assert (finding.code, finding.message) == ("E012", "3 rows with images, at most 2 are taken")
