"""Softmax regression: one linear layer over the flattened input."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from ..shards import Manifest
from .base import Model, NoOptions
from .pixels import scaled


class Softmax(Model):
    head = ("linear.weight", "linear.bias")

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, …] → logits [B, classes]."""
        return self.linear(scaled(x, self.linear.weight).flatten(1))

    @classmethod
    def build(cls, options: NoOptions, manifest: Manifest, shared: dict[str, Tensor]) -> Softmax:
        return cls(prod(manifest.input.shape), manifest.outputs)
