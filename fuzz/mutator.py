"""Changed copies of an input: flipped and cut bytes, and what text formats break on."""

from __future__ import annotations

import random
import re

NUMBERS = ("0", "-1", "1e999", "-1e999", "nan", "inf", "9" * 30, "9" * 5000, "2147483648", "0x7f", "1e-320", "1_0", "٣")
WORDS = (
    "null",
    "true",
    "[]",
    "{}",
    '""',
    "../" * 8 + "etc/passwd",
    "/etc/passwd",
    "\x00",
    "\n",
    "\r\n",
    "\\u0000",
    "\\ud800",
    "'",
    '"',
    '"""',
    "$(touch pwned)",
    "`id`",
    "; rm -rf .",
    "%s%n",
    "a" * 70_000,
    "[" * 3000,
    "{" * 3000,
    '{"a":' * 2000,
    "é",
    "\u202e",
    "\ufeff",
    "=",
    ":",
    ",",
    "#",
    "[[a]]",
    "[a.b]",
    "a.b.c = 1",
)
BYTES = (
    b"\x00",
    b"\xff",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x80",
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"PAR1",
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\x00" * 64,
)
TOKEN = re.compile(rb"-?\d[\d.eE+-]*|\"[^\"\n]*\"|[A-Za-z_][\w-]*")


def mutate(content: bytes, rng: random.Random, words: tuple[str, ...] = ()) -> bytes:
    """`content` after one to four changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        content = rng.choice(CHANGES)(content, rng, words)
    return content


def _place(content: bytes, rng: random.Random) -> int:
    """Anywhere, and often near the head or the tail, where formats keep their sizes."""
    near = rng.choice((len(content), 64, 512))
    at = rng.randrange(min(near, len(content)) + 1)
    return len(content) - at if rng.random() < 0.3 else at


def _flip(content: bytes, rng: random.Random, words: tuple[str, ...]) -> bytes:
    if not content:
        return b"\x00"
    at = min(_place(content, rng), len(content) - 1)
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]


def _cut(content: bytes, rng: random.Random, words: tuple[str, ...]) -> bytes:
    return content[: _place(content, rng)]


def _remove(content: bytes, rng: random.Random, words: tuple[str, ...]) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 8, 100)) :]


def _insert(content: bytes, rng: random.Random, words: tuple[str, ...]) -> bytes:
    at = _place(content, rng)
    return content[:at] + _piece(rng, words) + content[at:]


def _overwrite(content: bytes, rng: random.Random, words: tuple[str, ...]) -> bytes:
    at, piece = _place(content, rng), rng.choice((*BYTES, rng.randbytes(rng.choice((1, 2, 4, 8)))))
    return content[:at] + piece + content[at + len(piece) :]


def _token(content: bytes, rng: random.Random, words: tuple[str, ...]) -> bytes:
    """One number, string or word replaced by another."""
    if len(content) > 200_000:
        return _overwrite(content, rng, words)
    found = list(TOKEN.finditer(content))
    if not found:
        return _insert(content, rng, words)
    match = rng.choice(found)
    other = rng.choice(found).group() if rng.random() < 0.3 else _piece(rng, words)
    return content[: match.start()] + other + content[match.end() :]


def _lines(content: bytes, rng: random.Random, words: tuple[str, ...]) -> bytes:
    """A line doubled, dropped or moved."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    line = lines.pop(at)
    kind = rng.randrange(3)
    if kind == 0:
        lines[at:at] = [line, line]
    elif kind == 1:
        lines.insert(rng.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


def _repeat(content: bytes, rng: random.Random, words: tuple[str, ...]) -> bytes:
    at = _place(content, rng)
    piece = content[at : at + rng.choice((4, 40, 400))]
    return content[:at] + piece * rng.choice((2, 50)) + content[at:]


def _piece(rng: random.Random, words: tuple[str, ...]) -> bytes:
    kind = rng.random()
    if words and kind < 0.3:
        return rng.choice(words).encode("utf-8", "surrogatepass")
    if kind < 0.55:
        return rng.choice(NUMBERS).encode()
    if kind < 0.8:
        return rng.choice(WORDS).encode("utf-8", "surrogatepass")
    return rng.choice(BYTES)


CHANGES = (_flip, _flip, _cut, _remove, _insert, _overwrite, _token, _token, _token, _lines, _repeat)
