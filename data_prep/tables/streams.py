"""Tables read a batch of rows at a time: CSV, TSV, JSON lines, Parquet and ARFF, compressed or not.

Whatever is no number in the file comes as text, so that a column has one type from its first row to its last.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from selffl_cli.errors import SelfflError, UsageError

if TYPE_CHECKING:
    import pyarrow

KINDS = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet",
    ".jsonl": "json", ".ndjson": "json", ".json": "json", ".arff": "arff",
}  # fmt: skip
PACKED = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
TAKES = "a CSV, TSV, Parquet, JSON-lines or ARFF file, .gz, .xz or .bz2 too"
SEPARATORS = ",;\t|"
BLOCK = 8 << 20  # bytes of a table in memory at once
HEAD = 1 << 20  # bytes in which the first line must end


def batches(path: Path, separator: str | None = None) -> Iterator[pyarrow.RecordBatch]:
    """The rows of a table in batches. SelfflError for a file that is none, with the line where it can be told."""
    import pyarrow

    kind = _kind(path)
    try:
        with _opened(path) as stream:
            found = 0
            for batch in _READERS[kind](path, stream, separator):
                found += batch.num_rows
                _check(path, batch)
                if batch.num_rows:
                    yield batch
        if not found:
            raise SelfflError(f"{path}: holds no rows; give {TAKES}")
    except (pyarrow.ArrowException, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        why = (str(error).splitlines() or ["its end is missing"])[0]
        if why == "Empty CSV file":
            raise SelfflError(f"{path}: holds no rows; give {TAKES}") from None
        hint = "; write it in UTF-8" if "UTF8" in why or "utf-8" in why else ""
        raise SelfflError(f"{path}: cannot be read as a table ({why}){hint}") from None
    except OSError as error:
        raise SelfflError(f"{path}: cannot be read ({error.strerror or error})") from None


def _check(path: Path, batch: pyarrow.RecordBatch) -> None:
    from pyarrow import types

    for field in batch.schema:
        if types.is_nested(field.type) or types.is_binary(field.type):
            raise SelfflError(f"{path}: column '{field.name}' holds lists, objects or bytes; write one value a column")


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in KINDS:
        raise UsageError(f"{path}: is no table by its name; give {TAKES}")
    return KINDS[suffixes[-1]]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    unpack = PACKED.get(path.suffix.lower())
    with unpack(path, "rb") if unpack else path.open("rb") as stream:  # type: ignore[operator]
        yield stream


def _csv(path: Path, stream: IO[bytes], separator: str | None) -> Iterator[pyarrow.RecordBatch]:
    head, rest = _first_line(path, stream)
    separator = separator or max(SEPARATORS, key=head.count)
    names = _names(path, next(csv.reader([head], delimiter=separator)))
    yield from _rows(rest, names, separator)


def _first_line(path: Path, stream: IO[bytes]) -> tuple[str, IO[bytes]]:
    """The line that names the columns, and what comes after it."""
    first = stream.readline(HEAD)
    if not first.endswith((b"\n", b"\r")) and len(first) == HEAD:
        raise SelfflError(f"{path}: its first line has more than a million characters and is no row of names")
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SelfflError(f"{path}: is in UTF-16; write it in UTF-8")
    return first.decode("utf-8-sig").rstrip("\r\n"), stream


def _names(path: Path, names: list[str]) -> list[str]:
    names = [name.strip() for name in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SelfflError(f"{path}: has two columns '{twice[0]}'; give each a name of its own")
    return names


def _rows(stream: IO[bytes], names: list[str], separator: str) -> Iterator[pyarrow.RecordBatch]:
    """Lines of values as columns of text."""
    import pyarrow
    from pyarrow import csv as arrow

    with arrow.open_csv(
        pyarrow.PythonFile(stream, "r"),
        arrow.ReadOptions(column_names=names, block_size=BLOCK),
        arrow.ParseOptions(delimiter=separator, newlines_in_values=True),
        arrow.ConvertOptions(
            column_types={name: pyarrow.string() for name in names}, strings_can_be_null=False, check_utf8=True
        ),
    ) as reader:
        yield from reader


def _json(path: Path, stream: IO[bytes], separator: str | None) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow
    from pyarrow import json as arrow

    reader = arrow.open_json(pyarrow.PythonFile(stream, "r"), arrow.ReadOptions(block_size=BLOCK))
    yield from reader


def _parquet(path: Path, stream: IO[bytes], separator: str | None) -> Iterator[pyarrow.RecordBatch]:
    from pyarrow import parquet

    with parquet.ParquetFile(stream if path.suffix.lower() in PACKED else path) as file:
        yield from file.iter_batches(batch_size=1 << 16)


def _arff(path: Path, stream: IO[bytes], separator: str | None) -> Iterator[pyarrow.RecordBatch]:
    """WEKA's format: names from its header, whatever types it states, then lines of values."""
    names: list[str] = []
    while line := stream.readline(HEAD):
        text = line.decode("utf-8-sig").strip()
        word, _, rest = text.partition(" ")
        if word.lower() == "@attribute":
            names.append(_attribute(rest.replace("\t", " ").strip()))
        elif word.lower() == "@data":
            yield from _rows(_without_comments(path, stream), _names(path, names), ",")
            return
    raise SelfflError(f"{path}: has no line @data; give {TAKES}")


def _attribute(text: str) -> str:
    """The name in `NAME type` or `"a name" type`."""
    if text[:1] in ("'", '"') and text.count(text[0]) > 1:
        return text[1 : text.index(text[0], 1)]
    return text.partition(" ")[0]


def _without_comments(path: Path, stream: IO[bytes]) -> IO[bytes]:
    """The lines of data without comments, blanks around values, and the quotes ' for "."""

    def lines() -> Iterator[bytes]:
        for line in stream:
            line = line.strip()
            if line.startswith(b"{"):
                raise SelfflError(f"{path}: is a sparse ARFF, which is not read; write all values of a row")
            if line and not line.startswith(b"%"):
                yield line.replace(b"'", b'"') + b"\n"

    return io.BufferedReader(_Lines(lines()), BLOCK)


class _Lines(io.RawIOBase):
    """A stream over lines made as they are asked for."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self.lines, self.left = lines, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.left:
            self.left = next(self.lines, b"")
        taken, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


_READERS = {"csv": _csv, "json": _json, "parquet": _parquet, "arff": _arff}
