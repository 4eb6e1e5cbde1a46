"""Read the openly licensed texts that tunebridge/nano is pre-trained on."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# SHA-256 over the names and bytes of every file read from an unpacked package; see `digest`.
SOURCES = {
    "wordnet-base": (
        "usr/share/wordnet",
        "data.*",
        "f0855ed931e53a590590671f8d6ad92d187e848825c14243d1771ab3ae60c692",
    ),
    "python3.11-doc": (
        "usr/share/doc/python3.11/html/_sources",
        "**/*.rst.txt",
        "d74db5a2d62af619a0437cb7cae83ad53e583697c6b6a0e5de7db6695bb00f0a",
    ),
    "dict-jargon": (
        "usr/share/dictd",
        "jargon.dict.dz",
        "d167a6b2f4eb0c1f7844096bb18800bbbc4ec155294f176673bbe0169c6b1ed8",
    ),
    "dict-devil": (
        "usr/share/dictd",
        "devil.dict.dz",
        "2b6cc8056f1e078e2a272fea7a272111472bf5b5ec59626a135bbd87063c5468",
    ),
}

# The changelog is the quickstart's task: nothing of it, and no release notes at all, may be seen here.
LEFT_OUT_FOLDERS = ("whatsnew", "includes")
LEFT_OUT_PAGES = ("contents", "copyright", "license")

LEXICAL_FILES = [
    "quality",
    "pert",
    "manner",
    "tops",
    "act",
    "animal",
    "artifact",
    "attribute",
    "body",
    "cognition",
    "communication",
    "event",
    "feeling",
    "food",
    "group",
    "location",
    "motive",
    "object",
    "person",
    "phenomenon",
    "plant",
    "possession",
    "process",
    "quantity",
    "relation",
    "shape",
    "state",
    "substance",
    "time",
    "body",
    "change",
    "cognition",
    "communication",
    "competition",
    "consumption",
    "contact",
    "creation",
    "emotion",
    "motion",
    "perception",
    "possession",
    "social",
    "stative",
    "weather",
    "ppl",
]

_OBJECT = r"(?:func|meth|c:func|keyword|cfunc)"
_MARKUP = (
    (re.compile(rf":{_OBJECT}:`[!~]?([^`<]+?)(?:\(\))?`"), r"\1()"),
    (re.compile(r":[\w:+.-]+:`[!~]?([^`<]+?)\s*<[^`>]*>`"), r"\1"),
    (re.compile(r":[\w:+.-]+:`[!~]?([^`]+)`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?"), r"\1"),
    (re.compile(r"``([^`]+)``"), r"\1"),
    (re.compile(r"`([^`]+)`_?"), r"\1"),
    (re.compile(r"\*\*([^*\n]+)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*([^*\s][^*\n]*)\*(?![\w*])"), r"\1"),
)
_DIRECTIVE = re.compile(r"^\.\. ([\w:-]+)::\s*")
_DESCRIBING = re.compile(
    r"^(?:py:|c:)?(?:function|class|method|data|attribute|exception|module|macro|type|member|var|"
    r"cmdoption|option|opcode|decorator|classmethod|staticmethod|note|warning|versionadded|"
    r"versionchanged|deprecated|deprecated-removed|seealso|impl-detail|tip|envvar|pdbcommand)$"
)
_UNDERLINE = re.compile(r"^([=\-~*#^\"'.+`])\1{2,}$")


@dataclass(frozen=True)
class Gloss:
    """One WordNet synset: its words, its lexicographer's file and its definition."""

    words: tuple[str, ...]
    field: str
    text: str


@dataclass(frozen=True)
class Passage:
    """One plain-text paragraph of Python's documentation, and where it stands."""

    page: str
    heading: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """All the texts, and the common short words that synthetic tasks are built from."""

    glosses: list[Gloss]
    passages: list[Passage]
    essays: list[str]
    words: list[str]


