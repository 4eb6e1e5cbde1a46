"""OpenAI's encodings, built from ranks that are shipped with TuneBridge: exact counts without any download."""

import base64
import gzip
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from tunebridge.errors import MissingDependency

if TYPE_CHECKING:
    from tiktoken import Encoding


class EncodingSource(NamedTuple):
    """What an encoding is built from, as in tiktoken 0.14.0 (MIT); licence and origin are in ranks/NOTICE."""

    sha256: str
    """Digest of the ranks before they were compressed, as tiktoken names it."""
    pattern: str
    """How text is cut before tokens are merged."""
    special_tokens: dict[str, int]


SOURCES = {
    "o200k_base": EncodingSource(
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern="|".join(
            [
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            ]
        ),
        special_tokens={"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    ),
    "cl100k_base": EncodingSource(
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern="|".join(
            [
                r"'(?i:[sdmt]|ll|ve|re)",
                r"[^\r\n\p{L}\p{N}]?+\p{L}++",
                r"\p{N}{1,3}+",
                r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
                r"\s++$",
                r"\s*[\r\n]",
                r"\s+(?!\S)",
                r"\s",
            ]
        ),
        special_tokens={
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
}


@cache
def encoding(name: str) -> "Encoding":
    """Return an encoding of `SOURCES`; MissingDependency, with the command that installs it, without tiktoken."""
    try:
        from tiktoken import Encoding
    except ImportError:
        raise MissingDependency("tiktoken", extra="tokens") from None
    source = SOURCES[name]
    pairs = (line.split() for line in ranks(name).splitlines())
    return Encoding(
        name,
        pat_str=source.pattern,
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in pairs},
        special_tokens=source.special_tokens,
    )


def ranks(name: str) -> bytes:
    """Return the ranks of an encoding: a line for each token, its bytes in base64 and its rank."""
    return gzip.decompress(files("tunebridge.data.counting").joinpath("ranks", f"{name}.tiktoken.gz").read_bytes())
