"""Counts a process's writes to its working folder, and ends it with SIGKILL at the one asked for.

Imported by Python itself when this folder is on PYTHONPATH; without the variables below it does nothing.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys

KILL, COUNT = "FAULTS_KILL_AT", "FAULTS_COUNT_TO"  # the number of a write; a file for the number of writes
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Counter:
    """Every open for writing, rename, removal, new folder and fsync below `root`; between two of them a kill finds
    the same names, and files that are longer or shorter."""

    def __init__(self, root: str, kill: int) -> None:
        self.root, self.left, self.seen, self.busy = root + os.sep, kill, 0, False

    def install(self) -> None:
        real = os.fsync

        def fsync(handle: int) -> None:
            self.happened()
            real(handle)

        os.fsync = fsync
        sys.addaudithook(self.audit)

    def audit(self, event: str, arguments: tuple) -> None:
        if event in CHANGES or (
            event == "open"
            and isinstance(arguments[0], str | bytes)
            and isinstance(arguments[2], int)
            and arguments[2] & WRITING
            and os.path.abspath(os.fsdecode(arguments[0])).startswith(self.root)
        ):
            self.happened()

    def happened(self) -> None:
        self.seen += 1
        if self.seen == self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def watch() -> Counter | None:
    """What the environment asks for."""
    if KILL not in os.environ and COUNT not in os.environ:
        return None
    counter = Counter(os.getcwd(), int(os.environ.get(KILL, "0")))
    counter.install()
    if COUNT in os.environ:
        atexit.register(report, counter, os.environ[COUNT])
        leave = os._exit

        def _exit(code: int) -> None:  # how forked workers and runs end
            report(counter, os.environ[COUNT])
            leave(code)

        os._exit = _exit
    return counter


def report(counter: Counter, file: str) -> None:
    """Of several processes of a command, the one that writes most counts."""
    seen = counter.seen
    if os.path.exists(file) and int(open(file).read() or 0) > seen:  # noqa: SIM115
        return
    with open(file, "w") as stream:
        stream.write(str(seen))


if __name__ == "sitecustomize":
    watch()
