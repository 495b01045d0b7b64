"""One process at a time, on this machine, where two would write the same names."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def alone(path: Path, tell: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold the lock file `path`, which is there only while somebody does; waits for another, and says so by `tell`.

    The system frees the lock of a process that died; its file is taken over by the next. POSIX only.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            _wait(handle, path, tell)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                break  # else its last holder removed the file between our opening and our lock
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    try:
        os.truncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def sweep(path: Path, clean: Callable[[], None]) -> None:
    """Where the lock file `path` was left by a process that died, `clean` up after it and remove it; waits for nobody.

    What may not be written stays: its folder can be read all the same.
    """
    with suppress(OSError):
        handle = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):
                clean()
                path.unlink()
        finally:
            os.close(handle)


def _wait(handle: int, path: Path, tell: Callable[[str], None]) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(handle, 32).decode(errors="replace") or "?"
        tell(f"waiting for process {owner}, which writes the same ({path})")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if not has_no_locks(error):
            raise
        tell(NO_LOCKS.format(path=path.parent))


NO_LOCKS = "{path}: this file system has no locks, so let no second command write here meanwhile"


def has_no_locks(error: OSError) -> bool:
    """Whether a lock failed since the file system (such as NFS without a lock service) has none."""
    return error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
