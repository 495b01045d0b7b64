"""Recordings: where they lie, and from their bytes to one channel of samples at 16 kHz."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np

from selffl_cli.errors import SelfflError

from ..reading.archive import members
from ..reading.tree import files
from .container import Damaged, whole

RATE = 16_000  # samples a second of everything behind `decode`
LENGTH = RATE  # samples of a clip: one second
SUFFIXES = (".wav", ".flac", ".ogg", ".aif", ".aiff", ".mp3")
LIBRARIES = ("soundfile", "soxr", "pyroomacoustics")
MAX_BYTES = 128 << 20  # of one recording's file
MAX_SECONDS = 600.0  # of one recording
MIN_RATE = 8_000  # a telephone; below it the 300–3400 Hz of a small microphone are not there


class Unusable(Exception):
    """A recording that is left out; the message is the reason, in a few words."""


def need_libraries() -> None:
    """SelfflError where what reads, resamples and places recordings is not installed."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise SelfflError(f"recordings need {', '.join(missing)}: pip install 'selffl[audio]'")


def is_recording(name: str) -> bool:
    """Whether a file's name is that of a recording (and not of a hidden file, such as archives from a Mac
    hold).
    """
    base = name.rpartition("/")[2]
    return base.lower().endswith(SUFFIXES) and not base.startswith(".") and "__MACOSX" not in name


def walk(source: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    """(name, stream) of every wanted file of a folder, a zip or a tar; names use "/", folders in sorted
    order.

    `wanted` is asked once for each file, also for those that are then not read. Raises SelfflError for what
    archives must not hold (data_prep/reading/archive.py) and for a file that cannot be read.
    """
    if not source.is_dir():
        yield from members(source, wanted)
        return
    for path in files(source):
        name = path.relative_to(source).as_posix()
        if wanted(name):
            with _opened(path) as stream:
                yield name, stream


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise SelfflError(f"{path}: cannot be read ({error.strerror}); give a folder of yours") from None
    with stream:
        yield stream


def read_bytes(stream: IO[bytes]) -> bytes:
    """A recording's bytes; one byte more than `MAX_BYTES` of a longer one, which `decode` refuses."""
    return stream.read(MAX_BYTES + 1)


def decode(data: bytes) -> tuple[np.ndarray, int]:
    """Samples float32 [n] at 16 kHz in -1…1, and the rate that the file has.

    Raises Unusable for what is empty, no audio, cut short, of several channels, silent, beyond full scale or far too
    long.
    Another rate is resampled (soxr, very high quality).
    """
    import soundfile

    if not data:
        raise Unusable("empty")
    if len(data) > MAX_BYTES:
        raise Unusable(f"more than {MAX_BYTES >> 20} MiB")
    try:
        data = whole(data)
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, frames, channels = file.samplerate, file.frames, file.channels
            if channels != 1:
                raise Unusable("stereo" if channels == 2 else f"{channels} channels")
            if frames == 0:
                raise Unusable("empty")
            if rate < MIN_RATE or frames > MAX_SECONDS * rate:
                raise Unusable(f"below {MIN_RATE} Hz or longer than {MAX_SECONDS:.0f} s")
            samples = file.read(dtype="float32")
            fraction = file.subtype in ("FLOAT", "DOUBLE")
    except Damaged as reason:
        raise Unusable(str(reason)) from None
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError):
        if data[:4] in (b"fLaC", b"OggS"):  # their frames carry checksums, and no size stands at the start
            raise Unusable("truncated") from None
        known = data[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM")
        raise Unusable("in a coding that cannot be read" if known else "not audio") from None
    if len(samples) < frames:
        raise Unusable("truncated")
    if not np.isfinite(samples).all():
        raise Unusable("not finite")
    if samples.max() == samples.min():  # a constant is no sound either
        raise Unusable("silent")
    if fraction and np.abs(samples).max() > 1:  # whole numbers stored as fractions, or an amplifier's mistake
        raise Unusable("of samples beyond full scale (fractions above 1)")
    if rate != RATE:
        import soxr

        samples = soxr.resample(samples, rate, RATE, quality="VHQ")
    return samples.astype(np.float32, copy=False), rate


def one_second(samples: np.ndarray) -> np.ndarray:
    """Exactly LENGTH samples: shorter recordings inside silence, of longer ones the loudest second."""
    if len(samples) <= LENGTH:
        before = (LENGTH - len(samples)) // 2
        return np.pad(samples, (before, LENGTH - len(samples) - before))
    start = loudest(samples, LENGTH)
    return samples[start : start + LENGTH]


def loudest(samples: np.ndarray, length: int, step: int = 160) -> int:
    """Where the `length` samples of the most energy begin, on a grid of `step` samples (10 ms)."""
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    starts = np.arange(0, len(samples) - length + 1, step)
    return int(starts[np.argmax(energy[starts + length] - energy[starts])])
