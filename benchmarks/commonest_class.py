"""What no learning at all scores: each client's commonest training class, on its test samples.

    PYTHONPATH=. python benchmarks/commonest_class.py data/cifar10-*

A personal model that does no better has learnt which classes its client has, and nothing of its inputs.
"""

from __future__ import annotations

import sys

import numpy as np

from selffl_cli.shards import Shards


def commonest_class(shards: Shards) -> float:
    """Share of all test samples that are of their client's commonest training class (the lowest among equals)."""
    train, test = shards.part("train"), shards.part("test")
    hits = 0
    for client in range(shards.num_clients):
        labels, asked = (
            part.arrays["y"][part.offsets[client] : part.offsets[client + 1]].numpy() for part in (train, test)
        )
        if len(labels):
            hits += int((asked == np.bincount(labels.astype(np.int64)).argmax()).sum())
    return hits / max(int(test.sizes.sum()), 1)


if __name__ == "__main__":
    shares = [commonest_class(Shards.open(path)) for path in sys.argv[1:]]
    for path, share in zip(sys.argv[1:], shares, strict=True):
        print(f"{path}: {100 * share:.1f} %")
    print(f"mean {100 * np.mean(shares):.1f} %")
