"""One model with K sets of parameters: outputs and gradients of K clients in one batched computation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from ..flat import FlatModel
from .layers import ConvForm, place, stack

# Which form of convolution runs where. CPU: small CNN, 10 clients, against one client after another on one core:
# loop 1.23, grouped 1.15, unfold 0.73 times as fast. GPU (H200, captured steps), ms a round grouped, looped, unfolded:
# 20 clients of the small CNN 9, 16, 21; 10 of CIFAR's 27, 45, 72; 5 of CNN-11 with batches of 32 227, 141, 342.
CONVOLUTION: dict[str, ConvForm] = {"cpu": "loop", "cuda": "mixed"}


class StackedModel:
    """The model of `flat` for K clients at once. Frozen tensors stay one; nothing is kept of a client."""

    def __init__(self, flat: FlatModel, conv: ConvForm | None = None) -> None:
        self.flat = flat
        device = flat.device.type
        self.module = stack(flat.module, conv or CONVOLUTION.get(device, "grouped"), trim=device == "cpu")
        self.sizes = [p.numel() for p in flat.parameters]

    def _named(self, rows: Tensor) -> dict[str, Tensor]:
        """Views of `rows` [K, P] as {parameter: [K, *shape]}."""
        pieces = rows.split(self.sizes, 1)
        return {
            name: piece.view(len(rows), *shape)
            for (name, shape), piece in zip(self.flat.layout.items(), pieces, strict=True)
        }

    def _forward(self, rows: Tensor, x: Tensor) -> Tensor:
        named = self._named(rows)
        if self.module is not None:
            place(self.module, named)
            return self.module(x)
        module = self.flat.module  # any other architecture: torch vectorises its forward over clients
        own = vmap(lambda weights, samples: functional_call(module, weights, (samples,)))
        return own(named, x.view(len(rows), -1, *x.shape[1:])).flatten(0, 1)

    @torch.no_grad()
    def outputs(self, rows: Tensor, x: Tensor) -> Tensor:
        """Outputs at `rows` [K, P] for x [K x B, …], client by client: [K x B, O]."""
        self.flat.training(False)
        return self._forward(rows, x)

    def gradient(self, rows: Tensor, x: Tensor, y: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of K batches' losses at `rows` [K, P], and the losses [K], detached.

        x, y: [K x B, …]; share [K, B]: what each sample counts in its client's loss.
        """
        self.flat.training(True)
        with torch.enable_grad():
            leaf = rows.detach().requires_grad_()
            with self.flat.products():
                outputs = self._forward(leaf, x)
            losses = self.flat.task.losses(outputs.to(self.flat.dtype), x, y).view_as(share)
            loss = (losses * share).sum(1)
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return gradient, loss.detach()
