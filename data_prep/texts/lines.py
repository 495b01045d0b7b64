"""The one reader of text files: which encodings are read, what ends a line, and which files belong line to line.

Text is UTF-8, with or without a byte order mark. A file in UTF-16 or in a code page such as latin-1 is refused by
name: a guess would turn letters into others without a word. Only \\n, \\r\\n and \\r end a line, so that a U+2028
or a form feed within a text never makes two of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from selffl_cli.errors import SelfflError

MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
ENDS = re.compile(r"\r\n|\n|\r")


def nfc(text: str) -> str:
    """The composed form: a name that one system writes with é and another with e and an accent is one name."""
    return unicodedata.normalize("NFC", text)


def decode_text(data: bytes, where: object) -> str:
    """The text of UTF-8 bytes without their byte order mark; SelfflError names the encoding of others."""
    for mark, name in MARKS.items():
        if data.startswith(mark):
            raise SelfflError(f"{where}: is {name}; save it as UTF-8, such as by iconv -f {name} -t UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if b"\0" in data:
            raise SelfflError(f"{where}: holds NUL bytes, so it is UTF-16 or no text; save it as UTF-8") from None
        before = data[: error.start]
        line = 1 + len(ENDS.findall(before.decode("utf-8", "replace")))
        raise SelfflError(
            f"{where}: is no UTF-8 (byte 0x{data[error.start]:02x} in line {line}), but latin-1 or another code page; "
            "save it as UTF-8, such as by iconv -f latin1 -t UTF-8"
        ) from None


def split_lines(text: str) -> list[str]:
    """Its lines without their ends; what stands behind the last end is a line only where it is something."""
    lines = ENDS.split(text)
    return lines[:-1] if lines[-1] == "" else lines


def read_lines(path: Path, takes: str) -> list[str]:
    """The lines of a file; SelfflError where it cannot be read (`takes` says what the source should be)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SelfflError(f"{path}: cannot be read ({error.strerror}); give --source {takes}") from None
    return split_lines(decode_text(data, path))


def aligned(folder: Path, names: Sequence[str], takes: str) -> list[tuple[int, tuple[str, ...]]]:
    """(line number, the line of each file) of files whose lines belong together, such as texts and their labels.

    Lines that are blank in every file are left out; a line that is blank in one alone is a SelfflError, since a text
    would get the label of another.
    """
    columns = [[line.strip() for line in read_lines(folder / name, takes)] for name in names]
    for lines in columns:
        while lines and not lines[-1]:
            lines.pop()
    shortest = min(map(len, columns))
    rows = []
    for number, row in enumerate(zip(*(lines[:shortest] for lines in columns), strict=True), 1):
        if all(row):
            rows.append((number, row))
        elif any(row):
            empty, full = names[row.index("")], next(n for n, line in zip(names, row, strict=True) if line)
            raise SelfflError(
                f"{folder}: texts and labels do not line up: line {number} of {empty} is empty, but {full} has "
                f"'{row[names.index(full)][:40]}' there; take the line out of every file or fill it in"
            )
    if len({len(lines) for lines in columns}) > 1:
        sizes = ", ".join(f"{name} {len(lines)}" for name, lines in zip(names, columns, strict=True))
        raise SelfflError(
            f"{folder}: texts and labels do not line up: different numbers of lines ({sizes}), from "
            f"line {shortest + 1} on at the latest; bring files that belong together"
        )
    return rows
