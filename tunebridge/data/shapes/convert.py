"""One row, as a target takes it: converted by the target, held against the limits that it names for a row."""

from collections.abc import Iterator

from tunebridge.data.shapes.notes import CODES
from tunebridge.data.targets import CanonicalRow, Converted, ImageLimits, Loss, Target
from tunebridge.errors import PluginError

BASE64 = ";base64,"


def convert_row(row: CanonicalRow, target: Target) -> Converted:
    """Convert one row; PluginError when the target itself fails."""
    try:
        converted = target.convert(row)
    except Exception as error:  # a third party's code may raise anything
        message = f"the shape {target.backend}/{target.name} failed on a row ({type(error).__name__})."
        raise PluginError(f"{message} Report it to the author of its plugin.") from error
    limits = target.limits.images
    if limits is not None and converted.refused is None and (loss := _too_much(row, limits)) is not None:
        return Converted((), refused=loss)
    return converted


def _too_much(row: CanonicalRow, limits: ImageLimits) -> Loss | None:
    """Return what is too much about a row's images."""
    for images, (path, url) in enumerate(_images(row), start=1):
        if limits.max_per_row is not None and images > limits.max_per_row:
            return Loss("X-image-count", CODES["X-image-count"], path)
        if limits.max_bytes is not None and _size_bytes(url) > limits.max_bytes:
            return Loss("X-image-size", CODES["X-image-size"], path)
    return None


def _images(row: CanonicalRow) -> Iterator[tuple[str, str]]:
    """Yield (path, address) of each image; images are in the conversation only."""
    for number, turn in enumerate(row.get("messages", ())):
        content = turn.get("content")
        if type(content) is list:
            for place, part in enumerate(content):
                if part["type"] == "image_url":
                    yield f"messages.{number}.content.{place}", part["image_url"]["url"]


def _size_bytes(url: str) -> int:
    """Return the bytes of an image that the address itself holds, 0 of one that lies elsewhere."""
    if not url.startswith("data:"):
        return 0
    data = len(url) - url.index(BASE64) - len(BASE64) if BASE64 in url else 0
    return data * 3 // 4 - url.endswith("=") - url.endswith("==")
