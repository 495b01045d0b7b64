"""Which samples a step sees: a function of (seed, stream, round, client, step) and nothing else.

Counter-based randomness (Philox) needs no generator state: a resumed run, another number of workers or another
engine draws the same batches, and every method of a seed sees the same clients in the same order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..draws import generator


class Batches:
    """Batches of one round. Each epoch of a stream is a permutation; its last, short batch counts."""

    def __init__(
        self, seed: int, round_: int, sizes: np.ndarray, batch_size: int | None,
        kept: Callable[[int], np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        """sizes: training samples of every client [M]; batch_size None = the whole client in one batch.

        kept: positions of those of a client's samples that may be drawn, where not all may; `sizes` counts them.
        """
        self.seed, self.round, self.sizes, self.batch_size, self.kept = seed, round_, sizes, batch_size, kept
        self._last: dict[str, tuple[tuple[int, int], np.ndarray]] = {}

    def indices(self, stream: str, client: int, step: int) -> np.ndarray | None:
        """Positions within the client's samples [at most batch_size]; None = all of them in their own order."""
        size = int(self.sizes[client])
        if self.batch_size is None or self.batch_size >= size:
            return self.kept(client) if self.kept else None
        per_epoch = -(-size // self.batch_size)
        epoch, position = divmod(step, per_epoch)
        key, order = self._last.get(stream, ((-1, -1), None))
        if key != (client, epoch) or order is None:
            order = generator(self.seed, stream, self.round, client, epoch).permutation(size)
            self._last[stream] = ((client, epoch), order)
        drawn = order[position * self.batch_size : (position + 1) * self.batch_size]
        return self.kept(client)[drawn] if self.kept else drawn

    def whole(self, client: int) -> np.ndarray:
        """Positions of all samples of the client that may be drawn, in their own order."""
        return self.kept(client) if self.kept else np.arange(self.sizes[client])
