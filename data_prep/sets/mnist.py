"""MNIST: 70,000 handwritten digits of 28x28 pixels, by 836 writers or dealt out as FedProx did."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from pydantic import Field

from selffl_cli.errors import SelfflError

from ..dataset import DataSet, Stage
from ..dealing.pool import PARTITION_HELP, Pool, PrepareOptions, draw_clients
from ..reading import hub, idx, images
from ..reading.parquet import columns, parquet_files, part_of

REPOSITORY = "ylecun/mnist"
FILES = {
    "train-images-idx3-ubyte": (0x08, 3), "train-labels-idx1-ubyte": (0x08, 1),
    "t10k-images-idx3-ubyte": (0x08, 3), "t10k-labels-idx1-ubyte": (0x08, 1),
}  # fmt: skip
# QMNIST's labels: a row an image, the digit in column 0, the hand-writing series in 1, the writer in 2
QMNIST = {"qmnist-train-labels-idx2-int": (0x0C, 2), "qmnist-test-labels-idx2-int": (0x0C, 2)}
WRITERS = "mnist_writers.npz"
SOURCE = (
    "a folder or zip of MNIST's four idx files (plain or .gz), a folder of its Parquet files, or hub "
    f"({REPOSITORY}, the default); for --partition natural with {WRITERS} or QMNIST's idx2-int label files "
    "beside them"
)
SOURCE_URL = "hub"
NAMED_SOURCES = {"hub": hub.source(REPOSITORY, "the four idx files and give their folder by --source FOLDER")}
SHAPE = (1, 28, 28)
CITATION = (
    "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-Based Learning Applied to Document Recognition, "
    "Proceedings of the IEEE 86(11), 1998"
)
WRITERS_CITATION = "; writers from QMNIST: C. Yadav, L. Bottou: Cold Case: The Lost MNIST Digits, NeurIPS 2019"


class Options(PrepareOptions):
    """FedProx's MNIST as published has 1,000 clients of 69 ± 106 samples in two digits (Li et al. 2020)."""

    clients: int | None = Field(
        1000,
        ge=1,
        le=10_000_000,
        description="Number of clients; natural: so many writers, drawn by the seed, else all.",
    )
    partition: str = Field(
        "shards:classes=2,spread=1.54,min=5", description=PARTITION_HELP + " natural: clients are writers."
    )
    test: float = Field(0.1, ge=0, lt=1, description="Share of a client's samples kept for testing.")


@dataclass
class Writers:
    """Writer and hand-writing series (4: students, others: employees) of each image, both [n]."""

    writer: np.ndarray
    series: np.ndarray


@dataclass
class Raw:
    """Training images first, then test images; what the official split was is of no further use."""

    x: np.ndarray  # uint8 [n, 1, 28, 28]
    y: np.ndarray  # int64 [n]
    training: int
    found: dict[str, np.ndarray] = field(default_factory=dict)  # QMNIST's label files
    files: list[Path] = field(default_factory=list)


def _read(source: Path, natural: bool) -> Raw:
    parquet = parquet_files(source, "mnist")
    if parquet:
        (y,) = columns(parquet, ["label"])
        training = [path for path in parquet if part_of(path, source) in ("train", "")]
        official = len(columns(training, ["label"])[0]) if training else 0
        raw = Raw(images.images(parquet, "image", SHAPE), images.labels(y, 10, source), official, {}, parquet)
        if natural:
            raw.files += idx.collect(source, QMNIST, lambda s, n: _keep(raw.found, s, n, QMNIST[n]))
        return raw
    if source.is_file() and not zipfile.is_zipfile(source):
        raise SelfflError(f"{source}: is no zip; give {SOURCE}")
    wanted = {**FILES, **(QMNIST if natural else {})}
    found: dict[str, np.ndarray] = {}
    files = idx.collect(source, wanted, lambda s, n: _keep(found, s, n, wanted[n]))
    missing = [name for name in FILES if name not in found]
    if missing:
        raise SelfflError(f"{source}: has no {missing[0]} (or .gz); give {SOURCE}")
    parts = []
    for part in ("train", "t10k"):
        x, y = found.pop(f"{part}-images-idx3-ubyte"), found.pop(f"{part}-labels-idx1-ubyte")
        if x.shape[1:] != SHAPE[1:]:
            raise SelfflError(
                f"{source}: {part} images of {x.shape[2]}x{x.shape[1]} pixels, MNIST's have 28x28; bring the "
                "files as published"
            )
        if len(x) != len(y):
            raise SelfflError(
                f"{source}: {len(x):,} {part} images but {len(y):,} labels; bring both files as published"
            )
        parts.append((x[:, None], images.labels(y, 10, f"{source}: {part} labels")))
    (x, y), (test_x, test_y) = parts
    return Raw(np.concatenate([x, test_x]), np.concatenate([y, test_y]), len(y), found, files)


