"""The two-level Gaussian's model: its parameters are the estimate theta itself."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from ..shards import Manifest
from .base import Model, NoOptions


class Location(Model):
    head = ()

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(dimension))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, d] → theta, once a sample [B, d]."""
        return self.theta.expand(x.shape[0], -1)

    @classmethod
    def build(cls, options: NoOptions, manifest: Manifest, shared: dict[str, Tensor]) -> Location:
        return cls(prod(manifest.input.shape))
