"""Multi-layer perceptron with ReLU between its layers."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ..config.validation import Strict
from ..shards import Manifest
from .base import Model
from .pixels import scaled

Units = Annotated[int, Field(ge=1, le=65_536)]


class Options(Strict):
    hidden: list[Units] = Field([64], min_length=1, max_length=16, description="units of each hidden layer")


class MLP(Model):
    options_type = Options

    def __init__(self, inputs: int, hidden: list[int], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, o in pairwise([inputs, *hidden]):
            layers += [nn.Linear(i, o), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.output = nn.Linear(hidden[-1], classes)
        self.head = ("output.weight", "output.bias")

    def forward(self, x: Tensor) -> Tensor:
        """x [B, …] → logits [B, classes]."""
        return self.output(self.body(scaled(x, self.output.weight).flatten(1)))

    @classmethod
    def build(cls, options: Options, manifest: Manifest, shared: dict[str, Tensor]) -> MLP:
        return cls(prod(manifest.input.shape), options.hidden, manifest.outputs)
