"""Data that comes in over time: each client's samples put in an order and cut into periods."""

from __future__ import annotations

import numpy as np

from selffl_cli.errors import UsageError

from .pool import Pool, PrepareOptions, generator


def periods(pool: Pool, client: np.ndarray, options: PrepareOptions) -> np.ndarray:
    """Period of each sample [n], 0 to T - 1: a client's samples in order of the drift, cut into T equal parts.

    Every client passes through its own data at its own pace, so that none is without data in a period unless it
    has fewer than T samples. `time` is the source's own order; `label` and `intent` bring the classes one after
    another, in an order drawn from the seed that all clients share (samples of one class at random). UsageError
    when the data set has nothing of the kind, or too few samples.
    """
    key = _key(pool, client, options)
    ties = np.arange(len(key)) if options.drift == "time" else generator(options.seed, "drift ties").random(len(key))
    order = np.lexsort((ties, key, client))
    sizes = np.bincount(client)
    few = np.flatnonzero(sizes < options.periods)
    if len(few):
        raise UsageError(
            f"--periods {options.periods}: client {few[0]} has {sizes[few[0]]} samples, too few for a sample in each "
            "period; ask for fewer periods or clients"
        )
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rank = np.empty(len(key), np.int64)
    rank[order] = np.arange(len(key)) - starts[client[order]]
    return rank * options.periods // sizes[client]


def _key(pool: Pool, client: np.ndarray, options: PrepareOptions) -> np.ndarray:
    """What samples are ordered by [n]."""
    orders = dict(pool.orders)
    if pool.classes:
        orders["label"] = pool.arrays["y"]
    if options.drift not in orders:
        known = " or ".join(sorted(orders))
        raise UsageError(
            f"--drift {options.drift}: this data set has no {options.drift} to drift by; "
            + (f"it drifts by {known}" if known else "it can have one period only")
        )
    key = np.asarray(orders[options.drift])
    if options.drift == "time":
        return key
    pairs = np.unique(np.stack([client, key], axis=1), axis=0)
    if np.bincount(pairs[:, 0]).max() < 2:
        raise UsageError(f"--drift {options.drift}: no client has two of them, so nothing would drift; use another")
    return generator(options.seed, "drift").permutation(int(key.max()) + 1)[key]
