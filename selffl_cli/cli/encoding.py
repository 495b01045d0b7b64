"""Standard streams that take every character, whatever their encoding."""

from __future__ import annotations

import codecs
import sys
import unicodedata


def any_encoding() -> None:
    """Let both streams of this process take every character: where the encoding has none, the nearest in ASCII."""
    codecs.register_error("selffl-nearest", _nearest)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="selffl-nearest")


_ASCII = {"–": "-", "—": "-", "−": "-", "±": "+-", "†": "+", "→": "->", "…": "...", "∞": "inf", "’": "'", "“": '"',
          "”": '"', "ε": "epsilon", "×": "x", "≥": ">=", "≤": "<=", "█": "#", "━": "-", "─": "-"}  # fmt: skip


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or character.encode("unicode_escape").decode()
