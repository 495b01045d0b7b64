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
from collections.abc import Callable
from typing import NoReturn, TypeVar

from ...errors import SelfflError, one_line
from .collective import Collective
from .shared_memory import Links, PeerGone

Result = TypeVar("Result")
SET_PARENT_DEATH_SIGNAL = 1  # of Linux's prctl(2)
PATIENCE = 1.0  # seconds from a worker's closed connections to its end


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


def run_ranks(world: int, program: Callable[[Collective], Result]) -> Result:
    """Run `program` on `world` ranks and return what rank 0, this process, returned.

    Rank 0 keeps the terminal and the signals; the others are forked, so that data, model and state built before this
    call are shared and not copied. A rank that ends early ends the run with a SelfflError at the next exchange.
    """
    if world == 1:
        return program(Collective())
    links, workers, parent = Links(world), set[int](), os.getpid()
    sys.stdout.flush()
    gc.freeze()  # a collection would write to every object that was made before the fork, and so copy all their pages
    try:
        for rank in range(1, world):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # forking beside libraries' threads, idle ones
                child = os.fork()
            if child == 0:
                _child(rank, links, parent, program)
            workers.add(child)
        links.claim(0)
        result = program(Collective(0, world, links))
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
    return result


def _child(rank: int, links: Links, parent: int, program: Callable[[Collective], object]) -> NoReturn:
    """The life of a forked rank."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # which terminals and schedulers send to a whole group
        signal.signal(number, signal.SIG_IGN)  # rank 0 decides when to stop, and tells the others
    try:
        links.claim(rank)
        die_with_parent(parent)
        program(Collective(rank, links.world, links))
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
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for worker in workers:
            ended, status = os.waitpid(worker, os.WNOHANG)
            if ended:
                workers.remove(worker)
                code = os.waitstatus_to_exitcode(status)
                return signal.Signals(-code).name if code < 0 else f"exit code {code}"
        time.sleep(0.01)
    return "its connections are closed"
