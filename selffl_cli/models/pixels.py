"""What every model of images does first. Shards keep pixels as bytes, a quarter of the memory of floats."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UsageError
from ..shards import Manifest


def scaled(x: Tensor, weight: Tensor) -> Tensor:
    """Pixels 0..255 as 0..1 in the type of `weight`; anything but bytes as it is."""
    return x.to(weight.dtype) / 255 if x.dtype == torch.uint8 else x


def image_shape(manifest: Manifest, model: str, least: int) -> tuple[int, int, int]:
    """(channels, height, width) of a sample; UsageError for data that are no images, or smaller ones."""
    shape = manifest.input.shape
    if len(shape) != 3 or min(shape[1:]) < least:
        raise UsageError(
            f"[model] {model}: needs images [channels, height, width] of {least}x{least} pixels or more, the "
            f"samples of {manifest.name} have shape {shape}; choose mlp or softmax"
        )
    channels, height, width = shape
    return channels, height, width
