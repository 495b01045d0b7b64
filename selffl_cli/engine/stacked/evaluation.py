"""Scores of many clients' own models in one batched computation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..evaluation import Sums, batch, scores
from ..flat import DevicePart
from .model import StackedModel


def evaluate_stacked(
    model: StackedModel, rows: Tensor, clients: np.ndarray, parts: Mapping[str, DevicePart], sums: Sums
) -> None:
    """As `evaluate_rows`, all of `clients` [C] at once: rows [C, P]. Sums are taken on the device."""
    for name, part in parts.items():
        sizes = part.sizes[clients]
        order = np.argsort(-sizes, kind="stable")  # those who still have samples are always the first ones
        sizes, offsets = sizes[order], part.offsets[clients[order]]
        own = rows[torch.as_tensor(order, device=rows.device)]
        total = torch.zeros(model.flat.scored, len(order), dtype=torch.float64, device=rows.device)
        most = batch(part.x)
        begin = 0
        while begin < sizes.max(initial=0):
            width = int((sizes > begin).sum())
            length = min(max(1, most // width), int(sizes[0]) - begin)
            position = begin + np.arange(length)
            index = offsets[:width, None] + np.minimum(position, sizes[:width, None] - 1)
            real = torch.as_tensor(position < sizes[:width, None], device=rows.device)
            x, y = part.samples(torch.as_tensor(index.ravel(), device=rows.device))
            outputs = model.outputs(own[:width], x)
            for row, values in zip(total, scores(model.flat, outputs, x, y), strict=True):
                row[:width] += torch.where(real, values.double().view(width, length), 0).sum(1)
            begin += length
        sums[name][:, clients[order]] = total.cpu().numpy()
