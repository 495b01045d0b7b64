"""Exchanges of forked ranks: our shared memory against gloo, in turns within one run.

    python benchmarks/exchange.py [--ranks 2]

An exchange is a sum over ranks, as a round has a few of: small ones of figures, and one of the sums of models by block.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from selffl_cli.engine.parallel.collective import BLOCKS, Collective
from selffl_cli.engine.parallel.workers import forked_ranks

SIZES = {"100 figures": 100, "W1's CNN by block": BLOCKS * 80_202, "CNN-11 by block": BLOCKS * 1_000_000}
REPEATS = 5


def timed(exchange: Callable[[], object], meet: Callable[[], object], times: int) -> float:
    """Milliseconds an exchange, every rank having been there at the start."""
    meet()
    begun = time.perf_counter()
    for _ in range(times):
        exchange()
    return (time.perf_counter() - begun) / times * 1e3


def compare(collective: Collective, store: Path) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds of ours and of gloo for each size, a pair a repeat."""
    torch.set_num_threads(1)
    rank, world = collective.rank, collective.world
    dist.init_process_group("gloo", store=dist.FileStore(str(store), world), rank=rank, world_size=world)
    assert collective.links is not None
    found: dict[str, list[tuple[float, float]]] = {}
    for name, size in SIZES.items():
        values, times = torch.zeros(size, dtype=torch.int32), 500 if size < 1000 else 5
        pairs = []
        for _ in range(REPEATS + 1):
            ours = timed(lambda: collective.add_up(values), collective.links.meet, times)  # noqa: B023
            pairs.append((ours, timed(lambda: dist.all_reduce(values), collective.links.meet, times)))  # noqa: B023
        found[name] = pairs[1:]  # the first one warms up
    dist.destroy_process_group()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    ranks = parser.parse_args().ranks
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder, forked_ranks(ranks) as collective:
        found = compare(collective, Path(folder) / "store")
    print(f"{ranks} ranks; medians of {REPEATS} repeats in turns, ms an exchange")
    for name, pairs in found.items():
        ours, gloo = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(theirs / own for own, theirs in pairs)
        print(f"{name:20} ours {ours:8.3f}   gloo {gloo:8.3f}   {ratio:.1f} times")


if __name__ == "__main__":
    main()
