"""Open files that are files: a named pipe in the place of one would be waited for, a device read without end."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """`path` opened for reading; OSError, at once, where it is a pipe, a device or a socket (or cannot be read)."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return file


def read_regular(path: Path) -> bytes:
    """Its content; OSError as `open_regular`."""
    with open_regular(path) as file:
        return file.read()
