"""From recordings to features: decoded, sent through their channels and turned into log-mel energies by every
core, in bounded memory.

Features go to a nameless file on the disk, and come back as a memory map: a set of any size is never in
memory as a whole, and a process that dies leaves nothing behind.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from selffl_cli.errors import SelfflError

from ..dealing.pool import generator
from .audio import RATE, Unusable, decode, loudest, one_second, read_bytes, walk
from .channels import Channels
from .features import BINS, FLOOR, log_mel, samples_of

Stage = Callable[[str], None]
BATCH = 32  # clips handed to a worker at once: 1 MB of recordings
JUST_ABOVE = 0.05  # of the logarithm of the floor; float16 has steps of 0.016 there
LEAST_FILLED = 0.01  # of the training frames have something in a bin, else it is left at 0
AHEAD = 3  # batches a worker has waiting


class Job(NamedTuple):
    """One clip: the rows that it fills, the device each of them is heard through (-1: as recorded), its part
    and its bytes; None for a crop of the background noise called `noise`.
    """

    key: str
    rows: tuple[int, ...]
    devices: tuple[int, ...]
    part: int
    noise: str = ""
    data: bytes | None = None


class Done(NamedTuple):
    """What became of a clip: features float16 [rows, frames, BINS], or why there are none."""

    rows: tuple[int, ...]
    features: np.ndarray | None
    reason: str
    rate: int
    seconds: float  # of audio decoded


@dataclass
class Rendered:
    """Features float16 [rows, frames, BINS] in an open file; `usable` bool [rows]; and what happened."""

    file: IO[bytes]
    usable: np.ndarray
    rounding: np.ndarray  # largest error of float16 in each bin, [BINS]
    skipped: dict[str, str] = field(default_factory=dict)
    resampled: int = 0
    audio_seconds: float = 0.0
    wall_seconds: float = 0.0


_channels: Channels
_frames: int


def _start(channels: Channels, frames: int) -> None:
    """In every worker: what it was forked with. Workers are as many as cores, so each has one thread."""
    global _channels, _frames
    import torch

    torch.set_num_threads(1)
    _channels, _frames = channels, frames


def clip_of(job: Job, channels: Channels) -> tuple[np.ndarray, int, float]:
    """The clean second of a job, float32 [16000], its rate, and the seconds that were decoded."""
    if job.data is None:
        rng = generator(channels.seed, f"crop {job.key}")
        crop = channels.crop(rng, job.part, job.noise)
        loud = 10 ** (rng.uniform(-20.0, 0.0) / 20)  # rooms are not all as noisy as the recordings
        return (crop * loud).astype(np.float32), RATE, len(crop) / RATE
    samples, rate = decode(job.data)
    return one_second(samples), rate, len(samples) / RATE


def _work(jobs: list[Job]) -> tuple[list[Done], np.ndarray]:
    """Results of a batch, and the largest rounding error of each bin [BINS]."""
    results: list[Done] = []
    pieces: list[np.ndarray] = []
    length = samples_of(_frames)
    for job in jobs:
        try:
            clip, rate, seconds = clip_of(job, _channels)
        except Unusable as reason:
            results.append(Done(job.rows, None, str(reason), 0, 0.0))
            continue
        start = loudest(clip, length)  # of the clean clip: a noise never moves the window
        for device in job.devices:
            heard = clip if device < 0 else _channels(device, clip, job.key, job.part)
            pieces.append(heard[start : start + length])
        results.append(Done(job.rows, np.empty(0), "", rate, seconds))
    if not pieces:
        return results, np.zeros(BINS)
    energies = log_mel(np.stack(pieces))
    features = energies.astype(np.float16)
    rounding = np.abs(features.astype(np.float32) - energies).max(axis=(0, 1))
    done = iter(np.split(features, np.cumsum([len(r.rows) for r in results if not r.reason])[:-1]))
    return [r if r.reason else r._replace(features=next(done)) for r in results], rounding


def render(
    source: Path, jobs: dict[str, Job], crops: list[Job], channels: Channels, frames: int, stage: Stage
) -> Rendered:
    """Fill every row of `jobs` (by their clips' names in the source) and `crops`.

    Raises SelfflError when the disk is full or a worker dies.
    """
    rows = sum(len(job.rows) for job in [*jobs.values(), *crops])
    begun = time.perf_counter()
    out = Rendered(_file(rows * frames * BINS * 2), np.zeros(rows, bool), np.zeros(BINS))
    total, count, told = len(jobs) + len(crops), 0, 0.0
    try:
        for batch, (results, rounding) in _in_order(_batches(source, jobs, crops), channels, frames):
            np.maximum(out.rounding, rounding, out=out.rounding)
            for job, done in zip(batch, results, strict=True):
                out.audio_seconds += done.seconds
                out.resampled += done.rate not in (0, RATE)
                if done.reason:
                    out.skipped[job.key] = done.reason
                    continue
                assert done.features is not None
                for row, features in zip(done.rows, done.features, strict=True):
                    out.file.seek(row * frames * BINS * 2)
                    out.file.write(features.tobytes())
                out.usable[list(done.rows)] = True
            count += len(batch)
            out.wall_seconds = time.perf_counter() - begun
            if out.wall_seconds > told + 0.1:
                told = out.wall_seconds
                stage(progress(count, total, out.audio_seconds / 3600 / told))
        out.file.flush()
    except BaseException as error:
        out.file.close()
        if isinstance(error, BrokenProcessPool):
            raise SelfflError(f"{source}: a worker died, for want of memory perhaps; run it again") from None
        if isinstance(error, OSError):
            raise SelfflError(f"{source}: features cannot be kept ({error.strerror or error})") from None
        raise
    return out


def progress(count: int, total: int, speed: float) -> str:
    """A bar in words, for whoever shows what is being done."""
    full = 20 * count // max(total, 1)
    return f"rendering {'━' * full}{'╌' * (20 - full)} {count:,} of {total:,} clips, {speed:.2f} h of audio/s"


def _file(size: int) -> IO[bytes]:
    """An open file without a name, with room for `size` bytes."""
    file = tempfile.TemporaryFile(prefix="selffl-")  # noqa: SIM115 - the memory map outlives this
    try:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        file.close()
        raise SelfflError(
            f"{tempfile.gettempdir()}: no room for {size / 1e9:.2g} GB of features ({error.strerror}); "
            "set TMPDIR to a folder with room"
        ) from None
    return file


def _batches(source: Path, jobs: dict[str, Job], crops: list[Job]) -> Iterator[list[Job]]:
    """Jobs with their bytes, in the order of the source, then the crops."""
    batch: list[Job] = []
    for name, stream in walk(source, jobs.__contains__):
        batch.append(jobs[name]._replace(data=read_bytes(stream)))
        if len(batch) == BATCH:
            yield batch
            batch = []
    for crop in crops:
        batch.append(crop)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


Result = tuple[list[Done], np.ndarray]


def _in_order(batches: Iterator[list[Job]], channels: Channels, frames: int) -> Iterator[tuple[list[Job], Result]]:
    """Each batch (without its bytes) and its result, in order, with a bounded number of them under way."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    import torch  # noqa: F401 - before the fork, so that workers share it

    waiting: deque[tuple[list[Job], Future[Result]]] = deque()
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("fork"), initializer=_start, initargs=(channels, frames)
    )
    try:
        for batch in batches:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside an idle spinner
                future = pool.submit(_work, batch)
            waiting.append(([job._replace(data=None) for job in batch], future))
            while len(waiting) > AHEAD * workers:
                batch, future = waiting.popleft()
                yield batch, future.result()
        while waiting:
            batch, future = waiting.popleft()
            yield batch, future.result()
    except BrokenProcessPool:
        # Python before 3.11.5 waits for ever for the thread that writes a large batch to workers that are gone
        # (cpython issue 94777); without a reader its write fails
        with suppress(OSError):  # the pool's own thread may be closing it
            pool._call_queue._reader.close()  # type: ignore[attr-defined]
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class Normalised(NamedTuple):
    """Features float16 [rows, frames, BINS] (a memory map), the training part's mean and standard deviation
    of each bin, float32 [BINS], and the largest error of float16 in standard deviations.
    """

    x: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    error: float
    empty: int  # bins that hold nothing in the training part, and are 0 everywhere