def _keep(found: dict[str, np.ndarray], stream: IO[bytes], name: str, kind: tuple[int, int]) -> None:
    found[name] = idx.parse(stream, *kind)


def _writers(source: Path, raw: Raw) -> Writers:
    """Writers from QMNIST's labels where both files are there, else from `WRITERS`."""
    if len(raw.found) == len(QMNIST):
        return _qmnist(source, raw)
    path = source / WRITERS if source.is_dir() else source.with_name(WRITERS)
    if not path.is_file():
        raise SelfflError(
            f"{source}: partition natural needs {WRITERS} or QMNIST's {' and '.join(QMNIST)} beside the "
            "images; bring one, or deal the digits out with another --partition"
        )
    names = ("train_writer", "test_writer", "train_hsf", "test_hsf")
    try:
        with np.load(path, allow_pickle=False) as content:
            # a member that is no array comes as bytes
            found = {name: np.asarray(content[name]) for name in names if name in content}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, RuntimeError) as error:
        raise SelfflError(f"{path}: no whole npz file ({str(error)[:80]}); bring it again") from None
    wanted = {"train": raw.training, "test": len(raw.y) - raw.training}
    for part, count in wanted.items():
        values = found.get(f"{part}_writer")
        if values is None or values.shape != (count,) or values.dtype.kind not in "iu":
            what = "is missing" if values is None else f"has shape {values.shape} and type {values.dtype}"
            raise SelfflError(
                f"{path}: {part}_writer {what}, the {count:,} images need a whole number each; bring the "
                "file that belongs to these images"
            )
        series = found.setdefault(f"{part}_hsf", np.zeros(count, np.int64))
        if series.shape != (count,):
            raise SelfflError(f"{path}: {part}_hsf has shape {series.shape}, not ({count},); bring it again")
    raw.files.append(path)
    return Writers(*(np.concatenate([found[f"{part}_{key}"] for part in wanted]).astype(np.int64)
                     for key in ("writer", "hsf")))  # fmt: skip


def _qmnist(source: Path, raw: Raw) -> Writers:
    """The first rows of QMNIST's files belong to MNIST's images one by one: checked by their digits."""
    train, test = (raw.found[name] for name in QMNIST)
    rows = (train, test[: len(raw.y) - raw.training])
    table = np.concatenate(rows) if train.shape[1] == test.shape[1] >= 3 else np.empty((0, 3), np.int64)
    if len(table) != len(raw.y) or not np.array_equal(table[:, 0], raw.y):
        raise SelfflError(
            f"{source}: QMNIST's labels are not those of these images; bring both as published, or leave "
            f"{' and '.join(QMNIST)} out"
        )
    return Writers(table[:, 2].astype(np.int64), table[:, 1].astype(np.int64))


class MNIST(DataSet):
    """MNIST by its 836 writers, or two digits a client as FedProx dealt it."""

    options_type = Options
    source = SOURCE
    source_url = SOURCE_URL
    named_sources = NAMED_SOURCES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """x uint8 [70000, 1, 28, 28], pixels from 0 to 255; y int64 [70000], the digit.

        The official training and test images are pooled and split inside each client: no writer is in both.
        """
        if source is None:
            raise ValueError("MNIST is never without a source here")
        natural = options.partition == "natural"
        raw = _read(source, natural)
        x, y = raw.x, raw.y
        if natural:
            writers = _writers(source, raw)
            known, first, client = np.unique(writers.writer, return_index=True, return_inverse=True)
            if options.clients is not None:
                drawn, client = draw_clients(client, options.clients, options.seed)
                known, first = known[drawn], first[drawn]
            rows = client >= 0
            x, y, client = x[rows], y[rows], client[rows]
        pool = Pool(
            arrays={"x": x, "y": y},
            classes=[str(digit) for digit in range(10)],
            citation=CITATION,
            features=lambda: images.features(x),
            notes={"official_training_images": raw.training, "official_test_images": len(raw.y) - raw.training},
        )
        if natural:
            pool.client = client
            pool.client_names = [f"writer-{writer:04d}" for writer in known]
            pool.client_columns = {"group": [f"hsf_{series}" for series in writers.series[first]]}
            pool.citation += WRITERS_CITATION
        pool.sources = images.sources(raw.files, source)
        return pool
