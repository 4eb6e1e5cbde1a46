"""Trim a discovery document of Google's to what requests of a few kinds can hold: `python -m tools.discovery`.

The emulator of the vertexai plugin validates with the result, so it is shipped; descriptions are left out for size.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "plugins" / "tunebridge_vertexai" / "published"
KEPT = ("$ref", "additionalProperties", "enum", "format", "items", "properties", "readOnly", "type")


def trimmed(document: dict[str, Any], roots: list[str]) -> dict[str, Any]:
    """Return the schemas that are reachable from the roots by fields that a request may set."""
    wanted, waiting = {}, list(roots)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted[name] = _without_prose(document["schemas"][name])
            waiting += _references(wanted[name])
    source = f"google-api-python-client {sys.argv[2]}, aiplatform.{document['version']}.json; Apache-2.0"
    return {"_source": source, "revision": document["revision"], "schemas": dict(sorted(wanted.items()))}


def _without_prose(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {key: inner for key, inner in value.items() if key in KEPT}
    if "properties" in kept:  # what only the service may set is named, so that it can be refused, and not followed
        kept["properties"] = {
            name: {"readOnly": True} if field.get("readOnly") else _without_prose(field)
            for name, field in kept["properties"].items()
        }
    return {
        key: _without_prose(inner) if key in ("additionalProperties", "items") else inner for key, inner in kept.items()
    }


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)


def main() -> None:
    """Read `DOCUMENT VERSION ROOT...` from the command line and write the file that belongs to it."""
    document = json.loads(Path(sys.argv[1]).read_text())
    target = FOLDER / f"aiplatform.{document['version']}.json"
    target.write_text(json.dumps(trimmed(document, sys.argv[3:]), indent=1) + "\n")


if __name__ == "__main__":
    main()
