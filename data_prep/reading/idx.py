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
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from selffl_cli.errors import SelfflError

from .archive import members
from .tree import by_folder, one_place

KINDS: dict[int, np.dtype[Any]] = {0x08: np.dtype(np.uint8), 0x0C: np.dtype(">i4")}
GZIP = b"\x1f\x8b"  # how a gzip file begins
MOST_BYTES = 1 << 30  # bytes of values in one file; MNIST has 47 million


def collect(
    source: Path, wanted: Collection[str], read: Callable[[IO[bytes], str], None], name_of_set: str = "mnist"
) -> list[Path]:
    """Calls `read(stream, name)` for every wanted file in a folder, a zip or a tar; the files that were used.

    A file may be gzipped, and have a dot before its `idx` in place of a hyphen, as some copies do. SelfflError where
    several folders hold the same file: two sets, such as MNIST and FashionMNIST, go by the same names.
    """

    def canonical(name: str) -> str | None:
        base = name.rpartition("/")[2].removesuffix(".gz").replace(".idx", "-idx")
        return base if base in wanted and "__MACOSX" not in name else None

    if source.is_dir():
        places: dict[str, dict[str, Path]] = {}
        for folder, paths in by_folder(source, lambda name: canonical(name) is not None).items():
            for path in paths:  # sorted: the shorter name, the unpacked file, goes first
                places.setdefault(folder, {}).setdefault(canonical(path.name) or "", path)
        names = {folder: [Path(folder) / name for name in found] for folder, found in places.items()}
        one_place(source, names, name_of_set, len(wanted))
        found = {name: path for _, inside in sorted(places.items()) for name, path in inside.items()}
        for name, path in found.items():
            with path.open("rb") as file:
                _read(file, str(path), name, read)
        return list(found.values())
    seen: dict[str, str] = {}
    for member, stream in members(source, lambda member: canonical(member) is not None):
        name, folder = canonical(member) or "", member.rpartition("/")[0]
        if name in seen and seen[name] != folder:
            raise SelfflError(
                f"{source}: holds {name} more than once (in {seen[name] or '.'} and in {folder or '.'}), which may "
                "be two "
                "sets; unpack it and give the folder of one of them by --source"
            )
        if name not in seen:
            _read(stream, f"{source}: {member}", name, read)
        seen[name] = folder
    return [source]


def _read(stream: IO[bytes], where: str, name: str, read: Callable[[IO[bytes], str], None]) -> None:
    with ExitStack() as stack:
        peeking: Any = stream if hasattr(stream, "peek") else BufferedReader(cast("RawIOBase", stream))
        stream = peeking
        if peeking.peek(2)[:2] == GZIP:  # whatever its name says
            stream = stack.enter_context(cast("IO[bytes]", gzip.GzipFile(fileobj=peeking)))
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
    if size > MOST_BYTES:
        raise _Wrong(f"announces {size:,} bytes, more than any file of this kind has")
    content = bytearray()
    while len(content) <= size and (chunk := stream.read(min(1 << 20, size + 1 - len(content)))):
        content += chunk
    if len(content) != size:
        have = f"{len(content):,}" if len(content) < size else "more"
        raise _Wrong(f"announces {size:,} bytes of values but holds {have}")
    return np.frombuffer(bytes(content), KINDS[kind]).reshape(shape)
