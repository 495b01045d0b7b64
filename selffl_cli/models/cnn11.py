"""The wake-word network: 8 convolutions of 3x3 and 3 dense layers, 1.00 M parameters at 76 frames by 64 bins.

The ActPerFL paper names an 11-layer CNN and gives no more of it; widths 32, 32, 64, 64, 96, 96, 128, 128 with
2x2 pooling after every second convolution, and dense 256, 64, are our instantiation. Batch normalisation is
left out on purpose: its running statistics are neither parameters to be averaged nor the client's own.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..config.validation import Strict
from ..errors import SelfflError
from ..shards import Manifest
from .base import Model

CHANNELS = (32, 32, 64, 64, 96, 96, 128, 128)
DENSE = (256, 64)
GROUP = 16  # channels normalised together


class Options(Strict):
    norm: Literal["group", "none"] = Field(
        "group", description="group normalisation (16 channels each) behind every convolution, or none"
    )


class CNN11(Model):
    """Features [B, frames, bins] to logits [B, classes]."""

    options_type = Options
    head = ("output.weight", "output.bias")

    def __init__(self, frames: int, bins: int, classes: int, norm: str = "group") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for number, channels in enumerate(CHANNELS):
            layers.append(nn.Conv2d(before, channels, 3, padding=1))
            if norm == "group":
                layers.append(nn.GroupNorm(channels // GROUP, channels))
            layers.append(nn.ReLU())
            if number % 2:
                layers.append(nn.MaxPool2d(2))
            before = channels
        self.convolutions = nn.Sequential(*layers)
        inputs = before * (frames // 16) * (bins // 16)
        self.dense = nn.Sequential(nn.Linear(inputs, DENSE[0]), nn.ReLU(), nn.Linear(DENSE[0], DENSE[1]), nn.ReLU())
        self.output = nn.Linear(DENSE[1], classes)
        for layer in self.modules():
            # He et al. 2015: torch's own start shrinks the signal at each of the eleven layers
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer is not self.output:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        maps = self.convolutions(x.unsqueeze(1))
        return self.output(self.dense(torch.flatten(maps, 1)))

    @classmethod
    def build(cls, options: Options, manifest: Manifest, shared: dict[str, Tensor]) -> CNN11:
        """The network for shards of features [frames, bins], 16 each at least (four poolings)."""
        shape = manifest.input.shape
        if len(shape) != 2 or min(shape) < 16 or not manifest.input.dtype.startswith("float"):
            raise SelfflError(
                f"model 'cnn11' takes features of 16 frames by 16 bins or more; those of {manifest.name} are "
                f"{manifest.input.dtype} {shape}; prepare some with: selffl prepare speech-commands"
            )
        return cls(shape[0], shape[1], manifest.outputs, options.norm)
