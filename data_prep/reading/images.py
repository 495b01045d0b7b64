"""Images as uint8 arrays [n, channels, height, width]: decoded one by one, or read from Parquet files.

The Parquet layout is that of Hugging Face's image sets: a column of structures with the encoded `bytes`, and
columns of labels and writers beside it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selffl_cli.errors import SelfflError
from selffl_cli.shards import sha256

MODES = {1: "L", 3: "RGB"}


def decode(encoded: bytes, shape: tuple[int, int, int], where: str) -> np.ndarray:
    """A PNG or JPEG as uint8 [channels, height, width]; SelfflError when it is broken or of another size."""
    from PIL import Image

    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
            if image.size != (width, height):  # looked at before a pixel is decoded
                raise SelfflError(
                    f"{where}: is {image.size[0]}x{image.size[1]} pixels, not {width}x{height}; "
                    "bring the file as published"
                )
            pixels = np.asarray(image.convert(MODES[channels]))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise SelfflError(f"{where}: no whole PNG or JPEG image ({reason}); bring the file as published") from None
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def decode_all(encoded: Iterable[bytes], count: int, shape: tuple[int, int, int], where: str) -> np.ndarray:
    """`count` images, uint8 [count, channels, height, width]; `where` names their file in errors."""
    images = np.empty((count, *shape), np.uint8)
    for i, content in enumerate(encoded):
        images[i] = decode(content, shape, f"{where}: image {i}")
    return images


def features(images: np.ndarray) -> np.ndarray:
    """For k-means: means over 2x2 pixels in 0..1, float32 [n, channels * height/2 * width/2]."""
    n, channels, height, width = images.shape
    sums = np.zeros((n, channels, height // 2, width // 2), np.float32)
    for i in (0, 1):
        for j in (0, 1):
            sums += images[:, :, i::2, j::2]
    return (sums / (4 * 255)).reshape(n, -1)


def parquet_files(source: Path) -> list[Path]:
    """The Parquet files that a source is, or holds at any depth: training files first, then in order of their
    names; [] without any.
    """
    if source.is_file():
        return [source] if source.suffix == ".parquet" else []
    found = (path for path in source.rglob("*.parquet") if path.is_file())
    return sorted(found, key=lambda path: ("train" not in path.name, path))


def columns(files: Sequence[Path], names: Sequence[str]) -> list[np.ndarray]:
    """Columns of all the files end to end; SelfflError where a file is broken or has no such column."""
    import pyarrow

    tables = []
    for path in files:
        with _opened(path, names) as file:
            try:
                tables.append(file.read(columns=list(names)))
            except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
                raise _broken(path, error) from None
    found = [pyarrow.chunked_array([c for t in tables for c in t[name].chunks]) for name in names]
    for name, column in zip(names, found, strict=True):
        if column.null_count:
            raise SelfflError(f"{files[0].parent}: column '{name}' has empty cells; bring the files as published")
    return [column.to_numpy() for column in found]


def images(
    files: Sequence[Path], column: str, shape: tuple[int, int, int], rows: np.ndarray | None = None
) -> np.ndarray:
    """The images of a column, of all rows or of those where `rows` bool [n] is true: uint8 [k, *shape].

    Files are read a batch of rows at a time, so that no more than the images themselves is kept.
    """
    import pyarrow

    sizes = []
    for path in files:
        with _opened(path, [column]) as file:
            sizes.append(file.metadata.num_rows)
    chosen = np.ones(sum(sizes), bool) if rows is None else rows
    out = np.empty((int(chosen.sum()), *shape), np.uint8)
    done = row = 0
    for path in files:
        with _opened(path, [column]) as file:
            try:
                for batch in file.iter_batches(batch_size=4096, columns=[column]):
                    wanted = np.flatnonzero(chosen[row : row + len(batch)])
                    cells = batch.column(0).take(pyarrow.array(wanted)).to_pylist()
                    for i, cell in zip(wanted, cells, strict=True):
                        out[done] = decode(_content(cell), shape, f"{path}: row {row + i}")
                        done += 1
                    row += len(batch)
            except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
                raise _broken(path, error) from None
    return out


def _content(cell: Any) -> bytes:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) else b""  # a path alone is never followed


def _opened(path: Path, names: Sequence[str]) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise _broken(path, error) from None
    missing = [name for name in names if name not in file.schema_arrow.names]
    if missing:
        have = ", ".join(file.schema_arrow.names)
        file.close()
        raise SelfflError(f"{path}: has no column '{missing[0]}' (but {have}); bring the Parquet files as published")
    return file


def _broken(path: Path, error: Exception) -> SelfflError:
    reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
    return SelfflError(f"{path}: no whole Parquet file ({reason}); bring it again")


def labels(values: np.ndarray, classes: int, where: object) -> np.ndarray:
    """Labels as int64, or a SelfflError that names one that is none of 0 … classes - 1."""
    values = values.astype(np.int64)
    wrong = np.flatnonzero((values < 0) | (values >= classes))
    if len(wrong):
        raise SelfflError(
            f"{where}: sample {wrong[0]} has the label {values[wrong[0]]}, not one of 0 to {classes - 1}; "
            "bring the file as published"
        )
    return values


def sources(files: Sequence[Path]) -> list[dict[str, str]]:
    """Name and sha256 of each file, for the manifest."""
    return [{"name": path.name, "sha256": sha256(path)} for path in files]
