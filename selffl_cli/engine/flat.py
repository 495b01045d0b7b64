"""A model whose parameters are one flat vector, and a client part of the shards on a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SelfflError
from ..metrics.metric import Metric
from ..models.task import Task, batch_loss
from ..shards import Part


class FlatModel:
    """`nn.Module` whose parameters are views of `self.vector` [P]; frozen tensors (buffers) exist once."""

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        device: torch.device,
        dtype: torch.dtype,
        bf16: bool = False,
        metrics: Sequence[Metric] = (),
    ) -> None:
        """With `bf16` the matrix products of training are taken in bfloat16; parameters and all else in `dtype`.

        metrics: what evaluations score beside the task's own score and loss.
        """
        self.metrics = tuple(metrics)
        self.module, self.task, self.dtype, self.device = module.to(device, dtype), task, dtype, device
        self.bf16 = bf16
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.layout = {name: tuple(p.shape) for name, p in named}
        self.parameters = [p for _, p in named]
        self.vector = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        offset = 0
        for parameter in self.parameters:
            parameter.data = self.vector[offset : offset + parameter.numel()].view(parameter.shape)
            offset += parameter.numel()
        self.start = self.vector.clone()

    @property
    def scored(self) -> int:
        """How many numbers an evaluation sums of each client: score, loss, and a score of each further metric."""
        return 2 + len(self.metrics)

    @property
    def size(self) -> int:
        """P, the number of trained parameters."""
        return self.vector.numel()

    @property
    def head_size(self) -> int:
        """How many of them belong to the head."""
        return int(self.head_mask().sum())

    def head_mask(self) -> Tensor:
        """True where a parameter belongs to the head that the module names: bool [P], one and the same tensor."""
        return self._head

    @cached_property
    def _head(self) -> Tensor:
        head = set(getattr(self.module, "head", ()))
        parts = [torch.full(shape, name in head).reshape(-1) for name, shape in self.layout.items()]
        return torch.cat(parts).to(self.device)

    def gradient(self, vector: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of the batch's loss at `vector` [P], and the loss (detached scalar); zero for an empty batch."""
        if not len(y):
            return torch.zeros_like(vector), torch.zeros((), dtype=self.dtype, device=self.device)
        self.vector.copy_(vector)
        self.training(True)
        with torch.enable_grad():
            with self.products():
                outputs = self.module(x)
            loss = batch_loss(self.task, outputs.to(self.dtype), x, y)
            grads = torch.autograd.grad(loss, self.parameters)
        return torch.cat([g.reshape(-1) for g in grads]), loss.detach()

    def products(self) -> AbstractContextManager[object]:
        """The precision of a training step's matrix products."""
        return bf16_products(self.device.type) if self.bf16 else nullcontext()

    def outputs(self, vector: Tensor, x: Tensor) -> Tensor:
        """Outputs at `vector` without a graph."""
        self.vector.copy_(vector)
        self.training(False)
        with torch.no_grad():
            return self.module(x)

    def training(self, on: bool) -> None:
        """Put the module into its mode for training, or for being judged."""
        if self.module.training is not on:  # walking through its parts takes as long as a small layer
            self.module.train(on)

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """The flat vector as named tensors of the module's shapes."""
        sizes = [int(np.prod(shape)) for shape in self.layout.values()]
        return {
            name: piece.reshape(shape).clone()
            for (name, shape), piece in zip(self.layout.items(), vector.split(sizes), strict=True)
        }

    def flatten(self, named: dict[str, Tensor]) -> Tensor:
        """The inverse of `named`; SelfflError where names, shapes or types differ: it is another model's."""
        pieces = []
        for name, shape in self.layout.items():
            found = tuple(named[name].shape) if name in named else "none"
            if found != shape:
                raise SelfflError(
                    f"parameter {name} of this model has shape {shape}, the saved one {found}; give a run of this model"
                )
            if named[name].dtype != self.dtype:
                saved, own = (str(dtype).removeprefix("torch.") for dtype in (named[name].dtype, self.dtype))
                raise SelfflError(
                    f"parameter {name} is saved as {saved}, this model has {own}; give a run of the same [train] dtype"
                )
            pieces.append(named[name].reshape(-1))
        if others := [name for name in named if name not in self.layout]:
            raise SelfflError(f"this model has no parameter {others[0]}, the saved one has; give a run of this model")
        return torch.cat(pieces).to(self.device, self.dtype)


class DevicePart:
    """One part of the shards on the engine's device: x, y [n, …] ordered by client, with offsets [M+1]."""

    def __init__(self, part: Part, device: torch.device, dtype: torch.dtype) -> None:
        self.x, self.y = (self._place(part.arrays[name], device, dtype) for name in ("x", "y"))
        self.offsets = np.asarray(part.offsets, dtype=np.int64)
        self.sizes = np.diff(self.offsets)

    def of(self, clients: np.ndarray) -> DevicePart:
        """A copy of the samples of these clients [E], which it numbers from 0."""
        sizes = self.sizes[clients]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        rows = torch.from_numpy(np.repeat(self.offsets[clients] - offsets[:-1], sizes) + np.arange(offsets[-1]))
        x, y = (values[rows.to(values.device)] for values in (self.x, self.y))
        return DevicePart.of_tensors(x, y, sizes)

    def take(self, rows: list[np.ndarray]) -> DevicePart:
        """A part of these rows of this one, one array of rows a client."""
        chosen = torch.from_numpy(np.concatenate(rows)).to(self.x.device)
        return DevicePart.of_tensors(self.x[chosen], self.y[chosen], np.array([len(own) for own in rows]))

    @staticmethod
    def of_tensors(x: Tensor, y: Tensor, sizes: np.ndarray) -> DevicePart:
        """A part of these samples, already on their device, the first sizes[0] of client 0 and so on."""
        part = object.__new__(DevicePart)
        part.x, part.y, part.sizes = x, y, sizes
        part.offsets = np.concatenate([[0], np.cumsum(sizes)])
        return part

    @staticmethod
    def _place(values: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        if values.is_floating_point():
            return values.to(device, dtype)
        return values.to(device) if values.dtype == torch.uint8 else values.to(device, torch.int64)

    def client(self, client: int, indices: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
        """x and y of one client, or of some of its samples."""
        start, stop = self.offsets[client], self.offsets[client + 1]
        x, y = self.x[start:stop], self.y[start:stop]
        if indices is None:
            return x, y
        chosen = torch.from_numpy(indices).to(x.device)
        return x[chosen], y[chosen]

    def samples(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """x and y of these rows of the whole part [n], gathered on the device."""
        return self.x[rows], self.y[rows]


@contextmanager
def bf16_products(device: str) -> Iterator[None]:
    """Matrix products in bfloat16. Where the processor has none, oneDNN refuses LSTMs and torch's own kernels serve."""
    refused = device == "cpu" and torch._C._get_mkldnn_enabled() and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if refused:
        torch._C._set_mkldnn_enabled(False)
    try:
        with torch.autocast(device, torch.bfloat16, cache_enabled=False):
            yield
    finally:
        if refused:
            torch._C._set_mkldnn_enabled(True)
