"""An append-only log of client records: what a checkpoint adds costs what its rounds touched.

Records go to the end of the newest segment file; the latest record of a client counts. A segment of which little
still counts is cleaned: the records that do are appended again and the file is dropped. So the log stays within
twice what it holds, plus SLACK, and no step of it looks at clients that did not take part.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..files.regular import open_regular

SEGMENT = 16 * 2**20  # bytes after which a new segment is begun
SLACK = 64 * 2**20  # bytes of outdated records that are not worth cleaning
READ_BYTES = 4 * 2**20  # bytes read at once


@dataclass
class Segment:
    """A file of records, its length and checksum as of the last append, and how many of its records still count."""

    number: int
    bytes: int = 0
    live: int = 0
    digest: Any = field(default_factory=hashlib.sha256)  # over the first `bytes` bytes

    @property
    def name(self) -> str:
        return f"rows-{self.number:07d}.log"

    def entry(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {"file": self.name, "bytes": self.bytes, "sha256": self.digest.hexdigest()}


class RowLog:
    """The segments in a folder that a manifest names; others are not looked at."""

    def __init__(self, folder: Path, record: np.dtype, num_clients: int) -> None:
        self.folder, self.record = folder, record
        self.segments: dict[int, Segment] = {}  # oldest first
        self.dirty: set[int] = set()  # appended to since the last flush
        # segment and position of each client's latest record; pages of zeros cost nothing until written
        self.segment_of = np.zeros(num_clients, np.int32)  # 0 = no record
        self.position_of = np.zeros(num_clients, np.int32)

    def append(self, records: np.ndarray) -> None:
        """Records of clients that occur once each."""
        if not self.segments or self._newest.bytes >= max(SEGMENT, self.bytes // 1024):
            self._begin()
        segment = self._newest
        content = records.tobytes()
        with open(self.folder / segment.name, "r+b") as file:
            file.seek(segment.bytes)
            file.write(content)
        self._take(segment, records, content)
        self.dirty.add(segment.number)

    def _begin(self) -> None:
        """A new, empty segment."""
        segment = Segment(self._newest.number + 1 if self.segments else 1)
        (self.folder / segment.name).write_bytes(b"")  # one may lie there that no manifest names
        self.segments[segment.number] = segment

    def _take(self, segment: Segment, records: np.ndarray, content: bytes) -> None:
        """Count `records`, which end the segment from now on, as the latest ones of their clients."""
        # a client may occur twice when a file is read again: its last record counts
        last = len(records) - 1 - np.unique(records["client"][::-1], return_index=True)[1]
        clients, positions = records["client"][last], segment.bytes // self.record.itemsize + last
        numbers, counts = np.unique(self.segment_of[clients], return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            if number:
                self.segments[number].live -= count
        self.segment_of[clients], self.position_of[clients] = segment.number, positions
        segment.live += len(clients)
        segment.digest.update(content)
        segment.bytes += len(content)

    @property
    def _newest(self) -> Segment:
        return self.segments[max(self.segments)]

    @property
    def bytes(self) -> int:
        return sum(segment.bytes for segment in self.segments.values())

    @property
    def live_bytes(self) -> int:
        return sum(segment.live for segment in self.segments.values()) * self.record.itemsize

    def clean(self) -> None:
        """Append again what counts of the emptiest segments, until the log is short enough."""
        while self.bytes > 2 * self.live_bytes + SLACK:
            full = [segment for segment in self.segments.values() if segment.bytes]
            worst = min(full, key=lambda segment: segment.live * self.record.itemsize / segment.bytes)
            if worst is self._newest:  # what counts of it needs somewhere to go
                self._begin()
            for first, records in self._read(worst):
                counts = self._counts(worst, first, records)
                if counts.any():
                    self.append(records[counts])
            del self.segments[worst.number]
            self.dirty.discard(worst.number)

    def _counts(self, segment: Segment, first: int, records: np.ndarray) -> np.ndarray:
        """Which of the records from position `first` of a segment are the latest of their clients."""
        clients, positions = records["client"], first + np.arange(len(records))
        return (self.segment_of[clients] == segment.number) & (self.position_of[clients] == positions)

    def _read(self, segment: Segment) -> Iterator[tuple[int, np.ndarray]]:
        """(position of the first, records) of a segment, some at a time."""
        step = max(1, READ_BYTES // self.record.itemsize) * self.record.itemsize
        with open_regular(self.folder / segment.name) as file:
            for begin in range(0, segment.bytes, step):
                content = file.read(min(step, segment.bytes - begin))
                yield begin // self.record.itemsize, np.frombuffer(content, self.record)

    def flush(self) -> list[dict[str, Any]]:
        """Make what was appended last; every segment as a manifest names it."""
        for number in self.dirty:
            with open(self.folder / self.segments[number].name, "rb") as file:
                os.fsync(file.fileno())
        self.dirty.clear()
        return [segment.entry() for segment in self.segments.values()]

    def load(self, entries: list[dict[str, Any]]) -> None:
        """Take up the segments of a manifest; ValueError or OSError when one is not what the manifest says."""
        for entry in entries:
            whole = Segment(int(entry["file"][5:12]), entry["bytes"])
            segment = self.segments[whole.number] = Segment(whole.number)
            try:
                for _, records in self._read(whole):
                    self._take(segment, records, records.tobytes())
            except IndexError:  # of a client that is none
                raise ValueError(f"{segment.name} is damaged") from None
            if segment.entry() != entry:
                raise ValueError(f"{segment.name} is damaged")

    def records_in_order(self) -> Iterator[np.ndarray]:
        """The latest record of every client."""
        for segment in self.segments.values():
            for first, records in self._read(segment):
                yield records[self._counts(segment, first, records)]
