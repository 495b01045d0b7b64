"""Gradients of samples by a model's last layer, without forming them.

The last layer is linear, so the gradient of a sample is a sum over its positions (one for a classifier, one a word for
a language model) of delta h', with delta [K] the loss's derivative by the outputs and h [H] the layer's input with a 1
for the bias. Inner products of two samples are then sums over all *pairs* of positions of <delta, delta'> <h, h'>.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..engine.evaluation import batch
from ..engine.flat import FlatModel
from ..errors import SelfflError

BLOCK = 2048  # positions whose pairs are held at once


@dataclass
class Gradients:
    """n samples' gradients G as outer products: delta [k, K], inputs [k, H], and the sample of each position [k]."""

    delta: Tensor
    inputs: Tensor
    owner: Tensor
    samples: int

    def gram(self) -> Tensor:
        """G G' [n, n] in float64."""
        out = self.delta.new_zeros((self.samples, self.samples), dtype=torch.float64)
        blocks = range(0, len(self.owner), BLOCK)
        for i in (slice(begin, begin + BLOCK) for begin in blocks):
            for j in (slice(begin, begin + BLOCK) for begin in blocks):
                pairs = ((self.delta[i] @ self.delta[j].T) * (self.inputs[i] @ self.inputs[j].T)).double()
                rows = pairs.new_zeros((self.samples, pairs.shape[1])).index_add_(0, self.owner[i], pairs)
                out.index_add_(1, self.owner[j], rows)
        return (out + out.T) / 2

    def dot(self, vector: Tensor) -> Tensor:
        """G v [n] in float64, v [K, H]."""
        values = ((self.inputs @ vector.T) * self.delta).sum(1).double()
        return values.new_zeros(self.samples).index_add_(0, self.owner, values)

    def sum(self, weights: Tensor) -> Tensor:
        """G' x [K, H], x [n]."""
        return (self.delta * weights.to(self.delta.dtype)[self.owner, None]).T @ self.inputs

    def scaled(self, factors: Tensor) -> Gradients:
        """Every sample's gradient times its factor [n]."""
        delta = self.delta * factors.to(self.delta.dtype)[self.owner, None]
        return Gradients(delta, self.inputs, self.owner, self.samples)


class LastLayer:
    """The last layer of a model: the linear one that its `head` names."""

    def __init__(self, model: FlatModel) -> None:
        """SelfflError for a model whose last layer is not linear."""
        self.model = model
        name = next(iter(getattr(model.module, "head", ())), "").rpartition(".")[0]
        layer = model.module.get_submodule(name) if name else None
        if not isinstance(layer, nn.Linear):
            raise SelfflError(
                "a memory by gradients needs a model whose last layer is linear; use another model, or train.memory = "
                "approx-uniform"
            )
        self.layer = layer

    @property
    def shape(self) -> tuple[int, int]:
        """K and H of a gradient, the bias counted as an input."""
        return self.layer.out_features, self.layer.in_features + (self.layer.bias is not None)

    def gradients(self, vector: Tensor, x: Tensor, y: Tensor) -> Gradients:
        """Of the loss of each sample of x, y [n, …] at the model `vector` [P]."""
        caught: list[Tensor] = []
        hook = self.layer.register_forward_hook(lambda layer, inputs, output: caught.append(inputs[0]))
        pieces = []
        size = batch(x)
        try:
            for begin in range(0, len(y), size):
                own_x, own_y = x[begin : begin + size], y[begin : begin + size]
                outputs = self.model.outputs(vector, own_x).detach()
                delta = self._delta(outputs, own_x, own_y)
                (inputs,) = caught
                caught.clear()
                pieces.append(self._flat(delta, inputs, begin))
        finally:
            hook.remove()
        delta, inputs, owner = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        return Gradients(delta, inputs, owner, len(y))

    def _delta(self, outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            outputs.requires_grad_()
            return torch.autograd.grad(self.model.task.losses(outputs, x, y).sum(), outputs)[0]

    def _flat(self, delta: Tensor, inputs: Tensor, begin: int) -> tuple[Tensor, Tensor, Tensor]:
        """Positions in a row, without those that have no loss (padding)."""
        owner = torch.arange(len(delta), device=delta.device) + begin
        positions = delta[0].numel() // delta.shape[-1]
        delta, inputs = delta.flatten(0, -2), inputs.flatten(0, -2)
        if self.layer.bias is not None:
            inputs = torch.cat([inputs, inputs.new_ones((len(inputs), 1))], 1)
        kept = (delta != 0).any(1)
        return delta[kept], inputs[kept], owner.repeat_interleave(positions)[kept]
