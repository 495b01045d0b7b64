"""Workers of one machine: forked ranks of torch.distributed that share memory with rank 0."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

from ..errors import SelfflError
from .collective import Collective

Result = TypeVar("Result")
TIMEOUT = timedelta(hours=12)  # a rank may wait this long for a slower one; a dead rank is noticed at once


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_ranks(world: int, program: Callable[[Collective], Result]) -> Result:
    """Run `program` on `world` ranks and return what rank 0, this process, returned.

    Rank 0 keeps the terminal and the signals; the others are forked, so that data, model and state built before this
    call are shared and not copied. A rank that fails ends the run with a SelfflError.
    """
    if world == 1:
        return program(Collective())
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    server = dist.TCPStore("127.0.0.1", 0, world, is_master=True, wait_for_workers=False)
    sys.stdout.flush()
    children = []
    for rank in range(1, world):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking beside the store's thread, which is idle
            child = os.fork()
        if child == 0:
            _child(rank, world, server.port, program)
        children.append(child)
    try:
        dist.init_process_group("gloo", store=server, rank=0, world_size=world, timeout=TIMEOUT)
        result = program(Collective(0, world))
        dist.barrier()  # nobody closes a connection that another still reads
    except RuntimeError as error:
        if not _one_ended(children):
            raise
        raise SelfflError(f"a worker died ({str(error).splitlines()[0]}); the same command resumes the run") from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        _end(children)
    return result


def _child(rank: int, world: int, port: int, program: Callable[[Collective], object]) -> None:
    """The life of a forked rank; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 decides when to stop, and tells the others
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        store = dist.TCPStore("127.0.0.1", port, world, is_master=False)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=TIMEOUT)
        program(Collective(rank, world))
        dist.barrier()
        os._exit(0)
    except BaseException as error:
        if isinstance(error, SelfflError):
            print(f"error: {error}", file=sys.stderr, flush=True)
        elif not isinstance(error, RuntimeError):  # a RuntimeError is a peer that left; it has said why itself
            traceback.print_exc()
        os._exit(1)


def _one_ended(children: list[int], patience: float = 1.0) -> bool:
    """Whether a rank has ended; its connections close a moment before the process is gone."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if any(os.waitpid(child, os.WNOHANG)[0] for child in children):
            return True
        time.sleep(0.01)
    return False


def _end(children: list[int]) -> None:
    """Wait for ranks that have nothing left to do; stop those that still run after rank 0 failed."""
    failed = sys.exc_info()[0] is not None
    for child in children:
        try:
            if failed:
                os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
        except (ChildProcessError, ProcessLookupError):
            pass
