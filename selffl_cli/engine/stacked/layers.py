"""Layers with weights of their own for each of K clients, and a model rebuilt from them.

Samples of all clients stand in one batch [K x B, …], client by client, so that whatever has no weights (activations,
pooling, reshaping, the model's own `forward`) runs as written; only layers with weights know of clients.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .lstm import StackedLSTMLayers

ConvForm = Literal["grouped", "unfold", "loop", "mixed"]
FEW = 6  # clients up to which `mixed` is `loop`


class StackedLinear(nn.Module):
    weight: Tensor  # [K, out, in]
    bias: Tensor | None = None  # [K, out]

    def forward(self, x: Tensor) -> Tensor:
        """[K x B, …, in] → [K x B, …, out]."""
        weight = self.weight
        rows = x.reshape(len(weight), -1, x.shape[-1])
        if self.bias is None:
            out = torch.bmm(rows, weight.mT)
        else:
            out = torch.baddbmm(self.bias[:, None], rows, weight.mT)
        return out.view(*x.shape[:-1], weight.shape[1])


class StackedConv2d(nn.Module):
    """Convolution by one of these forms; which one is fastest depends on the device and is measured.

    `grouped`: one convolution of K groups. `unfold`: patches as columns, then one batched product.
    `loop`: K ordinary convolutions; on the CPU its kernels are the best, on a GPU it is K launches.
    `mixed`: `loop` for few clients, `grouped` for more.
    """

    weight: Tensor  # [K, out, in, height, width]
    bias: Tensor | None = None  # [K, out]

    def __init__(self, layer: nn.Conv2d, form: ConvForm) -> None:
        super().__init__()
        assert isinstance(layer.padding, tuple)
        self.stride, self.padding, self.dilation, self.form = layer.stride, layer.padding, layer.dilation, form

    def forward(self, x: Tensor) -> Tensor:
        """[K x B, in, height, width] → [K x B, out, …]."""
        return getattr(self, f"_{self.form}")(x)

    def _loop(self, x: Tensor) -> Tensor:
        biases = [None] * len(self.weight) if self.bias is None else self.bias.unbind()
        outputs = [
            F.conv2d(own, weight, bias, self.stride, self.padding, self.dilation)
            for own, weight, bias in zip(x.chunk(len(self.weight)), self.weight.unbind(), biases, strict=True)
        ]
        return torch.cat(outputs)

    def _mixed(self, x: Tensor) -> Tensor:
        return self._loop(x) if len(self.weight) <= FEW else self._grouped(x)

    def _grouped(self, x: Tensor) -> Tensor:
        clients, channels = self.weight.shape[:2]
        batch = len(x) // clients
        side = x.reshape(clients, batch, *x.shape[1:]).transpose(0, 1).reshape(batch, -1, *x.shape[2:])
        bias = None if self.bias is None else self.bias.reshape(-1)
        out = F.conv2d(side, self.weight.flatten(0, 1), bias, self.stride, self.padding, self.dilation, clients)
        return out.reshape(batch, clients, channels, *out.shape[2:]).transpose(0, 1).flatten(0, 1)

    def _unfold(self, x: Tensor) -> Tensor:
        clients, channels = self.weight.shape[:2]
        kernel = self.weight.shape[3:]
        rows, columns = (
            (x.shape[2 + i] + 2 * self.padding[i] - self.dilation[i] * (kernel[i] - 1) - 1) // self.stride[i] + 1
            for i in (0, 1)
        )
        patches = F.unfold(x, kernel, self.dilation, self.padding, self.stride)  # [K x B, in x h x w, L]
        patches = patches.view(clients, -1, *patches.shape[1:]).transpose(1, 2).flatten(2)
        weight = self.weight.flatten(2)
        if self.bias is None:
            out = torch.bmm(weight, patches)
        else:
            out = torch.baddbmm(self.bias[..., None], weight, patches)
        out = out.view(clients, channels, -1, rows, columns).transpose(1, 2)
        return out.reshape(-1, channels, rows, columns)


class StackedEmbedding(nn.Module):
    weight: Tensor  # [K, words, width]

    def forward(self, x: Tensor) -> Tensor:
        """Indices [K x B, …] → [K x B, …, width]."""
        clients, words, width = self.weight.shape
        first = words * torch.arange(clients, device=x.device)
        rows = x.reshape(clients, -1) + first[:, None]
        return F.embedding(rows, self.weight.reshape(-1, width)).view(*x.shape, width)


class StackedGroupNorm(nn.Module):
    weight: Tensor  # [K, channels]
    bias: Tensor  # [K, channels]

    def __init__(self, layer: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = layer.num_groups, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        """[K x B, channels, …] normalised within each sample and group, then scaled by its client's weights."""
        clients, shape = len(self.weight), x.shape
        plain = F.group_norm(x, self.groups, eps=self.eps).reshape(clients, -1, *shape[1:])
        weight, bias = (v.view(clients, 1, shape[1], *[1] * (x.dim() - 2)) for v in (self.weight, self.bias))
        return torch.addcmul(bias, plain, weight).view(shape)


def stack(module: nn.Module, conv: ConvForm, trim: bool) -> nn.Module | None:
    """The same architecture with a layer of K clients' weights for each of its layers, to be set by `place`.

    Buffers (a frozen embedding) are shared with `module`, not copied. `trim`: a batch of texts may be cut to its
    longest, for which the host looks at it. None where a layer has no stacked form here.
    """
    shared = {id(t): t for t in (*module.parameters(), *module.buffers())}
    stacked = copy.deepcopy(module, shared)
    for name, layer in list(stacked.named_modules()):
        new = _stacked(layer, conv)
        if new is not None:
            parent, _, own = name.rpartition(".")
            setattr(stacked.get_submodule(parent), own, new)
    if any(True for _ in stacked.parameters()):
        return None
    if hasattr(stacked, "trim"):
        stacked.__dict__["trim"] = trim
    return stacked


def _stacked(layer: nn.Module, conv: ConvForm) -> nn.Module | None:
    if type(layer) is nn.Linear:
        return StackedLinear()
    if type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros":
        return StackedConv2d(layer, conv) if isinstance(layer.padding, tuple) else None
    if type(layer) is nn.GroupNorm and layer.affine:
        return StackedGroupNorm(layer)
    if type(layer) is nn.Embedding and layer.padding_idx is None and layer.max_norm is None:
        return StackedEmbedding()
    if type(layer) is nn.LSTM and StackedLSTMLayers.fits(layer):
        return StackedLSTMLayers(layer)
    return None


def place(stacked: nn.Module, named: dict[str, Tensor]) -> None:
    """Set every layer's weights: {name in the plain module: [K, …]}."""
    for name, value in named.items():
        layer, _, attribute = name.rpartition(".")
        stacked.get_submodule(layer).__dict__[attribute] = value
