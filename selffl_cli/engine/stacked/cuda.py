"""What only a CUDA device has: graphs, a figure of its free memory, TF32, and one kernel for an LSTM's cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ...errors import UsageError
from ..flat import DevicePart
from .capture import CaptureFailed
from .lstm import StackedLSTMLayers, fused_cell, plain_cell
from .model import StackedModel

SHARE = 0.4  # of the free memory for a chunk's rows and one step; captured steps hold a step's memory of their own


class Graphs:
    """Captures steps as CUDA graphs; see `capture.Recorder`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()  # one for all: nothing in it outlives a replay

    @contextmanager
    def apart(self) -> Iterator[None]:
        """On a stream of our own: the default one cannot be captured."""
        outside = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(outside)
        with torch.cuda.stream(self.stream):
            yield
        outside.wait_stream(self.stream)

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
                step()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if isinstance(error.__context__, torch.OutOfMemoryError):  # ending a broken capture hides its cause
                raise error.__context__ from None
            raise CaptureFailed(str(error).splitlines()[0]) from None
        return graph.replay

    def forget(self) -> None:
        torch.cuda.empty_cache()


def set_precision(precision: str, device: torch.device) -> None:
    """TF32 for float32 products and convolutions, or none: torch's own default takes it in cuDNN alone."""
    if precision == "tf32" and device.type != "cuda":
        raise UsageError("precision tf32 is a GPU's; on the CPU leave it at float32")
    value = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = value
    torch.backends.cudnn.conv.fp32_precision = value  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = value  # type: ignore[attr-defined]


def clients_that_fit(model: StackedModel, data: DevicePart, batch: int) -> int:
    """Clients of a chunk, by free memory and what one gradient of four clients takes."""
    trial, flat = 4, model.flat
    free = torch.cuda.mem_get_info(flat.device)[0]
    free += torch.cuda.memory_reserved(flat.device) - torch.cuda.memory_allocated(flat.device)
    torch.cuda.reset_peak_memory_stats(flat.device)
    before = torch.cuda.memory_allocated(flat.device)
    x, y = data.samples(torch.zeros(trial * batch, dtype=torch.int64, device=flat.device))
    share = torch.full((trial, batch), 1 / batch, dtype=flat.dtype, device=flat.device)
    try:
        model.gradient(flat.start.expand(trial, -1), x, y, share)
    except torch.OutOfMemoryError:
        return 1
    step = (torch.cuda.max_memory_allocated(flat.device) - before) / trial
    rows = 8 * flat.size * flat.start.element_size()  # two kinds of rows, new ones, mean, context, start and end
    return max(1, int(SHARE * free / (step + rows)))


def choose_cell(model: StackedModel) -> None:
    """The fused LSTM cell where torch has it and it gives what the plain one gives; it is not public."""
    layers = [m for m in model.module.modules() if isinstance(m, StackedLSTMLayers)] if model.module else []
    if layers and fused_is_sound(model.flat.device, model.flat.dtype):
        for layer in layers:
            layer.cell = fused_cell


def fused_is_sound(device: torch.device, dtype: torch.dtype) -> bool:
    """Compare both cells on random numbers."""
    draw = torch.Generator(device).manual_seed(0)
    gates = torch.randn(2, 3, 20, device=device, dtype=dtype, generator=draw)
    cell = torch.randn(2, 3, 5, device=device, dtype=dtype, generator=draw)
    try:
        fused = fused_cell(gates.clone(), cell, torch.zeros_like(gates))
    except (RuntimeError, AttributeError, TypeError):
        return False
    plain = plain_cell(gates.clone(), cell)
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(fused, plain, strict=True))
