"""The objects of one JSON array of any size, read as far as each needs."""

import json
import re
from collections.abc import Iterator
from typing import IO

from tunebridge.errors import DataError

CHUNK_CHARACTERS = 1 << 20
MAX_ITEM_CHARACTERS = 1 << 26
_SPACE = re.compile(r"[ \t\r\n]*")


def items(file: IO[str], name: str) -> Iterator[tuple[int, bytes]]:
    """Yield (line, text) of each object; DataError where the file is no array of objects."""
    window = _Window(file, name)
    if window.peek() != "[":
        raise window.broken("a .json file holds one array of objects")
    window.skip()
    if window.peek() == "]":
        window.skip()
    else:
        more = True
        while more:
            if window.peek() != "{":
                raise window.broken("an item of the array is not an object")
            yield window.line, window.item()
            separator = window.peek()
            if separator not in (",", "]"):
                raise window.broken("a comma or the array's end is expected" if separator else "the array has no end")
            window.skip()
            more = separator == ","
    if window.peek():
        raise window.broken("something stands behind the array")


class _Window:
    """The part of a file that is looked at."""

    def __init__(self, file: IO[str], name: str) -> None:
        self.line = 1
        self._file, self._name = file, name
        self._text, self._at = "", 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """Return the next character that is no space, nothing at the end of the file."""
        while True:
            space = _SPACE.match(self._text, self._at)
            found = space.end() if space else self._at
            self.line += self._text.count("\n", self._at, found)
            self._at = found
            if found < len(self._text):
                return self._text[found]
            self._text, self._at = self._read(CHUNK_CHARACTERS), 0
            if not self._text:
                return ""

    def skip(self) -> None:
        """Go on by one character."""
        self._at += 1

    def item(self) -> bytes:
        """Return the text of the object that begins here, on one line, and go on behind it."""
        wanted = CHUNK_CHARACTERS
        while True:
            try:
                _, end = self._decode(self._text, self._at)
                break
            except RecursionError:
                raise self.broken("it is nested too deep") from None
            except ValueError as error:
                more = self._read(wanted) if len(self._text) - self._at < MAX_ITEM_CHARACTERS else ""
                if not more:
                    raise self.broken(str(error).split(":")[0]) from None
                self._text, self._at, wanted = self._text[self._at :] + more, 0, wanted * 2
        found = self._text[self._at : end]
        self.line += found.count("\n")
        self._at = end
        # Between the tokens of JSON a line break is a space, and inside its strings there is none.
        return found.replace("\n", " ").encode()

    def broken(self, reason: str) -> DataError:
        """Return the error for what is wrong here."""
        message = f"not valid JSON: {reason}. Mend it; one object per line is a .jsonl file."
        return DataError(message, file=self._name, line=self.line, code="E002")

    def _read(self, characters: int) -> str:
        try:
            return self._file.read(characters)
        except UnicodeDecodeError as error:
            message = f"is not UTF-8 ({error.reason}). Save it as UTF-8."
            raise DataError(message, file=self._name, line=self.line, code="E001") from None
