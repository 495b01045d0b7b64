"""Softmax regression: one linear layer over the flattened input."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from ..config.validation import Strict
from ..shards import Manifest
from .pixels import scaled


class Options(Strict):
    pass


class Softmax(nn.Module):
    head = ("linear.weight", "linear.bias")

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, …] → logits [B, classes]."""
        return self.linear(scaled(x, self.linear.weight).flatten(1))


def build(options: Options, manifest: Manifest, shared: dict[str, Tensor]) -> nn.Module:
    return Softmax(prod(manifest.input.shape), len(manifest.classes))
