"""How many clients are stacked at once: what the cache of a core or the free memory of a GPU holds."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch

from ...errors import SelfflError

CACHE = 2 * 2**20  # bytes of rows: on a core with 1 MiB of second-level cache 1 to 3 MiB were best (4,810 to 50,890
# parameters); 16 MiB took half as long again
MOST_CLIENTS = 32  # clients: more gain nothing for small models, and unequal clients waste more


class Chunks:
    """Chunks of at most `most` clients; one that does not fit into memory is halved, and those after it too."""

    def __init__(self, most: int, say: Callable[[str], None] | None = None) -> None:
        self.most, self.said = max(1, most), False
        self.say = say or (lambda text: print(text, file=sys.stderr))

    def each(self, order: np.ndarray, work: Callable[[np.ndarray], None], forget: Callable[[], None]) -> None:
        """`work` for the clients in `order`, a chunk at a time; it must change nothing before it has succeeded.

        `forget` is called before a chunk is tried again. SelfflError when a single client does not fit.
        """
        begin = 0
        while begin < len(order):
            chunk = order[begin : begin + self.most]
            if self._fits(chunk, work):
                begin += len(chunk)
                continue
            if len(chunk) == 1:
                raise SelfflError(
                    "out of memory with a single client at a time; use a smaller model or batch, or --device cpu"
                )
            forget()  # the failed chunk's tensors went with its frames
            self.most = (len(chunk) + 1) // 2
            if not self.said:
                self.say(f"out of memory with {len(chunk)} clients at once; going on with {self.most}")
                self.said = True

    @staticmethod
    def _fits(chunk: np.ndarray, work: Callable[[np.ndarray], None]) -> bool:
        try:
            work(chunk)
        except torch.OutOfMemoryError:
            return False
        return True


def cached_clients(parameters: int, itemsize: int) -> int:
    """Clients whose rows stay near a core."""
    return max(4, min(MOST_CLIENTS, CACHE // (parameters * itemsize)))
