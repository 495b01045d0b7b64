"""CIFAR-10: 60,000 colour images of 32x32 pixels in ten classes; it has no clients of its own."""

from __future__ import annotations

import io
import lzma
import re
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from pydantic import Field

from selffl_cli.errors import SelfflError

from ..dataset import DataSet, Stage
from ..dealing.pool import PARTITION_HELP, Pool, PrepareOptions
from ..reading import hub, images
from ..reading.archive import members
from ..reading.parquet import columns, parquet_files
from ..reading.tree import by_folder, one_place

REPOSITORY = "uoft-cs/cifar10"
BINARY = "cifar-10-binary.tar.gz"
SOURCE_URL = f"https://www.cs.toronto.edu/~kriz/{BINARY}"
SOURCE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
SOURCE = (
    f"the official {BINARY} (the default) or its folder, a folder of Parquet files, hub ({REPOSITORY}), or a "
    "folder of train.npz.xz and test.npz.xz (jpeg, offsets, labels)"
)
NAMED_SOURCES = {"hub": hub.source(REPOSITORY, f"{BINARY} from {SOURCE_URL} and give it by --source FILE")}
SHAPE = (3, 32, 32)
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CITATION = "A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, University of Toronto, 2009"
RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
BATCHES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
PICKLES = re.compile(r"(data_batch_[1-5]|test_batch|batches\.meta)$")
MOST_BYTES = 1 << 29  # bytes of one file once unpacked; the largest has 47 million


class Options(PrepareOptions):
    clients: int | None = Field(100, ge=1, le=10_000_000, description="Number of clients.")
    # Hsu, Qi and Brown (2019) on CIFAR-10: 100 clients, Dir(alpha p). What others write as Dirichlet 0.1, for
    # 0.1 a label, is alpha=1 here, with ten labels.
    partition: str = Field("dirichlet:alpha=0.1", description=PARTITION_HELP)


def _read_binary(source: Path) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    """Images, labels and files of the binary version, from its archive or its folder."""
    found: dict[str, np.ndarray] = {}
    seen: list[str] = []

    def wanted(name: str) -> bool:
        seen.append(name.rpartition("/")[2])
        return seen[-1] in BATCHES

    if source.is_dir():
        paths = one_place(source, by_folder(source, wanted), "cifar10", len(BATCHES))
        files = {path.name: path for path in paths}
        for name, path in files.items():
            with path.open("rb") as file:
                found[name] = _records(file, str(path))
        used = list(files.values())
    else:
        for name, stream in members(source, wanted):
            if name.rpartition("/")[2] in found:
                raise SelfflError(
                    f"{source}: holds {name.rpartition('/')[2]} more than once; unpack it and "
                    "give the folder of one copy"
                )
            found[name.rpartition("/")[2]] = _records(stream, f"{source}: {name}")
        used = [source]
    if not found and any(PICKLES.match(name) for name in seen):
        raise SelfflError(
            f"{source}: is the Python version of CIFAR-10, whose pickles are never opened; bring the binary "
            f"version, {SOURCE_URL}"
        )
    missing = [name for name in BATCHES if name not in found]
    if missing:
        raise SelfflError(f"{source}: has no {missing[0]}; give {SOURCE}")
    records = np.concatenate([found[name] for name in BATCHES])
    return records[:, 1:].reshape(-1, *SHAPE), records[:, 0], used


def _records(stream: IO[bytes], where: str) -> np.ndarray:
    """Records of one batch, uint8 [n, RECORD]."""
    content = stream.read(MOST_BYTES + 1)
    if not content or len(content) % RECORD or len(content) > MOST_BYTES:
        raise SelfflError(
            f"{where}: {len(content):,} bytes are not a whole number of images ({RECORD:,} bytes each); "
            "bring the file as published"
        )
    return np.frombuffer(content, np.uint8).reshape(-1, RECORD)


def _read_jpeg(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of JPEG files that lie end to end: image i is jpeg[offsets[i] : offsets[i + 1]]."""
    try:
        with lzma.open(path) as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"unpacks to more than {MOST_BYTES:,} bytes")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            jpeg, offsets, labels = (np.asarray(arrays[name]) for name in ("jpeg", "offsets", "labels"))
    except (OSError, ValueError, EOFError, KeyError, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SelfflError(
            f"{path}: no whole npz file of jpeg, offsets and labels ({reason[:80]}); bring it again"
        ) from None
    plain = jpeg.dtype == np.uint8 and offsets.dtype.kind in "iu" and labels.dtype.kind in "iu"
    fits = jpeg.ndim == offsets.ndim == labels.ndim == 1 and len(offsets) == len(labels) + 1 > 1
    if not (plain and fits) or offsets[0] != 0 or offsets[-1] != len(jpeg) or (np.diff(offsets) < 0).any():
        raise SelfflError(f"{path}: its offsets and labels do not fit its images; bring it again")
    whole, bounds = jpeg.tobytes(), offsets.tolist()
    encoded = (whole[begin:end] for begin, end in pairwise(bounds))
    return images.decode_all(encoded, len(labels), SHAPE, str(path)), labels


class CIFAR10(DataSet):
    """CIFAR-10, 60,000 colour images in ten classes, dealt out by label skew."""

    options_type = Options
    source = SOURCE
    source_url = SOURCE_URL
    source_sha256 = SOURCE_SHA256
    named_sources = NAMED_SOURCES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """x uint8 [60000, 3, 32, 32], pixels from 0 to 255; y int64 [60000].

        The official training and test images are pooled and split inside each client.
        """
        if source is None:
            raise ValueError("CIFAR-10 is never without a source here")
        files = [source]
        notes: dict[str, str] = {}
        if parquet := parquet_files(source, "cifar10"):
            files = parquet
            (y,) = columns(parquet, ["label"])
            x = images.images(parquet, "img", SHAPE)
        elif source.is_dir() and (source / "train.npz.xz").is_file():
            files = [source / f"{part}.npz.xz" for part in ("train", "test")]
            parts = [_read_jpeg(path) for path in files]
            x, y = (np.concatenate(values) for values in zip(*parts, strict=True))
            notes["pixels"] = "from lossy JPEG: accuracies are not strictly comparable with the original's"
        else:
            x, y, files = _read_binary(source)
        return Pool(
            arrays={"x": x, "y": images.labels(y, len(CLASSES), source)},
            classes=CLASSES,
            citation=CITATION,
            features=lambda: images.features(x),
            notes=notes,
            sources=images.sources(files, source),
        )
