"""Memory that this process may take: of the machine, of its control group (container, batch job), by its own limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_memory() -> float:
    """Bytes that this process may still take; infinite where nothing says."""
    free = [math.inf, _address_space()]
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")))
    return max(0.0, min([*free, *(limit - used for limit, used in group_limits())]))


def group_limits() -> Iterator[tuple[int, int]]:
    """Limit and use, in bytes, of this process's control group and each above it; pages of files that the kernel would
    take back first are not counted as used.
    """
    for folder, (maximum, current, cached) in _groups():
        with suppress(OSError, ValueError):  # no such group here, or "max": no limit
            limit, used = int((folder / maximum).read_text()), int((folder / current).read_text())
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            yield limit, used - int(statistics.get(cached, 0))


def _groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Folders that may hold limits: a container sees its own group as the root, whatever /proc calls it."""
    lines = []
    with suppress(OSError, ValueError):
        lines = OWN.read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        group = PurePosixPath(path.lstrip("/"))
        for part in (group, *group.parents):
            if not controllers:
                yield GROUPS / part, V2
            elif "memory" in controllers.split(","):
                yield GROUPS / "memory" / part, V1


def _address_space() -> float:
    """What `ulimit -v` leaves."""
    with suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            return limit - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return math.inf
