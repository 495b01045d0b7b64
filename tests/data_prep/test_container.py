"""What a recording's header says is never believed: cut files are recognised, whole ones are read to their end."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from data_prep.speech.container import Damaged, whole

RATE = 16000
SOUND = (8000 * np.sin(np.arange(RATE) / 20)).astype(np.int16)


def chunk(name: bytes, content: bytes, order: str = "<", size: int | None = None, pad: bool = True) -> bytes:
    head = name + struct.pack(f"{order}I", len(content) if size is None else size)
    return head + content + b"\0" * (len(content) % 2 and pad)


def wave(*before: bytes, order: str = "<", size: int | None = None, total: int | None = None) -> bytes:
    """A mono WAV of 16 bits with chunks before its samples."""
    form = struct.pack(f"{order}HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    samples = SOUND.astype(">i2" if order == ">" else "<i2").tobytes()
    body = b"WAVE" + chunk(b"fmt ", form, order) + b"".join(before) + chunk(b"data", samples, order, size)
    length = struct.pack(f"{order}I", len(body) if total is None else total)
    return (b"RIFX" if order == ">" else b"RIFF") + length + body


def read(data: bytes) -> np.ndarray:
    soundfile = pytest.importorskip("soundfile", reason="needs the extra 'audio': pip install 'selffl[audio]'")
    return soundfile.read(io.BytesIO(whole(data)), dtype="int16")[0]


@pytest.mark.parametrize(
    "data",
    [
        wave(),
        wave(order=">"),
        wave(size=0, total=0),  # what a recorder leaves that was switched off
        wave(size=2**32 - 1, total=2**32 - 1),  # and one that writes to a pipe
        wave(chunk(b"LIST", b"INFOodd")),
        wave(chunk(b"LIST", b"INFOodd", pad=False)),  # the byte of padding was forgotten
    ],
    ids=["plain", "big-endian", "size 0", "size unknown", "odd LIST", "odd LIST without padding"],
)
def test_a_whole_wave_is_read_to_its_end(data: bytes) -> None:
    assert np.array_equal(read(data), SOUND)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "W64", "RF64"])
def test_every_container_is_whole_or_cut(kind: str) -> None:
    soundfile = pytest.importorskip("soundfile", reason="needs the extra 'audio': pip install 'selffl[audio]'")
    stream = io.BytesIO()
    soundfile.write(stream, SOUND, RATE, format=kind, subtype="PCM_16")
    data = stream.getvalue()
    assert np.array_equal(read(data), SOUND)
    with pytest.raises(Damaged, match="truncated"):
        whole(data[: len(data) // 2])


def test_a_rate_of_nothing() -> None:
    with pytest.raises(Damaged, match="rate of 0"):
        whole(wave().replace(struct.pack("<I", RATE), struct.pack("<I", 0), 1))


def test_an_mp3_of_changing_rate_has_its_whole_length() -> None:
    """Without a Xing header a length is guessed from the first frame: here twice what it is, or half."""
    soundfile = pytest.importorskip("soundfile", reason="needs the extra 'audio': pip install 'selffl[audio]'")
    stream = io.BytesIO()
    noise = np.concatenate([np.zeros(2 * RATE, np.int16), np.random.default_rng(0).integers(-9000, 9000, RATE)])
    soundfile.write(stream, noise.astype(np.int16), RATE, format="MP3", bitrate_mode="VARIABLE")
    data = stream.getvalue()
    marks = [data.find(mark) for mark in (b"Xing", b"Info") if mark in data[:400]]
    assert marks
    from data_prep.speech.container import _first_frame, _frame

    start = _first_frame(data)
    assert start is not None
    bare = data[start + _frame(data, start) :]
    frames = len(soundfile.read(io.BytesIO(whole(bare)))[0])
    assert abs(frames - 3 * RATE) < RATE // 5
    with pytest.raises(Damaged, match="truncated"):
        whole(bare[:-10])
