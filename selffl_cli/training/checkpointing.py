"""What a run writes while it trains, from rank 0 alone: a line a round, and checkpoints from which it goes on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from ..runs.checkpoint import TABLES, Saved
from ..runs.folder import METRICS
from .controls import Line
from .federation import Federation
from .totals import Totals


class Checkpointing:
    """metrics.jsonl and the checkpoints of a federation's run."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.path = federation.folder.path / METRICS
        self.touched: list[np.ndarray] = []  # clients of the rounds since the last checkpoint
        self.written = hashlib.sha256()  # of metrics.jsonl
        self.file: BinaryIO | None = None  # while rounds are trained
        self.saved_at = 0.0

    def take_up(self) -> Saved | None:
        """Bring the federation's state to the newest checkpoint, None without one; metrics are cut back to it."""
        federation = self.federation
        shutil.rmtree(federation.checkpoints.folder / TABLES, ignore_errors=True)  # of a run that was killed
        federation.store.open(federation.tables)
        saved = federation.checkpoints.load(federation.state)
        with open(self.path, "a+b") as file:
            file.truncate(saved.metrics_bytes if saved else 0)
            file.seek(0)
            self.written = hashlib.sha256(file.read())
        return saved

    @contextmanager
    def open(self) -> Iterator[None]:
        """Within it lines are written; they are safe on the disk when it is left without an error."""
        with open(self.path, "ab") as self.file:
            self.saved_at = time.perf_counter()
            yield
            os.fsync(self.file.fileno())

    def write(self, line: Line) -> None:
        """Append the metrics of a round, which others may read at once."""
        assert self.file is not None
        text = json.dumps(line).encode() + b"\n"
        self.file.write(text)
        self.file.flush()
        self.written.update(text)

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is as old as one may be."""
        return time.perf_counter() - self.saved_at > self.federation.controls.checkpoint_seconds

    def save(self, round_: int, totals: Totals) -> None:
        """A checkpoint of the end of a round, behind the lines up to there."""
        assert self.file is not None
        federation = self.federation
        os.fsync(self.file.fileno())
        touched = np.unique(np.concatenate([np.empty(0, np.int64), *self.touched]))
        made_by = {"engine": federation.engine.name, "device": federation.controls.device}
        saved = Saved(round_, self.file.tell(), vars(totals), self.written.hexdigest(), made_by)
        federation.checkpoints.save(federation.state, touched, saved)
        self.touched.clear()
        self.saved_at = time.perf_counter()