def normalise(rendered: Rendered, train: np.ndarray, frames: int, stage: Stage) -> Normalised:
    """Each bin to mean 0 and standard deviation 1 over the training rows (`train` bool [rows]), in place.

    Rows that are not usable are left out: those behind move up. A bin that hardly ever holds anything in the training
    part, as above 4 kHz in recordings of 8 kHz, is 0 in every row: its deviation is that of a few stray frames.
    """
    stage("normalising")
    file, shape, block = rendered.file, (frames, BINS), 4096
    count, size = len(rendered.usable), frames * BINS * 2
    total, squares, samples, above = np.zeros(BINS), np.zeros(BINS), 0, np.zeros(BINS)

    def read(first: int) -> np.ndarray:
        file.seek(first * size)
        data = np.frombuffer(file.read(min(block, count - first) * size), np.float16).reshape(-1, *shape)
        return data

    wanted = train & rendered.usable
    for first in range(0, count, block):
        rows = read(first)[wanted[first : first + block]].astype(np.float64).reshape(-1, BINS)
        above += (rows > np.log(FLOOR) + JUST_ABOVE).sum(axis=0)
        total, squares, samples = (
            total + rows.sum(axis=0),
            squares + (rows**2).sum(axis=0),
            samples + len(rows),
        )
    if not samples:
        raise SelfflError("no clip of the training part can be used; bring more of them")
    mean = (total / samples).astype(np.float32)
    std = np.sqrt(np.maximum(squares / samples - (total / samples) ** 2, 0)).astype(np.float32)
    empty = above < LEAST_FILLED * samples
    std[(std < 1e-3) | empty] = 1.0  # a bin that never moves says nothing
    place, worst = 0, 0.0
    for first in range(0, count, block):
        rows = read(first)[rendered.usable[first : first + block]].astype(np.float32)
        exact = np.where(empty, np.float32(0), (rows - mean) / std)
        stored = exact.astype(np.float16)
        if len(rows):
            worst = max(worst, float(np.abs(stored.astype(np.float32) - exact).max()))
        file.seek(place * size)
        file.write(stored.tobytes())
        place += len(rows)
    file.flush()
    x = np.memmap(file, np.float16, "r", shape=(place, *shape))
    return Normalised(x, mean, std, worst + float((rendered.rounding / std).max()), int(empty.sum()))
