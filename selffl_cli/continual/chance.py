"""Memories chosen at random. Positions count a client's old samples (its memory) first, then the period's new ones."""

from __future__ import annotations

import numpy as np

from ..config.memory import ApproxUniform, Balanced, Memory


def draw(memory: Memory, old: int, new: int, seen: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of the `size` samples to keep, ascending; all of them when there are no more.

    `seen`: samples of the earlier periods that the `old` ones stand for.
    """
    if old + new <= size:
        return np.arange(old + new)
    if isinstance(memory, Balanced):
        kept_old = min(old, max(size // 2, size - new))  # what one side lacks, the other fills
        from_old = rng.choice(old, kept_old, replace=False) if kept_old else np.zeros(0, np.int64)
        return np.sort(np.concatenate([from_old, old + rng.choice(new, size - kept_old, replace=False)]))
    weight = np.ones(old + new)
    if isinstance(memory, ApproxUniform) and old:
        weight[:old] = seen / old
    # systematic sampling in random order: each is drawn with a chance of exactly size * weight / sum, at most 1 here
    order = rng.permutation(old + new)
    marks = np.cumsum(weight[order]) * (size / weight.sum())
    marks[-1] = size  # but for rounding
    return np.sort(order[np.searchsorted(marks, np.arange(size) + rng.random(), side="right")])
