"""Ranks that torchrun started, on one machine or many: rank 0 leads, the others follow.

They share no memory. Rank 0 alone prints, prepares data, tunes, plans, holds the lock and writes; it sends each run to
the others, which read their own copy of the data.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ...errors import SelfflError
from ..store import ClientStore
from .collective import Collective
from .workers import die_with_parent

# A dead process is noticed at once, by its connections; these are for a machine that is gone without a word.
EXCHANGE = timedelta(hours=1)  # within a round: the ranks' parts of it are equal work
IDLE = timedelta(hours=24)  # between runs: rank 0 may be preparing data
WORD_SECONDS = 2.0  # seconds in which rank 0 would have set
SAID = "selffl/said"  # the key that is set when rank 0 says why the run ends


class Ended(SelfflError):
    """What ends every rank of a run alike: a rank that is gone, or one that differs."""


def world_size() -> int:
    """Ranks that torchrun (or whatever else sets its variables) started; 1 without it."""
    if not all(os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")):
        return 1
    return int(os.environ["WORLD_SIZE"])


def peer_left(error: BaseException) -> bool:
    """Whether an exchange failed because a rank is gone; gloo and nccl only differ in how they word it."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


class Team:
    """This process and the ranks it was started with."""

    def __init__(self, device: str) -> None:
        """Join the others; `device` "cuda" becomes the GPU that this rank takes."""
        if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun's: a rank whose torchrun is gone would wait for ever
            die_with_parent(os.getppid())
        local, local_world = (int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
        self.device, backend = device, "gloo"
        if device == "cuda":
            gpus = torch.cuda.device_count()
            self.device = f"cuda:{local % gpus}"
            torch.cuda.set_device(self.device)
            if local_world <= gpus:  # nccl wants a GPU for each rank; gloo goes through the processors' memory
                backend = "cpu:gloo,cuda:nccl"
        if sys.platform == "linux" and local_world == world_size():
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        self.store, rank, world = next(dist.rendezvous("env://"))
        self.collective = Collective(rank, world)
        store = dist.PrefixStore("selffl", self.store)
        try:
            dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=EXCHANGE)
            self.idle = dist.new_group(backend="gloo", timeout=IDLE)
        except RuntimeError as error:
            raise SelfflError(f"{self.name}: cannot join the other ranks ({str(error).splitlines()[0]})") from None

    @property
    def name(self) -> str:
        return f"rank {self.collective.rank} on {socket.gethostname()}"

    @property
    def leads(self) -> bool:
        return self.collective.rank == 0

    @contextmanager
    def together(self) -> Iterator[Collective]:
        """The body of the `with` is this rank's part of what all of them do; Ended when another is gone."""
        try:
            yield self.collective
        except Exception as error:
            raise self.ended(error) from error

    def ended(self, error: Exception) -> Exception:
        """The error to raise: Ended when `error` comes from a lost connection, else `error` itself."""
        if not peer_left(error):
            return error
        return Ended("a rank died or lost its connection; the same command resumes the run, with any number of ranks")

    def tell(self, content: Any = None, source: int = 0) -> Any:
        """JSON data `content` of rank `source`, on every rank."""
        data = json.dumps(content).encode() if self.collective.rank == source else b""
        try:
            length = torch.tensor([len(data)])
            dist.broadcast(length, group_src=source, group=self.idle)
            message = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(int(length)).byte()
            dist.broadcast(message, group_src=source, group=self.idle)
        except Exception as error:
            raise self.ended(error) from error
        return json.loads(message.numpy().tobytes())

    def agree(self, facts: dict[str, Any]) -> None:
        """The same Ended on every rank, naming what differs, unless all have rank 0's `facts`."""
        answers = [self.tell([self.name, facts], rank) for rank in range(self.collective.world)]
        _, first = answers[0]
        for name, theirs in answers[1:]:
            for key in sorted(first.keys() | theirs.keys()):
                if theirs.get(key) != first.get(key):
                    raise Ended(f"{name} differs from rank 0 in {key}: {theirs.get(key)}, not {first.get(key)}; "
                                "start every rank with the same selffl, torch, options and data")  # fmt: skip

    def compare_data(self, path: str, own: str) -> None:
        """Rank 0: Ended on every rank unless all see the data of hash `own` in the folder `path`."""
        self.tell({"data": path})
        self.agree({f"data {path}": own})

    def equalise(self, server: dict[str, Tensor], clients: ClientStore) -> None:
        """Give every rank rank 0's state: the server's tensors and every client row that differs from the start."""
        collective = self.collective
        for name, (shape, dtype) in self.tell(
            {name: (list(value.shape), str(value.dtype).removeprefix("torch.")) for name, value in server.items()}
        ).items():
            if collective.rank:
                server[name] = torch.empty(shape, dtype=getattr(torch, dtype), device=self.device)
            server[name] = collective.broadcast(server[name].contiguous())
        for initial in clients.initial.values():
            collective.broadcast(initial)
        collective.share_rows(clients, torch.arange(clients.num_clients))

    def close(self, error: BaseException | None = None) -> None:
        """Rank 0 is done, or fails and says why; the others end quietly."""
        with suppress(Exception):
            if self.leads and error is not None:
                self.store.set(SAID, "1")
            elif self.leads:
                self.tell(None)
        with suppress(Exception):
            dist.destroy_process_group()

    def said(self) -> bool:
        """Whether another rank says why the run ends: rank 0, or when it is the one that died the first to ask."""
        deadline = time.monotonic() + WORD_SECONDS
        with suppress(Exception):
            while time.monotonic() < deadline:
                if self.store.check([SAID]):
                    return True
                time.sleep(0.05)
            return self.store.add(f"{SAID}/others", 1) > 1
        return False
