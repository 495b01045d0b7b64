"""A source is one copy of one set: candidates are listed, sets never joined, links stay inside, types are no guess."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from image_files import cifar_batches, load_mnist, mnist_files, one_line, put
from PIL import Image
from pyarrow import parquet

from data_prep.prepare import prepare
from data_prep.reading import images
from data_prep.reading.parquet import parquet_files, part_of
from data_prep.reading.sources import digest_source, silent
from data_prep.reading.tree import files
from data_prep.sets import cifar10
from selffl_cli.shards import Shards

RNG = np.random.default_rng(5)


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels, mode).save(stream, "PNG")
    return stream.getvalue()


def table(path: Path, rows: int = 20, labels: Any = None, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, len(path.as_posix())]).integers(0, 256, (rows, 28, 28), dtype=np.uint8)
    cells = [{"bytes": png(image), "path": None} for image in pixels]
    y = np.arange(rows) % 10 if labels is None else labels
    parquet.write_table(pyarrow.table({"image": cells, "label": y}), path)
    return path


def load(source: Path) -> Any:
    return load_mnist(source, partition="iid", clients=2)


def test_two_sets_of_the_same_file_names_are_refused(tmp_path: Path) -> None:
    for name in ("FashionMNIST", "MNIST"):
        put(tmp_path / name / "raw", mnist_files(), packed=False)
    one_line(lambda: load(tmp_path), "FashionMNIST/raw", f"--source {tmp_path}/MNIST/raw")
    assert len(load(tmp_path / "MNIST")) == len(load(tmp_path / "FashionMNIST"))


def test_packed_and_unpacked_files_of_one_folder_are_one_set(tmp_path: Path) -> None:
    put(tmp_path, mnist_files())
    packed = load(tmp_path)
    put(tmp_path, mnist_files(), packed=False)
    assert np.array_equal(load(tmp_path).arrays["x"], packed.arrays["x"])


def test_files_that_are_unpacked_already_under_their_packed_name(tmp_path: Path) -> None:
    put(tmp_path / "a", mnist_files())
    (tmp_path / "b").mkdir()
    for name, content in mnist_files().items():
        (tmp_path / "b" / f"{name}.gz").write_bytes(content)
    assert np.array_equal(load(tmp_path / "a").arrays["x"], load(tmp_path / "b").arrays["x"])


def test_files_of_one_set_in_two_folders(tmp_path: Path) -> None:
    for name, content in mnist_files().items():
        put(tmp_path / name.split("-")[0], {name: content})
    assert [source["name"].count("/") for source in load(tmp_path).sources] == [2] * 4


def test_two_copies_of_cifar(tmp_path: Path) -> None:
    put(tmp_path / "old", cifar_batches()[0], packed=False)
    put(tmp_path / "new", cifar_batches()[0], packed=False)
    one_line(lambda: cifar10.CIFAR10().load(cifar10.Options(), tmp_path, silent), "old", "new", "--source")
    assert len(cifar10.CIFAR10().load(cifar10.Options(), tmp_path / "old", silent)) == 24


@pytest.mark.parametrize(
    "names",
    [
        ("mnist/train-0.parquet", "fashion_mnist/train-0.parquet"),
        ("aaa/mnist/train-00000-of-00001.parquet", "bbb/mnist/train-00000-of-00001.parquet"),
        ("train.parquet", "fashion-train.parquet"),
        ("train-00000-of-00001-aaaaaaaaaaaa.parquet", "train-00000-of-00001-bbbbbbbbbbbb.parquet"),
        ("train-00000-of-00001.parquet", "train/0000.parquet"),
        ("train-00000-of-00002.parquet", "test-00000-of-00001.parquet"),
        ("train.parquet", "0000.parquet"),
    ],
)
def test_two_sets_or_revisions_are_never_joined(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        table(tmp_path / name)
    one_line(lambda: load(tmp_path), str(tmp_path))


@pytest.mark.parametrize(
    ("names", "training"),
    [
        (("default/train/0000.parquet", "default/test/0000.parquet"), 20),
        (("mnist.parquet",), 20),
        (("train-0.parquet", "test-0.parquet"), 20),
        (("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"), 40),
        (("train-00000-of-00001-0123456789abcdef.parquet", "test-00000-of-00001-fedcba9876543210.parquet"), 20),
        (("mnist/partial-train/0000.parquet", "mnist/partial-train/0001.parquet", "mnist/test/0000.parquet"), 40),
        (("mnist_train.parquet", "mnist_test.parquet"), 20),
    ],
)
def test_layouts_of_one_set(tmp_path: Path, names: tuple[str, ...], training: int) -> None:
    for seed, name in enumerate(names):
        table(tmp_path / name, seed=seed)
    (tmp_path / "._train-0.parquet").write_bytes(b"mac")
    pool = load(tmp_path)
    assert pool.notes["official_training_images"] == training and len(pool) == 20 * len(names)
    assert {source["name"] for source in pool.sources} == {f"{tmp_path.name}/{name}" for name in names}
    assert part_of(parquet_files(tmp_path, "mnist")[0], tmp_path) in ("train", "")


def test_labels_of_several_types(tmp_path: Path) -> None:
    table(tmp_path / "train-0.parquet", labels=pyarrow.array(np.arange(20) % 10, pyarrow.int32()))
    table(tmp_path / "test-0.parquet", labels=np.arange(20) % 10.0, seed=1)
    assert load(tmp_path).arrays["y"].tolist() == [*range(10)] * 4


@pytest.mark.parametrize(
    ("labels", "word"),
    [([f"digit{n % 10}" for n in range(20)], "'digit0'"), (np.arange(20) / 2, "'0.5'"), (np.full(20, np.nan), "'nan'"),
     (np.arange(20) % 10 + 1, "label 10")],
)  # fmt: skip
def test_labels_that_are_none(tmp_path: Path, labels: Any, word: str) -> None:
    table(tmp_path / "train-0.parquet", labels=labels)
    one_line(lambda: load(tmp_path), word)


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    (tmp_path / "train-0.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    one_line(lambda: load(tmp_path), "git lfs pull")


def test_sixteen_bits_and_transparency_are_never_cut(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 28 * 28).astype(np.uint16).reshape(28, 28)
    read = images.decode(png(ramp), (1, 28, 28), "x")[0]
    assert np.abs(read.astype(float) - ramp / 257.0).max() <= 0.51
    colours = RNG.integers(0, 256, (4, 4, 4), dtype=np.uint8)
    one_line(lambda: images.decode(png(colours), (3, 4, 4), "x"), "transparent")
    colours[:, :, 3] = 255
    assert np.array_equal(images.decode(png(colours), (3, 4, 4), "x"), colours[:, :, :3].transpose(2, 0, 1))


def test_test_images_that_were_trained_on(tmp_path: Path) -> None:
    table(tmp_path / "train-0.parquet", 200)
    (tmp_path / "test-0.parquet").write_bytes((tmp_path / "train-0.parquet").read_bytes())
    one_line(
        lambda: prepare("mnist", {"partition": "iid", "clients": 2}, tmp_path / "out", tmp_path),
        "test images are among the training images",
    )
    assert not (tmp_path / "out").exists()
    x = np.stack([np.full((1, 2, 2), n, np.uint8) for n in (1, 1, 1)])
    assert images.repeated(x, np.array([0, 2, 2]), 0, 2) == (0, 0)  # of one colour: nothing to tell apart
    x[:, 0, 0, 0] = (9, 9, 8)
    assert images.repeated(x, np.array([0, 2, 2]), 0, 2) == (1, 2)


def test_links_are_followed_inside_and_refused_outside(tmp_path: Path) -> None:
    inside = put(tmp_path / "source" / "kept" / "raw", mnist_files())
    (tmp_path / "source" / "round").symlink_to(tmp_path / "source")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_text("a")
    before = digest_source(tmp_path / "source")
    assert len(files(tmp_path / "source")) == 4
    whole = put(tmp_path / "linked" / "store" / "raw", mnist_files())
    (whole.parent.parent / "MNIST").symlink_to(whole.parent)
    assert len(files(tmp_path / "linked")) == 8  # seen twice, and so said to be there twice
    (inside / "more").symlink_to(tmp_path / "elsewhere")
    one_line(lambda: files(tmp_path / "source"), "leads out of the source")
    one_line(lambda: digest_source(tmp_path / "source"), "leads out of the source")
    (inside / "more").unlink()
    assert digest_source(tmp_path / "source") == before


def test_the_snapshot_of_a_hub_is_read_through_its_links(tmp_path: Path) -> None:
    put(tmp_path / "set" / "blobs", mnist_files())
    snapshot = tmp_path / "set" / "snapshots" / "0123abcd" / "raw"
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted((tmp_path / "set" / "blobs").iterdir())):
        blob = path.rename(path.with_name(f"{number:040x}"))
        (snapshot / path.name).symlink_to(Path("../../../blobs") / blob.name)
    assert len(files(snapshot.parent)) == len(files(snapshot)) == 4
    assert digest_source(snapshot.parent)
    (tmp_path / "secret").write_text("a")
    (snapshot / "more").symlink_to(tmp_path / "secret")
    one_line(lambda: files(snapshot.parent), "leads out of the source")
    (snapshot / "more").unlink()
    (tmp_path / "set" / "snapshots").rename(tmp_path / "set" / "other")  # beside blobs, but no snapshot
    one_line(lambda: files(tmp_path / "set" / "other" / "0123abcd"), "leads out of the source")


def test_the_manifest_names_what_was_read(tmp_path: Path) -> None:
    put(tmp_path / "in" / "raw", mnist_files())
    (tmp_path / "in" / "notes.txt").write_text("not read")
    made = Shards.open(prepare("mnist", {"partition": "iid", "clients": 2}, tmp_path / "out", tmp_path / "in"))
    assert sorted(source.name for source in made.manifest.sources) == sorted(f"in/raw/{n}.gz" for n in mnist_files())
