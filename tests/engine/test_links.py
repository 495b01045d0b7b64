"""Exchanges of forked ranks: every bit arrives, whatever the size; a rank killed at any moment ends them all."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selffl_cli.engine.parallel.collective import Collective
from selffl_cli.engine.parallel.shared_memory import SLOT
from selffl_cli.engine.parallel.workers import forked_ranks
from selffl_cli.errors import SelfflError


def drawn(rank: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    values = torch.randint(-(2**31), 2**31 - 1, (size,), generator=torch.Generator().manual_seed(rank))
    return values.to(dtype)


@settings(max_examples=25, deadline=None)
@given(
    world=st.integers(2, 4),
    size=st.sampled_from([0, 1, 7, SLOT // 8, SLOT // 8 + 1, SLOT // 2 + 3]),
    dtype=st.sampled_from([torch.int32, torch.int64]),
)
@pytest.mark.slow
def test_sums_and_broadcasts_of_any_size(world: int, size: int, dtype: torch.dtype) -> None:
    def program(collective: Collective) -> None:
        for _ in range(3):  # both halves of the memory, and the first again
            values = collective.add_up(drawn(collective.rank, size, dtype))
            assert torch.equal(values, sum(drawn(rank, size, dtype) for rank in range(world)))
            for source in range(world):
                values = collective.broadcast(drawn(collective.rank, size, dtype), source)
                assert torch.equal(values, drawn(source, size, dtype))

    with forked_ranks(world) as collective:
        program(collective)


def test_a_floating_value_of_one_rank_arrives_bit_by_bit() -> None:
    owned = torch.tensor([[-0.0, float("nan"), 1e-45], [float("inf"), -1.5, 0.0]])

    def program(collective: Collective) -> torch.Tensor:
        values = torch.zeros(2, 3)
        values[collective.rank] = owned[collective.rank]
        return collective.add_up(values)

    with forked_ranks(2) as collective:
        found = program(collective)
    assert torch.equal(found.view(torch.int32), owned.view(torch.int32))


@pytest.mark.parametrize("world", [2, 3])
def test_a_worker_killed_at_a_random_moment_is_an_error_not_a_hang(world: int) -> None:
    draw = random.Random(world)
    for _ in range(25):
        pids = torch.zeros(world, dtype=torch.int64).share_memory_()

        def program(collective: Collective, pids: torch.Tensor = pids) -> None:
            pids[collective.rank] = os.getpid()
            while True:
                collective.add_up(torch.ones(1000))

        def kill(pids: torch.Tensor = pids, after: float = draw.uniform(0, 0.02)) -> None:
            while not pids[-1]:
                time.sleep(0.001)
            time.sleep(after)
            os.kill(int(pids[draw.randrange(1, world)] or pids[-1]), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(SelfflError, match=r"a worker died \(SIGKILL\)"), forked_ranks(world) as collective:
            program(collective)
        killer.join()
