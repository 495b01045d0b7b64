"""Members of zip and tar archives, read as streams: nothing is unpacked onto the disk.

Names and kinds of members are checked before their bytes are read, and no archive gives more bytes than its
limits allow, whatever its headers say.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, cast

from selffl_cli.errors import SelfflError

ZIP = b"PK"  # how a zip begins
COMPRESSION: dict[bytes, Callable[..., IO[bytes]]] = {
    b"\x1f\x8b": cast("Callable[..., IO[bytes]]", gzip.open),
    b"BZh": cast("Callable[..., IO[bytes]]", bz2.open),
    b"\xfd7zXZ\x00": cast("Callable[..., IO[bytes]]", lzma.open),
}


@dataclass(frozen=True)
class Limits:
    """What an archive may hold: members, bytes once unpacked, and their ratio to its own bytes."""

    members: int = 1_000_000
    total: int = 16 << 30
    ratio: float = 200.0  # text reaches 10; deflate cannot pass 1,032
    free: int = 64 << 20  # bytes below which the ratio is not looked at


def members(
    path: Path, wanted: Callable[[str], bool] = lambda name: True, limits: Limits | None = None
) -> Iterator[tuple[str, IO[bytes]]]:
    """(name, stream) of every wanted file of a zip or tar (gz, bz2, xz), in its order; a stream lives until
    the next.

    Raises SelfflError for a name that is absolute or climbs, a link, a device, too many members or bytes, and
    for a file that is cut, encrypted or no archive at all.
    """
    with _told(path), path.open("rb") as stream:
        is_zip = stream.read(2) == ZIP
    yield from (_zip_members if is_zip else _tar_members)(path, wanted, limits or Limits())


@contextmanager
def open_member(
    path: Path, wanted: Callable[[str], bool], what: str, limits: Limits | None = None
) -> Iterator[IO[bytes]]:
    """The stream of the first wanted member; without one, a SelfflError names `what` and the members seen."""
    seen: list[str] = []

    def look(name: str) -> bool:
        seen.append(name)
        return wanted(name)

    for _, stream in members(path, look, limits):
        yield stream
        return
    raise SelfflError(f"{path}: holds no {what} (but {', '.join(seen[:5]) or 'nothing'}); bring the file as published")


def _zip_members(path: Path, wanted: Callable[[str], bool], limits: Limits) -> Iterator[tuple[str, IO[bytes]]]:
    with _told(path):
        archive = zipfile.ZipFile(path)
    with archive:
        for count, info in enumerate(archive.infolist(), 1):
            _check(path, info.filename, count, limits)
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise SelfflError(
                    f"{path}: member '{info.filename}' is a link or a device; bring the file as published"
                )
        spent = 0
        for info in archive.infolist():
            if info.is_dir() or not wanted(info.filename):
                continue
            with _told(path):
                packed = archive.open(info)
            with packed:
                counted = _Counted(path, packed, limits, spent)
                yield info.filename, io.BufferedReader(counted, 1 << 16)
                spent = counted.spent


def _tar_members(path: Path, wanted: Callable[[str], bool], limits: Limits) -> Iterator[tuple[str, IO[bytes]]]:
    with _told(path), path.open("rb") as head:
        magic = head.read(6)
    opener = next((opener for start, opener in COMPRESSION.items() if magic.startswith(start)), open)
    with _told(path):
        packed = opener(path, "rb")
    with packed:
        with _told(path):
            archive = tarfile.open(  # noqa: SIM115
                fileobj=io.BufferedReader(_Counted(path, packed, limits), 1 << 16), mode="r|"
            )
        with archive:
            count = 0
            while True:
                with _told(path):
                    info = archive.next()
                if info is None:
                    return
                count += 1
                _check(path, info.name, count, limits)
                if not (info.isdir() or info.isreg()) or info.issparse():
                    raise SelfflError(
                        f"{path}: member '{info.name}' is a link or a device; bring the file as published"
                    )
                if info.isdir() or not wanted(info.name):
                    continue
                with _told(path):
                    stream = cast("IO[bytes]", archive.extractfile(info))
                with stream:
                    yield info.name, io.BufferedReader(_Counted(path, stream, limits), 1 << 16)


class _Counted(io.RawIOBase):
    """A stream that stops at the limits by the bytes that really come; `spent` is how many came so far."""

    def __init__(self, path: Path, stream: IO[bytes], limits: Limits, spent: int = 0) -> None:
        self.path, self.stream, self.spent = path, stream, spent
        self.bound = int(min(limits.total, max(limits.free, limits.ratio * path.stat().st_size)))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        with _told(self.path):
            data = self.stream.read(len(buffer))
        buffer[: len(data)] = data
        self.spent += len(data)
        if self.spent > self.bound:
            raise SelfflError(
                f"{self.path}: unpacks to more than {self.bound:,} bytes, which no data set here needs; "
                "it looks like an archive bomb, bring the file as published"
            )
        return len(data)


def _check(path: Path, name: str, count: int, limits: Limits) -> None:
    """Refuses one member too many, and a name that is absolute, climbs, or holds a control character."""
    if count > limits.members:
        raise SelfflError(f"{path}: holds more than {limits.members:,} members; bring the file as published")
    windows = PureWindowsPath(name)
    absolute = PurePosixPath(name).is_absolute() or bool(windows.drive or windows.root)
    if not name or absolute or ".." in windows.parts or any(ord(c) < 32 for c in name):
        raise SelfflError(f"{path}: member {name!r} would leave its folder; bring the file as published")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns what a broken archive makes the standard library raise into one line."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        raise SelfflError(f"{path}: not a whole archive ({error}); bring the file again") from None
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown compression
        raise SelfflError(f"{path}: cannot be unpacked ({error}); bring the file as published") from None
    except OSError as error:
        raise SelfflError(f"{path}: cannot be read ({error.strerror or error}); bring the file again") from None
