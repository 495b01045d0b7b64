"""Small files in the published layouts of image sets, and what errors must look like."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.dealing.pool import Pool
from data_prep.reading.sources import silent
from data_prep.sets import cifar10, mnist
from selffl_cli.errors import SelfflError

RNG = np.random.default_rng(7)
TRAIN, TEST = 60, 20  # images of the small copies of MNIST below
DIGITS = RNG.integers(0, 10, TRAIN + TEST)
PIXELS = RNG.integers(0, 256, (TRAIN + TEST, 28, 28), dtype=np.uint8)
WRITER = np.concatenate([RNG.integers(0, 4, TRAIN), RNG.integers(10, 12, TEST)])
SERIES = np.where(WRITER < 10, 0, 4)


def idx(values: np.ndarray) -> bytes:
    kind = 0x08 if values.dtype == np.uint8 else 0x0C
    head = bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(values.dtype.newbyteorder(">")).tobytes()


def mnist_files() -> dict[str, bytes]:
    digits = DIGITS.astype(np.uint8)
    return {
        "train-images-idx3-ubyte": idx(PIXELS[:TRAIN]), "train-labels-idx1-ubyte": idx(digits[:TRAIN]),
        "t10k-images-idx3-ubyte": idx(PIXELS[TRAIN:]), "t10k-labels-idx1-ubyte": idx(digits[TRAIN:]),
    }  # fmt: skip


def put(folder: Path, files: dict[str, bytes], packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (name + ".gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return folder


def put_writers(folder: Path) -> Path:
    np.savez(
        folder / "mnist_writers.npz", train_writer=WRITER[:TRAIN], test_writer=WRITER[TRAIN:],
        train_hsf=SERIES[:TRAIN], test_hsf=SERIES[TRAIN:],
    )  # fmt: skip
    return folder


def qmnist_files() -> dict[str, bytes]:
    table = np.zeros((TRAIN + TEST + 30, 8), np.int32)  # QMNIST's test labels go on behind MNIST's
    table[: TRAIN + TEST, :3] = np.stack([DIGITS, SERIES, WRITER], axis=1)
    return {
        "qmnist-train-labels-idx2-int": idx(table[:TRAIN]),
        "qmnist-test-labels-idx2-int": idx(table[TRAIN:]),
    }


def load_mnist(source: Path, **options: Any) -> Pool:
    return mnist.MNIST().load(mnist.Options(**options), source, silent)


def one_line(call: Callable[[], Any], *said: str) -> None:
    with pytest.raises(SelfflError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message and all(part in message for part in said), message


def cifar_batches(per_batch: int = 4) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    y = RNG.integers(0, 10, 6 * per_batch)
    x = RNG.integers(0, 256, (6 * per_batch, 3, 32, 32), dtype=np.uint8)
    records = np.concatenate([y[:, None].astype(np.uint8), x.reshape(len(x), -1)], axis=1)
    pieces = np.split(records, 6)
    return {name: piece.tobytes() for name, piece in zip(cifar10.BATCHES, pieces, strict=True)}, x, y


def encoded(image: np.ndarray, kind: str) -> bytes:
    """uint8 [channels, height, width] as PNG or JPEG."""
    stream = io.BytesIO()
    plain = image.transpose(1, 2, 0)
    Image.fromarray(plain[:, :, 0] if len(image) == 1 else plain).save(stream, kind, quality=95)
    return stream.getvalue()
