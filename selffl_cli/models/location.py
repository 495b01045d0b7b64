"""The two-level Gaussian's model: its parameters are the estimate theta itself."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from ..config.validation import Strict
from ..shards import Manifest


class Options(Strict):
    pass


class Location(nn.Module):
    head = ()

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(dimension))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, d] → theta, once a sample [B, d]."""
        return self.theta.expand(x.shape[0], -1)


def build(options: Options, manifest: Manifest, shared: dict[str, Tensor]) -> nn.Module:
    return Location(prod(manifest.input.shape))
