"""Workers of one machine: forked ranks of torch.distributed that share memory with rank 0."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import NoReturn, TypeVar

import torch.distributed as dist

from ..errors import SelfflError
from .collective import Collective

Result = TypeVar("Result")
TIMEOUT = timedelta(hours=12)  # a rank may wait this long for a slower one; a dead rank is noticed at once
SET_PARENT_DEATH_SIGNAL = 1  # of Linux's prctl(2)


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
    call are shared and not copied. A rank that ends early ends the run at once with a SelfflError.
    """
    if world == 1:
        return program(Collective())
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    server = dist.TCPStore("127.0.0.1", 0, world, is_master=True, wait_for_workers=False)
    sys.stdout.flush()
    workers, parent = Workers(), os.getpid()
    gc.freeze()  # a collection would write to every object that was made before the fork, and so copy all their pages
    try:
        for rank in range(1, world):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # forking beside the store's thread, which is idle
                child = os.fork()
            if child == 0:
                _child(rank, world, server.port, parent, program)
            workers.running.add(child)
        with workers.watched():
            workers.join(server, world)
            result = program(Collective(0, world))
            dist.barrier()  # nobody closes a connection that another still reads
    except RuntimeError:
        workers.check(patience=1)
        raise
    finally:
        gc.unfreeze()
        if dist.is_initialized():
            dist.destroy_process_group()
        workers.end()
    return result


def _child(rank: int, world: int, port: int, parent: int, program: Callable[[Collective], object]) -> NoReturn:
    """The life of a forked rank."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGTERM):  # which terminals and schedulers send to a whole group
        signal.signal(number, signal.SIG_IGN)  # rank 0 decides when to stop, and tells the others
    try:
        die_with_parent(parent)
        store = dist.TCPStore("127.0.0.1", port, world, is_master=False)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=TIMEOUT)
        program(Collective(rank, world))
        dist.barrier()
        os._exit(0)
    except BaseException as error:
        if not peer_left(error):  # the peer has said why itself
            if "--debug" in sys.argv:
                traceback.print_exc()
            kind = "" if isinstance(error, SelfflError) else f"{type(error).__name__}: "
            print(f"error: worker {rank}: {kind}{error}".rstrip(": "), file=sys.stderr, flush=True)
        os._exit(1)


def peer_left(error: BaseException) -> bool:
    """Whether an exchange failed because a rank is gone; gloo and nccl only differ in how they word it."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


class Workers:
    """The forked ranks of this process."""

    def __init__(self) -> None:
        self.running: set[int] = set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A worker that ends early raises in the main thread at once, not at the next exchange."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def look(number: int, frame: FrameType | None) -> None:
            self.check()

        before = signal.signal(signal.SIGCHLD, look)
        try:
            self.check()  # one that was gone before
            yield
        finally:
            signal.signal(signal.SIGCHLD, before)

    def join(self, server: dist.TCPStore, world: int) -> None:
        """Make the group, in a thread: gloo waits for a worker that died before it connected, and hears no signal."""
        failures: list[BaseException] = []

        def connect() -> None:
            try:
                dist.init_process_group("gloo", store=server, rank=0, world_size=world, timeout=TIMEOUT)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
            self.check()
        for error in failures:
            raise error

    def check(self, patience: float = 0) -> None:
        """SelfflError when a worker has failed; its connections close a moment (`patience`, s) before it is gone."""
        deadline = time.monotonic() + patience
        while True:
            for worker in list(self.running):
                ended, status = os.waitpid(worker, os.WNOHANG)
                if ended:
                    self.running.discard(worker)
                if ended and status:
                    code = os.waitstatus_to_exitcode(status)
                    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                    raise SelfflError(f"a worker died ({how}); the same command resumes the run")
            if time.monotonic() >= deadline:
                return
            time.sleep(0.01)

    def end(self) -> None:
        """Wait for ranks that have nothing left to do; stop those that still run after rank 0 failed."""
        failed = sys.exc_info()[0] is not None
        for worker in self.running:
            if failed:
                os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
        self.running.clear()
