"""Counter-based random draws: a stream depends on (seed, purpose, round, client, step) alone."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """A generator of its own for each (seed, purpose, up to three counters)."""
    stream = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    words = (*counters, 0, 0, 0)[:3]
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, *words]))


def sample_clients(seed: int, round_: int, clients: int, size: int, purpose: str = "clients") -> np.ndarray:
    """The clients of a round, without replacement, in ascending order [size]."""
    if size >= clients:
        return np.arange(clients)
    return np.sort(generator(seed, purpose, round_).choice(clients, size, replace=False))
