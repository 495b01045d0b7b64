"""Files that are whole or absent: written beside their place, flushed to disk, renamed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write `content` to `path`, so that a reader sees the old file or the new one and nothing between."""
    left = memoryview(content.encode() if isinstance(content, str) else content)
    temporary = path.with_name(f".{path.name}.part")
    with _own(temporary) as handle:
        try:
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
            os.replace(temporary, path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)  # a failed write does not know its file
            raise
    sync_folder(path.parent)


@contextmanager
def _own(path: Path) -> Iterator[int]:
    """`path`, empty and open for writing, once no other process writes it; what a kill left there is taken over."""
    while True:
        # a link in its place, which whoever sent the folder may have left, would lead the write elsewhere
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _names(path, handle):  # else the other process renamed it just now
                os.ftruncate(handle, 0)
                yield handle
                return
        finally:
            os.close(handle)


def _names(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
