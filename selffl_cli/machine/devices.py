"""The device that runs are computed on."""

from __future__ import annotations

import os

import torch

from ..errors import UsageError


def default_device(asked: str) -> str:
    """`auto` is a GPU where there is one; a GPU that is asked for and not there is an error."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # looking must not start CUDA: runs may yet be forked
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine or this torch build has no GPU; use --device cpu")
    try:
        torch.device(asked)
    except RuntimeError:
        raise UsageError(f"--device '{asked}': write auto, cpu or cuda") from None
    return asked
