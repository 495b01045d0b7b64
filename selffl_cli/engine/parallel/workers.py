"""Workers of one machine: forked ranks that share memory with rank 0."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import SelfflError, one_line
from .collective import Collective
from .shared_memory import Links, PeerGone

SET_PARENT_DEATH_SIGNAL = 1  # of Linux's prctl(2)
DEATH_SECONDS = 1.0  # seconds from a worker's closed connections to its end


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def die_with_parent(parent: int) -> None:
    """End this forked process when `parent` ends, however that ends.

    Linux alone offers it; elsewhere a rank that has lost its peers ends at its next exchange with them.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def forked_ranks(world: int) -> Iterator[Collective]:
    """The body of the `with` is the program of `world` ranks: it is carried out once by each.

    Rank 0, this process, keeps the terminal and the signals, and goes on behind the body. The others are forked, so
    that data, model and state built before are shared and not copied, and end with the body. A rank that ends early
    ends the run with a SelfflError at the next exchange.
    """
    if world == 1:
        yield Collective()
        return
    links, workers, parent = Links(world), set[int](), os.getpid()
    sys.stdout.flush()
    gc.freeze()  # a collection would write to every object that was made before the fork, and so copy all their pages
    try:
        for rank in range(1, world):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # forking beside libraries' threads, idle ones
                child = os.fork()
            if child == 0:
                with _life_of_a_worker(rank, links, parent):
                    yield Collective(rank, world, links)
            workers.add(child)
        links.claim(0)
        yield Collective(0, world, links)
        links.meet()  # a worker that fails after its last exchange fails the run
    except PeerGone:
        raise SelfflError(f"a worker died ({_death(workers)}); the same command resumes the run") from None
    finally:
        gc.unfreeze()
        links.close()
        failed = sys.exc_info()[0] is not None
        for worker in workers:
            if failed:
                os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)


@contextmanager
def _life_of_a_worker(rank: int, links: Links, parent: int) -> Iterator[None]:
    """A forked rank from its first line to its last: the process ends with the body."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # which are sent to a whole group
        signal.signal(number, signal.SIG_IGN)  # rank 0 decides when to stop, and tells the others
    try:
        links.claim(rank)
        die_with_parent(parent)
        yield
        links.meet()
        os._exit(0)
    except PeerGone:  # rank 0 says why
        os._exit(1)
    except BaseException as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        kind = "" if isinstance(error, SelfflError) else f"{type(error).__name__}: "
        print(one_line(f"error: worker {rank}: {kind}{error}".rstrip(": ")), file=sys.stderr, flush=True)
        os._exit(1)


def _death(workers: set[int]) -> str:
    """How the first of `workers` to be found dead ended; it is taken out of them."""
    deadline = time.monotonic() + DEATH_SECONDS
    while time.monotonic() < deadline:
        for worker in workers:
            ended, status = os.waitpid(worker, os.WNOHANG)
            if ended:
                workers.remove(worker)
                code = os.waitstatus_to_exitcode(status)
                return signal.Signals(-code).name if code < 0 else f"exit code {code}"
        time.sleep(0.01)
    return "its connections are closed"
