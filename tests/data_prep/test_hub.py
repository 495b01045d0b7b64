"""Image sets in the Parquet layout of the hub: fetched, cached, or as files at hand; and bad ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from image_files import (
    DIGITS,
    PIXELS,
    RNG,
    TEST,
    TRAIN,
    WRITER,
    cifar_batches,
    encoded,
    load_mnist,
    one_line,
    put,
    qmnist_files,
)

from data_prep.dealing.deal import deal
from data_prep.dealing.pool import Pool
from data_prep.prepare import prepare
from data_prep.reading import hub
from data_prep.reading.sources import silent
from data_prep.sets import cifar10, femnist
from selffl_cli.shards import Shards


def hub_set(x: np.ndarray, columns: dict[str, Any], image: str) -> datasets.Dataset:
    pictures = [{"bytes": encoded(one, "PNG"), "path": f"{i}.png"} for i, one in enumerate(x)]
    return datasets.Dataset.from_dict({image: pictures, **columns}).cast_column(image, datasets.Image())


def as_repository(folder: Path, **splits: datasets.Dataset) -> Path:
    """A local folder that `datasets` loads as it loads a set of the hub."""
    folder.mkdir(parents=True)
    for name, split in splits.items():
        split.to_parquet(folder / f"{name}-00000-of-00001.parquet")
    return folder


WRITERS = np.array(["f0000_14", "f0001_41", "f0002_10", "f0003_42", "f0004_09"])


def femnist_set() -> tuple[datasets.Dataset, np.ndarray, np.ndarray, np.ndarray]:
    writer = np.sort(RNG.integers(0, 5, 90))
    y = RNG.integers(0, 62, 90)
    columns = {
        "writer_id": WRITERS[writer].tolist(),
        "hsf_id": (writer % 3).tolist(),
        "character": y.tolist(),
    }
    pixels = PIXELS[np.arange(90) % 80].copy()
    pixels[:, 0, 0] = np.arange(90)  # no two images alike
    made = hub_set(pixels[:, None], columns, "image")
    return made.cast_column("character", datasets.ClassLabel(names=femnist.CLASSES)), writer, y, pixels


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFFL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    return tmp_path / "cache"


def test_femnist_through_the_hub(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, writer, y, pixels = femnist_set()
    repository = as_repository(tmp_path / "femnist", train=made)
    monkeypatch.setitem(femnist.NAMED_SOURCES, "hub", hub.source(str(repository), "it"))
    folder = prepare("femnist", {}, tmp_path / "out")  # the hub is the default
    shards = Shards.open(folder)
    assert shards.clients["name"].to_pylist() == WRITERS.tolist()
    assert shards.clients["group"].to_pylist() == ["hsf_0", "hsf_1", "hsf_2", "hsf_0", "hsf_1"]
    parts = [shards.part(part) for part in ("train", "validation", "test")]
    for client in range(5):
        rows = np.flatnonzero(writer == client)
        expected = sorted((pixels[row].tobytes(), int(y[row])) for row in rows)
        found = [
            (image.tobytes(), int(label))
            for part in parts
            for own in [slice(part.offsets[client], part.offsets[client + 1])]
            for image, label in zip(part.arrays["x"][own].numpy(), part.arrays["y"][own].numpy(), strict=True)
        ]
        assert sorted(found) == expected
    shutil.rmtree(repository)  # the cache is enough from now on
    assert prepare("femnist", {}, tmp_path / "again").name == folder.name


def test_femnist_takes_so_many_writers(tmp_path: Path) -> None:
    made, writer, y, pixels = femnist_set()
    source = tmp_path / "femnist"
    source.mkdir()
    for number, rows in enumerate((range(40), range(40, 90))):  # one set in two files
        made.select(rows).to_parquet(source / f"train-{number:05}-of-00002.parquet")
    chosen = set()
    for seed in range(6):
        pool = femnist.FEMNIST().load(femnist.Options(clients=2, seed=seed), source, silent)
        assert pool.client is not None and pool.client_names is not None
        rows = np.flatnonzero(np.isin(WRITERS[writer], pool.client_names))
        assert np.array_equal(np.array(pool.client_names)[pool.client], WRITERS[writer][rows])
        assert np.array_equal(pool.arrays["y"], y[rows])
        assert np.array_equal(pool.arrays["x"][:, 0], pixels[rows])
        assert deal(pool, femnist.Options(clients=2)).num_clients == 2
        chosen.add(tuple(pool.client_names))
    assert len(chosen) > 2
    one_line(lambda: femnist.FEMNIST().load(femnist.Options(clients=6), source, silent), "5 clients, not 6")
    dealt = femnist.FEMNIST().load(femnist.Options(clients=9, partition="iid"), source, silent)
    assert deal(dealt, femnist.Options(clients=9, partition="iid")).num_clients == 9


def test_mnist_and_cifar_through_the_hub(tmp_path: Path, cache: Path) -> None:
    digits = DIGITS.tolist()
    train, test = (
        hub_set(PIXELS[part][:, None], {"label": digits[part]}, "image")
        for part in (slice(None, TRAIN), slice(TRAIN, None))
    )
    repository = as_repository(tmp_path / "mnist", test=test, train=train)
    folder = hub.fetch(str(repository), "it")
    pool = load_mnist(folder)
    assert np.array_equal(pool.arrays["x"][:, 0], PIXELS) and np.array_equal(pool.arrays["y"], DIGITS)
    assert pool.notes == {"official_training_images": TRAIN, "official_test_images": TEST}
    one_line(lambda: load_mnist(folder, partition="natural"), "mnist_writers.npz")
    put(folder, qmnist_files())
    assert load_mnist(folder, partition="natural").client_names == sorted({f"writer-{w:04d}" for w in WRITER})

    _, x, y = cifar_batches()
    pixels = PIXELS[np.arange(90) % 80].copy()
    pixels[:, 0, 0] = np.arange(90)  # no two images alike
    made = hub_set(x, {"label": y.tolist()}, "img")
    pool = cifar10.CIFAR10().load(
        cifar10.Options(), hub.fetch(str(as_repository(tmp_path / "cifar", train=made)), "it"), silent
    )
    assert np.array_equal(pool.arrays["x"], x) and np.array_equal(pool.arrays["y"], y)
    assert not list(cache.rglob("*.tmp"))


def test_the_hub_that_cannot_be_reached(tmp_path: Path, cache: Path) -> None:
    one_line(lambda: hub.fetch(str(tmp_path / "nothing"), "the files by --source FOLDER"), "bring the files")
    assert not cache.exists() or not any(path.is_file() for path in cache.rglob("*"))


def test_parquet_says_what_is_wrong(tmp_path: Path) -> None:
    made, *_ = femnist_set()

    def load(name: str, **splits: datasets.Dataset) -> Callable[[], Pool]:
        return lambda: femnist.FEMNIST().load(femnist.Options(), as_repository(tmp_path / name, **splits), silent)

    one_line(load("empty"), "has no Parquet files")
    one_line(load("column", train=made.remove_columns("hsf_id")), "no column 'hsf_id'", "writer_id")
    columns = {"writer_id": ["f0"] * 3, "hsf_id": [0] * 3, "character": [0] * 3}
    large = hub_set(np.zeros((3, 1, 32, 32), np.uint8), columns, "image")
    one_line(load("size", train=large), "row 0", "32x32 pixels, not 28x28")
    cells = [{"bytes": None, "path": "/etc/hosts"}] * 5  # never followed
    bad = made.select(range(5)).remove_columns("image").add_column("image", cells)
    one_line(load("path", train=bad), "row 0", "no whole PNG or JPEG")
    cut = as_repository(tmp_path / "cut", train=made)
    path = next(cut.iterdir())
    path.write_bytes(path.read_bytes()[:-30])
    one_line(lambda: femnist.FEMNIST().load(femnist.Options(), cut, silent), str(path), "no whole Parquet file")
