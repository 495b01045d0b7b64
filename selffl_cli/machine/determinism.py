"""The same bits from a GPU each time, for a price."""

from __future__ import annotations

import os

import torch


def only_deterministic_algorithms() -> None:
    """From here on operations whose order of sums is fixed, and a RuntimeError where torch has none.

    To be called before CUDA is first used, since cuBLAS reads its setting then. A CPU run is deterministic without it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
