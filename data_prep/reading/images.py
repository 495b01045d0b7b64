"""Images as uint8 arrays [n, channels, height, width]: decoded one by one, or read from a column of Parquet files.

The column is that of Hugging Face's image sets: structures with the encoded `bytes`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selffl_cli.errors import SelfflError
from selffl_cli.shards import sha256

from .parquet import broken, opened

MODES = {1: "L", 3: "RGB"}


MOST_PIXELS = 1 << 26  # of a picture that is to be resized


def decode(encoded: bytes, shape: tuple[int, ...], where: str, resize: bool = False) -> np.ndarray:
    """A PNG or JPEG as uint8 [channels, height, width]; SelfflError when it is broken, or of another size and not to
    be resized."""
    from PIL import Image

    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
            if resize and image.size[0] * image.size[1] > MOST_PIXELS:
                raise SelfflError(f"{where}: has more than {MOST_PIXELS:,} pixels; make it smaller first")
            if image.size != (width, height) and not resize:  # looked at before a pixel is decoded
                raise SelfflError(
                    f"{where}: is {image.size[0]}x{image.size[1]} pixels, not {width}x{height}; "
                    "bring the file as published"
                )
            eight = _eight_bits(image, where).convert(MODES[channels])
            pixels = np.asarray(eight if image.size == (width, height) else eight.resize((width, height)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise SelfflError(f"{where}: no whole PNG or JPEG image ({reason}); bring the file as published") from None
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def _eight_bits(image: Any, where: str) -> Any:
    """The image in eight bits a channel: 16-bit grey is scaled, since a conversion would cut it at 255."""
    from PIL import Image

    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        if np.asarray(image.convert("RGBA"))[:, :, 3].min() < 255:
            raise SelfflError(
                f"{where}: has transparent pixels, whose colour depends on what is behind them; save it on a background"
            )
        image = image.convert("RGB") if image.mode != "LA" else image.convert("L")
    if image.mode == "F":
        raise SelfflError(f"{where}: has fractions as pixels, whose range is not said; save it as 8 or 16 bits")
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        return Image.fromarray(((wide * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8))
    return image


def head(path: Path) -> tuple[tuple[int, int], bool]:
    """Width and height of a PNG or JPEG, and whether it is grey, from its header alone."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            return image.size, image.mode in ("1", "L", "LA") or image.mode.startswith("I")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise SelfflError(f"{path}: no whole PNG or JPEG image; mend it, or take it out") from None


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


def images(
    files: Sequence[Path], column: str, shape: tuple[int, int, int], rows: np.ndarray | None = None
) -> np.ndarray:
    """The images of a column, of all rows or of those where `rows` bool [n] is true: uint8 [k, *shape].

    Files are read a batch of rows at a time, so that no more than the images themselves is kept.
    """
    import pyarrow

    sizes = []
    for path in files:
        with opened(path, [column]) as file:
            sizes.append(file.metadata.num_rows)
    chosen = np.ones(sum(sizes), bool) if rows is None else rows
    out = np.empty((int(chosen.sum()), *shape), np.uint8)
    done = row = 0
    for path in files:
        with opened(path, [column]) as file:
            try:
                for batch in file.iter_batches(batch_size=4096, columns=[column]):
                    wanted = np.flatnonzero(chosen[row : row + len(batch)])
                    cells = batch.column(0).take(pyarrow.array(wanted)).to_pylist()
                    for i, cell in zip(wanted, cells, strict=True):
                        out[done] = decode(_content(cell), shape, f"{path}: row {row + i}")
                        done += 1
                    row += len(batch)
            except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
                raise broken(path, error) from None
    return out


def _content(cell: Any) -> bytes:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) else b""  # a path alone is never followed


def labels(values: np.ndarray, classes: int, where: object) -> np.ndarray:
    """Labels as int64, or a SelfflError that names one that is none of 0 … classes - 1."""
    if values.dtype.kind not in "iu":
        whole = values.astype(np.int64) if values.dtype.kind == "f" and np.isfinite(values).all() else None
        if whole is None or (whole != values).any():
            first = next((value for value in values.tolist() if not _whole(value)), values[0])
            raise SelfflError(
                f"{where}: has labels that are no whole numbers, such as '{str(first)[:40]}'; write them as 0 to "
                f"{classes - 1}, in the order of the classes"
            )
        values = whole
    values = values.astype(np.int64)
    wrong = np.flatnonzero((values < 0) | (values >= classes))
    if len(wrong):
        raise SelfflError(
            f"{where}: sample {wrong[0]} has the label {values[wrong[0]]}, not one of 0 to {classes - 1}; "
            "bring the file as published"
        )
    return values


def _whole(value: object) -> bool:
    return isinstance(value, int | float) and value == value and abs(value) != float("inf") and int(value) == value


def sources(paths: Sequence[Path], source: Path) -> list[dict[str, str]]:
    """Path from the source on and sha256 of each file that was read, for the manifest."""
    return [{"name": relative(path, source), "sha256": sha256(path)} for path in paths]


def relative(path: Path, source: Path) -> str:
    """`path` from the name of the source on; of a file beside the source, its own name."""
    if path == source or not path.is_relative_to(source):
        return path.name
    return f"{source.resolve().name}/{path.relative_to(source).as_posix()}"


def repeated(images: np.ndarray, part: np.ndarray, train: int, test: int) -> tuple[int, int]:
    """Test images that stand among the training images too, to the pixel, and test images in all.

    `part` [n] says where each is. Images of a single colour say nothing, and are not counted.
    """
    flat = images.reshape(len(images), -1)

    def keys(wanted: int) -> list[int]:
        rows = (flat[row] for row in np.flatnonzero(part == wanted))
        return [hash(row.tobytes()) for row in rows if row.size and row.min() != row.max()]

    known, tests = set(keys(train)), keys(test)
    return sum(key in known for key in tests), len(tests)