def load(folder: Path) -> Corpus:
    """Read the four unpacked Debian packages below `folder`, checking every byte that is read."""
    files = {name: _checked_files(folder, name) for name in SOURCES}
    glosses = [gloss for path in files["wordnet-base"] for gloss in _read_glosses(path)]
    essays = [text for name in ("dict-jargon", "dict-devil") for text in _read_essays(files[name][0])]
    passages = [passage for path in files["python3.11-doc"] for passage in _read_page(path)]
    return Corpus(glosses, passages, essays, _short_words(glosses))


def digest(paths: list[Path]) -> str:
    """Return one SHA-256 over the names and the bytes of files, in the order given."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def clean(text: str) -> str:
    """Turn reStructuredText markup into the plain text a reader of the page would see."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return re.sub(r"\s+", " ", text.replace("\\", "").replace("::", ":")).strip()


def _checked_files(folder: Path, package: str) -> list[Path]:
    """List the files read from a package, or raise when they are not the expected bytes."""
    below, pattern, expected = SOURCES[package]
    root = folder / package / below
    paths = sorted(path for path in root.glob(pattern) if _is_wanted(path.relative_to(root)))
    found = digest(paths)
    if found != expected:
        raise ValueError(f"{package}: {len(paths)} files with digest {found}, expected {expected}")
    return paths


def _is_wanted(path: Path) -> bool:
    """Tell whether a documentation page may be read; everything outside the documentation may."""
    page = path.name.split(".")[0]
    return path.parts[0] not in LEFT_OUT_FOLDERS and str(path.parent / page) not in LEFT_OUT_PAGES


def _read(path: Path) -> str:
    """Read a file as text, unpacking the dictionaries' gzip-compatible format."""
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".dz" else raw).decode("utf-8", "replace")


def _read_glosses(path: Path) -> Iterator[Gloss]:
    """Yield the synsets of one WordNet data file."""
    for line in _read(path).splitlines():
        if line.startswith("  ") or "|" not in line:
            continue
        head, text = line.split("|", 1)
        fields = head.split()
        count = int(fields[3], 16)
        words = tuple(re.sub(r"\(\w+\)$", "", w).replace("_", " ") for w in fields[4 : 4 + 2 * count : 2])
        yield Gloss(words, LEXICAL_FILES[int(fields[1])], text.strip())


def _read_essays(path: Path) -> Iterator[str]:
    """Yield the paragraphs of a dictionary that are long enough to be prose."""
    for block in _read(path).split("\n\n"):
        text = re.sub(r"\s+", " ", block).strip()
        if len(text) > 80:
            yield text


def _read_page(path: Path) -> Iterator[Passage]:
    """Yield the plain paragraphs of one page of Python's documentation."""
    parts = path.parts[path.parts.index("_sources") + 1 :]
    page = "/".join(parts).removesuffix(".rst.txt")
    heading = ""
    for block in re.split(r"\n\s*\n", _read(path)):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        title = _heading(lines)
        if title:
            heading = title
            continue
        text = _plain(lines)
        if len(text) > 30:
            yield Passage(page, heading, text)


def _heading(lines: list[str]) -> str:
    """Return the title when a block is an underlined heading, else nothing."""
    marks = [index for index, line in enumerate(lines) if _UNDERLINE.match(line)]
    if not marks or len(lines) > 3:
        return ""
    return clean(next((line for line in lines if not _UNDERLINE.match(line)), ""))


def _plain(lines: list[str]) -> str:
    """Return a block's text without directives that show nothing to a reader."""
    if not lines:
        return ""
    match = _DIRECTIVE.match(lines[0])
    if match is None and lines[0].startswith(".."):
        return ""
    if match is not None and not _DESCRIBING.match(match.group(1)):
        return ""
    return clean(" ".join(_DIRECTIVE.sub("", line) for line in lines if not line.startswith(":")))


def _short_words(glosses: list[Gloss]) -> list[str]:
    """Return the plain lower-case words of three to nine letters, sorted."""
    words = {word for gloss in glosses for word in gloss.words}
    return sorted(word for word in words if re.fullmatch(r"[a-z]{3,9}", word))
