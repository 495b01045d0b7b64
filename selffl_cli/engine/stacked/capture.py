"""Local steps that are captured once and replayed, as CUDA graphs do.

A step of a batch of ten is hundreds of kernels of a few microseconds each, and launching them from Python takes
longer than running them. So a step is captured once and replayed for every later step, round and chunk of the same
shape: whatever changes (rows, batches, the step's number, who still trains) lies in tensors that stay where they are.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..cohort import closure_values
from .chunk import Lanes, Runner, StepCounts, Tables, still_training

KEPT_CAPTURES = 16  # captured steps: a method has one or two kinds, at up to four widths and a few sizes of chunk
WARM_UPS = 2  # steps before a capture: libraries set themselves up in them


class CaptureFailed(Exception):
    """A step could not be captured; it can still be taken as Python meets it."""


class Recorder(Protocol):
    """What captures steps: a device's streams and graphs (`engine/stacked/cuda.py`)."""

    def apart(self) -> AbstractContextManager[object]:
        """Where steps are taken, captured and replayed."""

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """A function that does what `step` does, which is not done now; CaptureFailed where that cannot be had."""

    def forget(self) -> None:
        """Give freed memory back."""


class CapturedRunner(Runner):
    """CapturedRunner captured steps; falls back to plain ones, with a word, when a capture fails."""

    def __init__(self, recorder: Recorder, say: Callable[[str], None] | None = None) -> None:
        self.recorder, self.kept, self.off = recorder, OrderedDict[object, CapturedSteps](), False
        self.say = say or (lambda text: print(text, file=sys.stderr))

    def run(self, lanes: Lanes, tables: Tables, steps: np.ndarray) -> StepCounts:
        if self.off:
            return super().run(lanes, tables, steps)
        key = likeness(lanes)
        captured = self.kept.pop(key, None) or CapturedSteps(lanes, self.recorder)
        self.kept[key] = captured
        if len(self.kept) > KEPT_CAPTURES:
            self.kept.popitem(last=False)
        try:
            return captured.run(lanes, tables, steps)
        except CaptureFailed as error:
            self.say(f"steps could not be captured as a CUDA graph ({error}); going on without, several times slower")
            self.off = True
        self.forget()
        return super().run(lanes, tables, steps)

    def forget(self) -> None:
        self.kept.clear()
        self.recorder.forget()


class CapturedSteps:
    """The captured steps of chunks of one likeness, on tensors of their own."""

    def __init__(self, lanes: Lanes, recorder: Recorder) -> None:
        self.lanes, self.recorder = lanes.copy(), recorder
        self.captured: dict[int, tuple[Callable[[], None], list[str]]] = {}
        self.warmed: Counter[int] = Counter()
        self.inputs: dict[str, tuple[Tensor, Tensor]] = {}  # a stream's index and share at this step [K, B]
        device = lanes.loss.device
        self.active = torch.ones(len(lanes), dtype=torch.bool, device=device)
        self.number = torch.zeros((), dtype=torch.int64, device=device)

    def run(self, lanes: Lanes, tables: Tables, steps: np.ndarray) -> StepCounts:
        """As `Runner.run`; on CaptureFailed `lanes` are as they were."""
        spent = StepCounts(len(lanes))
        with self.recorder.apart():
            self.lanes.take(lanes)
            wanted = torch.as_tensor(steps, device=self.number.device)
            for number, training in enumerate(still_training(steps)):
                self.number.fill_(number)
                torch.gt(wanted, number, out=self.active)
                for stream, inputs in self.inputs.items():
                    for own, given in zip(inputs, tables(stream).at(number, len(lanes)), strict=True):
                        own.copy_(given)
                spent.add(self._step(narrowed(len(lanes), training), tables, number), tables, number, training)
            lanes.take(self.lanes)
        return spent

    def _step(self, width: int, tables: Tables, number: int) -> list[str]:
        """One step of the first `width` lanes, replayed, or plain the first times; the streams it drew from."""
        if self.warmed[width] < WARM_UPS:
            self.warmed[width] += 1

            def first(stream: str) -> tuple[Tensor, Tensor]:
                if stream not in self.inputs:
                    index, share = tables(stream).at(number, len(self.lanes))
                    self.inputs[stream] = index.clone(), share.clone()
                return self._batch(stream, width)

            self.lanes.advance(width, first, self.number, self.active[:width])
            return self.lanes.streams
        if width not in self.captured:

            def step() -> None:
                self.lanes.advance(width, lambda stream: self._batch(stream, width), self.number, self.active[:width])

            streams = list(self.lanes.streams)  # steps of one likeness draw alike
            self.captured[width] = self.recorder.capture(step), streams
        captured, streams = self.captured[width]
        captured()
        return streams

    def _batch(self, stream: str, width: int) -> tuple[Tensor, Tensor]:
        if stream not in self.inputs:
            raise CaptureFailed(f"batches of '{stream}' came up only after its first steps")
        index, share = self.inputs[stream]
        return index[:width], share[:width]


def narrowed(width: int, training: int) -> int:
    """How many lanes to compute: all, a quarter, a sixteenth, …, so that few shapes are captured."""
    while width > 4 and -(-width // 4) >= training:
        width = -(-width // 4)
    return width


def likeness(lanes: Lanes) -> object:
    """What two chunks must share for one captured step to serve both: the step, all that it holds, every shape.

    A held object counts as the same only if it is; the captured steps keep it alive, so that no other takes its place.
    """
    training = lanes.training
    step: Any = training.step
    code = getattr(step, "__code__", None)
    parts = closure_values(step) if code else [step]
    values = tuple((type(v), v) if isinstance(v, int | float | str | None) else id(v) for v in parts)
    shapes = tuple((tuple(t.shape), t.dtype) for t in lanes.buffers())
    return (
        code, values, shapes, training.paired, training.variance, training.average, training.batch, id(lanes.data),
    )  # fmt: skip
