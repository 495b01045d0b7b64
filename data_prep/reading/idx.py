"""The idx format of MNIST: a magic number that says type and dimensions, the sizes, then the values.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits"; all numbers are big-endian.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from selffl_cli.errors import SelfflError

from .archive import members

KINDS: dict[int, np.dtype[Any]] = {0x08: np.dtype(np.uint8), 0x0C: np.dtype(">i4")}
MOST = 1 << 30  # bytes of values in one file; MNIST has 47 million


def collect(source: Path, wanted: Collection[str], read: Callable[[IO[bytes], str], None]) -> list[Path]:
    """Calls `read(stream, name)` for every wanted file in a folder, a zip or a tar; the files that were used.

    A file may be gzipped, and have a dot before its `idx` in place of a hyphen, as some copies do.
    """

    def canonical(name: str) -> str | None:
        base = name.rpartition("/")[2].removesuffix(".gz").replace(".idx", "-idx")
        return base if base in wanted and "__MACOSX" not in name else None

    if source.is_dir():
        found: dict[str, Path] = {}
        for path in sorted(source.rglob("*")):  # the shorter name, the unpacked file, goes first
            name = canonical(path.name)
            if name and path.is_file() and name not in found:
                found[name] = path
        for name, path in found.items():
            with path.open("rb") as file:
                _read(file, str(path), name, read)
        return list(found.values())
    for member, stream in members(source, lambda member: canonical(member) is not None):
        _read(stream, f"{source}: {member}", canonical(member) or "", read)
    return [source]


def _read(stream: IO[bytes], where: str, name: str, read: Callable[[IO[bytes], str], None]) -> None:
    with ExitStack() as stack:
        if where.endswith(".gz"):
            stream = stack.enter_context(cast("IO[bytes]", gzip.GzipFile(fileobj=stream)))
        try:
            read(stream, name)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise SelfflError(f"{where}: no whole gzip file ({error}); bring it again") from None
        except _Wrong as error:
            raise SelfflError(f"{where}: {error}; bring the file as published") from None
        except OSError as error:
            raise SelfflError(f"{where}: cannot be read ({error.strerror or error}); bring it again") from None


class _Wrong(Exception):
    """What is wrong with a file, in words; `_read` knows where it lies."""


def parse(stream: IO[bytes], kind: int, dimensions: int) -> np.ndarray:
    """An array of a type (0x08 uint8, 0x0C int32) and number of dimensions; within `collect` only."""
    magic = stream.read(4)
    if magic != bytes([0, 0, kind, dimensions]):
        wanted = f"0000{kind:02x}{dimensions:02x}"
        raise _Wrong(f"begins with {magic.hex() or 'nothing'}, not {wanted} as an idx file of this name")
    head = stream.read(4 * dimensions)
    if len(head) < 4 * dimensions:
        raise _Wrong("is cut within its header")
    shape = struct.unpack(f">{dimensions}I", head)
    size = math.prod(shape) * KINDS[kind].itemsize
    if size > MOST:
        raise _Wrong(f"announces {size:,} bytes, more than any file of this kind has")
    content = bytearray()
    while len(content) <= size and (chunk := stream.read(min(1 << 20, size + 1 - len(content)))):
        content += chunk
    if len(content) != size:
        have = f"{len(content):,}" if len(content) < size else "more"
        raise _Wrong(f"announces {size:,} bytes of values but holds {have}")
    return np.frombuffer(bytes(content), KINDS[kind]).reshape(shape)
