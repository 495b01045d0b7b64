"""Inputs that thousands of changed copies led to: each was a traceback once."""

from __future__ import annotations

import io
import json
import lzma
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.reading import images
from data_prep.sets import cifar10, mnist
from fuzz.mutate import bounded_memory
from fuzz.parsers import PARSERS
from selffl_cli.errors import SelfflError
from selffl_cli.files.checksums import seal


def altered(name: str, folder: Path, **changes: str) -> Any:
    """What the parser makes of its good input after these replacements, with checksums that fit."""
    parser = PARSERS[name]
    folder.mkdir(exist_ok=True)
    parser.make(folder)
    text = (folder / parser.file).read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / parser.file).write_text(text)
    parser.mend(folder)
    return parser.read(folder)


def test_a_record_of_a_model_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(SelfflError, match="unknown model 'softmaxx'"):
        altered("run-record-scored", tmp_path, softmax="softmaxx")


def test_a_record_whose_partition_is_a_number(tmp_path: Path) -> None:
    altered("run-record", tmp_path, **{"[data.arguments]\n": "[data.arguments]\npartition = 0.5\n"})


def test_a_line_with_clients_and_without_steps(tmp_path: Path) -> None:
    altered("run-metrics", tmp_path, **{'"steps"': '"stops"'})


@pytest.mark.parametrize("claimed", [2**62, -1])
def test_a_checkpoint_that_claims_more_metrics_than_there_are(claimed: int, tmp_path: Path) -> None:
    parser = PARSERS["checkpoint"]
    parser.make(tmp_path)
    path = tmp_path / parser.file
    content = {key: value for key, value in json.loads(path.read_text()).items() if key != "sha256"}
    path.write_text(json.dumps(seal({**content, "metrics_bytes": claimed})))
    with bounded_memory():
        assert parser.read(tmp_path) is None  # passed over


def npz(names: tuple[str, ...]) -> bytes:
    """An archive of arrays whose entries name a way of compressing that nobody knows."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.zeros(5, np.uint8) for name in names})
    content = bytearray(buffer.getvalue())
    for mark, place in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        at = content.find(mark)
        while at >= 0:
            struct.pack_into("<H", content, at + place, 77)
            at = content.find(mark, at + 4)
    return bytes(content)


def test_archives_of_arrays_that_cannot_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "train.npz.xz").write_bytes(lzma.compress(npz(("jpeg", "offsets", "labels"))))
    with pytest.raises(SelfflError, match="no whole npz file"):
        cifar10._read_jpeg(tmp_path / "train.npz.xz")
    (tmp_path / mnist.WRITERS).write_bytes(npz(("train_writer", "test_writer")))
    with pytest.raises(SelfflError, match="no whole npz file"):
        mnist._writers(tmp_path, mnist.Raw(np.zeros((5, 1, 28, 28), np.uint8), np.zeros(5, np.int64), 3))


def test_a_table_of_images_whose_paths_are_no_text(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    broken = pa.array([b"\x8b\x8b"], pa.binary()).view(pa.string())
    cells = pa.StructArray.from_arrays([pa.array([b"x"], pa.binary()), broken], ["bytes", "path"])
    parquet.write_table(pa.table({"image": cells}), tmp_path / "train.parquet")
    with pytest.raises(SelfflError, match="no whole Parquet file"):
        images.images([tmp_path / "train.parquet"], "image", (1, 28, 28))
