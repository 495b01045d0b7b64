"""Client and part of every sample, drawn from the seed alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from selffl_cli.errors import SelfflError, UsageError

from .partition import Samples, partitioner
from .periods import periods
from .pool import TEST, TRAIN, VALIDATION, Assignment, Pool, PrepareOptions, generator


def deal(pool: Pool, options: PrepareOptions) -> Assignment:
    """Client and part of every sample, drawn from the seed alone. No client is without a training sample."""
    method = partitioner(options.partition)
    natural = options.partition == "natural"
    if natural and pool.client is not None:
        clients = len(pool.client_names) if pool.client_names else int(pool.client.max()) + 1
        if options.clients not in (None, clients):
            raise UsageError(f"partition 'natural' has {clients} clients, not {options.clients}; leave --clients out")
    elif options.clients is None and not natural:
        raise UsageError(f"partition '{options.partition}' needs a number of clients; add --clients")
    else:
        clients = options.clients or 1
    if clients > len(pool):
        raise UsageError(f"{clients} clients, but only {len(pool)} samples; ask for fewer clients")
    samples = Samples(_labels(pool), pool.client, pool.features or _plain_features(pool))
    client = method.deal(samples, clients, generator(options.seed, "partition"))
    _check_deal(client, len(pool), clients, options.partition)
    period = periods(pool, client, options) if options.periods > 1 else None
    cell = client if period is None else client * options.periods + period  # each is split by itself
    part = pool.part
    if part is None:
        part = split(cell, options.validation, options.test, generator(options.seed, "split"))
    without = np.flatnonzero(np.bincount(cell[part == TRAIN], minlength=clients * options.periods) == 0)
    if len(without):
        empty = np.unique(without // options.periods)
        first = f"client {empty[0]} first"
        if period is not None:
            first += f", in period {without[0] % options.periods + 1}; ask for fewer periods or clients"
        raise SelfflError(f"{len(empty)} of {clients} clients have no training sample ({first})")
    return Assignment(client, part, clients, period)


def _labels(pool: Pool) -> np.ndarray:
    """What partitioners deal by: a sample's class, or the tenth of all samples that its number lies in."""
    y = pool.arrays["y"]
    if pool.task != "regression":
        return y
    return np.searchsorted(np.quantile(y, np.linspace(0.1, 0.9, 9)), y)


def _check_deal(client: object, samples: int, clients: int, spec: str) -> None:
    """UsageError where a partitioner of one's own did not give each sample a client."""
    if not (isinstance(client, np.ndarray) and client.shape == (samples,) and client.dtype.kind in "iu"):
        raise UsageError(f"partition '{spec}': deal gives no whole number for each of {samples} samples")
    if client.min() < 0 or client.max() >= clients:
        found = f"{client.min()} to {client.max()}"
        raise UsageError(f"partition '{spec}': deal gives clients {found}, not 0 to {clients - 1}")


def _plain_features(pool: Pool) -> Callable[[], np.ndarray] | None:
    x = pool.arrays["x"]
    return (lambda: x.reshape(len(x), -1)) if x.dtype.kind == "f" else None


def split(client: np.ndarray, validation: float, test: float, rng: np.random.Generator) -> np.ndarray:
    """Part of each sample [n]: inside each client `test` of its samples, then `validation` of the rest, at random."""
    return split_by(client, validation, test, rng.random(len(client)))


def split_by(client: np.ndarray, validation: float, test: float, key: np.ndarray) -> np.ndarray:
    """Part of each sample [n]: inside each client, in the order of `key` [n], first `test` of its samples, then
    `validation` of the rest, then those for training.

    Shares are rounded to the nearest number of samples, but a client of two samples or more has at least one
    for test, one of three or more at least one for validation, and every client at least one for training.
    """
    sizes = np.bincount(client)
    tests = np.minimum(np.maximum(np.floor(test * sizes + 0.5), test > 0), sizes - 1)
    rest = sizes - tests
    validations = np.minimum(np.maximum(np.floor(validation * rest + 0.5), validation > 0), rest - 1)
    order = np.lexsort((key, client))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rank = np.empty(len(client), np.int64)
    rank[order] = np.arange(len(client)) - starts[client[order]]
    part = np.full(len(client), TRAIN)
    part[rank < (tests + validations)[client]] = VALIDATION
    part[rank < tests[client]] = TEST
    return part
