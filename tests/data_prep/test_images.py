"""MNIST and CIFAR-10 from every kind of file, the deals of MNIST, and what is said of bad files."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_files import (
    DIGITS,
    PIXELS,
    RNG,
    SERIES,
    TRAIN,
    WRITER,
    cifar_batches,
    encoded,
    idx,
    load_mnist,
    mnist_files,
    one_line,
    put,
    put_writers,
    qmnist_files,
)

from data_prep.dealing.deal import deal
from data_prep.dealing.pool import Pool
from data_prep.dealing.skew import few_classes
from data_prep.prepare import prepare
from data_prep.reading import images
from data_prep.reading.sources import silent
from data_prep.sets import cifar10, mnist
from selffl_cli.errors import UsageError
from selffl_cli.shards import Shards


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dotted", [True, False])
def test_mnist_from_a_folder(tmp_path: Path, packed: bool, dotted: bool) -> None:
    files = mnist_files()
    names = {name: name.replace("-idx", ".idx") if dotted else name for name in files}
    folder = put(tmp_path, {names[name]: content for name, content in files.items()}, packed)
    (folder / "._train-images-idx3-ubyte.txt").write_bytes(b"no image")
    pool = load_mnist(folder)
    assert pool.arrays["x"].dtype == np.uint8 and pool.arrays["x"].shape == (80, 1, 28, 28)
    assert np.array_equal(pool.arrays["x"][:, 0], PIXELS) and np.array_equal(pool.arrays["y"], DIGITS)
    assert pool.client is None and len(pool.sources) == 4


def test_mnist_from_a_zip_and_through_prepare(tmp_path: Path) -> None:
    path = tmp_path / "mnist.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in mnist_files().items():
            archive.writestr(f"raw/{name}.gz", gzip.compress(content))
            archive.writestr(f"__MACOSX/raw/{name}.gz", b"resource fork")
    folder = prepare("mnist", {"clients": 5, "partition": "shards:classes=3"}, tmp_path / "out", path)
    shards = Shards.open(folder)
    assert shards.manifest.input.dtype == "uint8" and shards.manifest.input.shape == [1, 28, 28]
    x, y = (shards.part("train").arrays[name].numpy() for name in ("x", "y"))
    lookup = {image.tobytes(): digit for image, digit in zip(PIXELS, DIGITS, strict=True)}
    assert all(lookup[image.tobytes()] == digit for image, digit in zip(x, y, strict=True))


@pytest.mark.parametrize("kind", ["npz", "qmnist", "both"])
def test_mnist_by_writer(tmp_path: Path, kind: str) -> None:
    folder = put(tmp_path / "raw", mnist_files())
    if kind != "qmnist":
        put_writers(folder)
    if kind != "npz":
        put(folder, qmnist_files())
    pool = load_mnist(folder, partition="natural")
    assert pool.client is not None and pool.client_names is not None
    names = np.array(pool.client_names)[pool.client]
    assert np.array_equal(names, [f"writer-{writer:04d}" for writer in WRITER])
    groups = np.array(pool.client_columns["group"])[pool.client]
    assert np.array_equal(groups, [f"hsf_{series}" for series in SERIES])
    parts = deal(pool, mnist.Options(partition="natural")).part
    for client in range(len(pool.client_names)):  # every writer, employee or student, has all parts
        assert set(parts[pool.client == client].tolist()) == {0, 1, 2}


def test_mnist_takes_so_many_writers(tmp_path: Path) -> None:
    folder = put_writers(put(tmp_path, mnist_files()))
    chosen = set()
    for seed in range(6):
        pool = load_mnist(folder, partition="natural", clients=3, seed=seed)
        assert pool.client is not None and pool.client_names is not None and len(pool.client_names) == 3
        rows = np.isin([f"writer-{writer:04d}" for writer in WRITER], pool.client_names)
        assert np.array_equal(pool.arrays["x"][:, 0], PIXELS[rows])
        assert np.array_equal(pool.arrays["y"], DIGITS[rows])
        names = np.array(pool.client_names)[pool.client]
        assert np.array_equal(names, [f"writer-{writer:04d}" for writer in WRITER[rows]])
        assert pool.client_columns["group"] == [f"hsf_{4 * (n >= 'writer-0010')}" for n in pool.client_names]
        chosen.add(tuple(pool.client_names))
    assert len(chosen) > 2
    one_line(lambda: load_mnist(folder, partition="natural", clients=99), "clients, not 99")


def test_mnist_by_writer_beside_a_zip(tmp_path: Path) -> None:
    put_writers(tmp_path)
    with zipfile.ZipFile(tmp_path / "mnist.zip", "w") as archive:
        for name, content in mnist_files().items():
            archive.writestr(name, content)
    pool = load_mnist(tmp_path / "mnist.zip", partition="natural")
    assert pool.client_names == sorted({f"writer-{writer:04d}" for writer in WRITER})
    assert [source["name"] for source in pool.sources] == ["mnist.zip", "mnist_writers.npz"]


def test_mnist_says_what_is_wrong(tmp_path: Path) -> None:
    good = mnist_files()
    images_name, labels_name = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
    wrong_label = idx(np.where(np.arange(TRAIN) == 3, 12, DIGITS[:TRAIN]).astype(np.uint8))
    cases: list[tuple[dict[str, bytes | None], tuple[str, ...]]] = [
        ({images_name: good[images_name][:-1]}, (images_name, "announces 47,040", "holds 47,039")),
        ({images_name: good[images_name] + b"x"}, ("holds more",)),
        ({images_name: good[images_name][:10]}, ("cut within its header",)),
        ({images_name: b""}, ("begins with nothing",)),
        ({images_name: b"\x00\x00\x0d\x03" + good[images_name][4:]}, ("00000d03", "not 00000803")),
        ({images_name: good[images_name][:4] + b"\xff" * 12}, ("more than any file of this kind",)),
        ({images_name: idx(PIXELS[:TRAIN, :14])}, ("28x14 pixels", "28x28")),
        ({labels_name: idx(DIGITS[: TRAIN - 1].astype(np.uint8))}, ("60 train images but 59 labels",)),
        ({labels_name: wrong_label}, ("sample 3 has the label 12",)),
        ({"t10k-labels-idx1-ubyte": None}, ("has no t10k-labels-idx1-ubyte", "four idx files")),
    ]
    for number, (changes, said) in enumerate(cases):
        files = {name: content for name, content in {**good, **changes}.items() if content is not None}
        for packed in (True, False):
            folder = put(tmp_path / f"{number}-{packed}", files, packed)
            one_line(lambda folder=folder: load_mnist(folder), *said)  # type: ignore[misc]
    folder = put(tmp_path / "cut", good)
    path = folder / f"{images_name}.gz"
    path.write_bytes(path.read_bytes()[:-9])
    out = tmp_path / "out"
    one_line(lambda: prepare("mnist", {"clients": 2}, out, folder), str(path), "no whole gzip file")
    assert not out.exists() or not any(out.iterdir())
    path.write_bytes(b"\x1f\x8b no gzip at all")
    one_line(lambda: load_mnist(folder), str(path), "no whole gzip file")
    one_line(lambda: load_mnist(path), "is no zip")


def test_mnist_says_what_is_wrong_with_writers(tmp_path: Path) -> None:
    folder = put(tmp_path, mnist_files())
    path = folder / "mnist_writers.npz"
    one_line(lambda: load_mnist(folder, partition="natural"), "mnist_writers.npz", "another --partition")
    path.write_bytes(b"PK no zip")
    one_line(lambda: load_mnist(folder, partition="natural"), str(path), "no whole npz file")
    np.savez(path, train_writer=WRITER[:TRAIN])
    one_line(lambda: load_mnist(folder, partition="natural"), "test_writer is missing", "20 images")
    np.savez(path, train_writer=WRITER, test_writer=WRITER[TRAIN:])
    one_line(lambda: load_mnist(folder, partition="natural"), "train_writer has shape (80,)")
    pickled = np.array([{"a": 1}] * TRAIN, dtype=object)
    np.savez(path, train_writer=pickled, test_writer=WRITER[TRAIN:], allow_pickle=True)
    one_line(lambda: load_mnist(folder, partition="natural"), str(path))
    files = qmnist_files()
    files["qmnist-train-labels-idx2-int"] = files["qmnist-test-labels-idx2-int"]
    put(folder, files)
    one_line(lambda: load_mnist(folder, partition="natural"), "QMNIST's labels are not those")


def test_mnist_as_fedprox_dealt_it(shared_data: Path) -> None:
    """Published: 69 ± 106 samples a client, two digits each, ten samples at least."""
    pool = load_mnist(shared_data / "mnist")
    options = mnist.Options()
    assignment = deal(pool, options)
    sizes = np.bincount(assignment.client)
    assert len(sizes) == 1000 and sizes.min() >= 10
    assert sizes.mean() == 70 and sizes.std() == pytest.approx(106, rel=0.03)
    table = np.zeros((1000, 10), np.int64)
    np.add.at(table, (assignment.client, pool.arrays["y"]), 1)
    assert ((table > 0).sum(axis=1) == 2).all() and table[table > 0].min() >= 5
    small, large = np.sort(np.where(table == 0, 10**6, table), axis=1)[:, :2].T
    assert np.median(large / small) > 1.5  # the two digits are drawn apart, so one prevails


def test_mnist_writers_as_published(shared_data: Path) -> None:
    pool = load_mnist(shared_data / "mnist", partition="natural")
    assert pool.client is not None
    sizes = np.bincount(pool.client)
    assert len(sizes) == 836 and sizes.sum() == 70_000 and np.median(sizes) == 104.5


@pytest.mark.parametrize("spread, minimum", [(0.5, 1), (1.54, 5), (2.5, 1)])
def test_shards_have_the_spread_asked_for(spread: float, minimum: int) -> None:
    labels = np.repeat(np.arange(10), [690, 780, 700, 710, 680, 630, 690, 730, 680, 690])
    client = few_classes(labels, 100, 2, np.random.default_rng(3), spread, minimum)
    sizes = np.bincount(client, minlength=100)
    assert sizes.std() / sizes.mean() == pytest.approx(spread, rel=0.02)
    table = np.zeros((100, 10), np.int64)
    np.add.at(table, (client, labels), 1)
    assert ((table > 0).sum(axis=1) == 2).all() and table[table > 0].min() >= minimum


def test_shards_beyond_what_can_be() -> None:
    labels = np.repeat(np.arange(10), 100)
    with pytest.raises(UsageError, match="spread=9: .* at most; lower spread or min"):
        few_classes(labels, 100, 2, np.random.default_rng(0), 9)
    with pytest.raises(UsageError, match="too few samples of some labels"):
        few_classes(np.repeat([0, 1], [990, 10]), 10, 1, np.random.default_rng(0), 0, 11)


# CIFAR-10


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def load_cifar(source: Path) -> Pool:
    return cifar10.CIFAR10().load(cifar10.Options(), source, silent)


@pytest.mark.parametrize("archived", [True, False])
def test_cifar_from_the_binary_version(tmp_path: Path, archived: bool) -> None:
    files, x, y = cifar_batches()
    if archived:  # in another order than that of the batches
        members = {f"cifar-10-batches-bin/{name}": files[name] for name in reversed(files)}
        source = tar(tmp_path / "cifar-10-binary.tar.gz", {**members, "readme.html": b"hello"})
    else:
        source = put(tmp_path / "cifar-10-batches-bin", files, packed=False)
    pool = load_cifar(source)
    assert np.array_equal(pool.arrays["x"], x) and np.array_equal(pool.arrays["y"], y)
    assert pool.arrays["x"].dtype == np.uint8


def put_jpeg(path: Path, pictures: list[bytes], labels: np.ndarray, **changes: np.ndarray) -> None:
    stream = io.BytesIO()
    offsets = np.concatenate([[0], np.cumsum([len(picture) for picture in pictures])])
    arrays = {"jpeg": np.frombuffer(b"".join(pictures), np.uint8), "offsets": offsets, "labels": labels}
    np.savez(stream, **{**arrays, **changes})
    path.write_bytes(lzma.compress(stream.getvalue()))


def test_cifar_from_jpeg(tmp_path: Path) -> None:
    colours = RNG.integers(0, 256, (6, 3), dtype=np.uint8)  # plain areas come through JPEG nearly as they are
    x = np.broadcast_to(colours[:, :, None, None], (6, 3, 32, 32))
    y = np.array([3, 1, 4, 1, 5, 9], np.uint8)
    pictures = [encoded(image, "JPEG") for image in x]
    put_jpeg(tmp_path / "train.npz.xz", pictures[:4], y[:4])
    put_jpeg(tmp_path / "test.npz.xz", pictures[4:], y[4:])
    pool = load_cifar(tmp_path)
    assert np.array_equal(pool.arrays["y"], y)
    assert np.abs(pool.arrays["x"].astype(int) - x).max() <= 4
    assert "lossy" in pool.notes["pixels"]

    put_jpeg(tmp_path / "test.npz.xz", [pictures[4], encoded(x[5, :, :16], "JPEG")], y[4:])
    one_line(lambda: load_cifar(tmp_path), "test.npz.xz: image 1", "32x16 pixels, not 32x32")
    put_jpeg(tmp_path / "test.npz.xz", [pictures[4], b"no image"], y[4:])
    one_line(lambda: load_cifar(tmp_path), "test.npz.xz: image 1", "no whole PNG or JPEG")
    put_jpeg(tmp_path / "test.npz.xz", [pictures[4], pictures[5][:400]], y[4:])
    one_line(lambda: load_cifar(tmp_path), "test.npz.xz: image 1", "no whole PNG or JPEG")
    put_jpeg(tmp_path / "test.npz.xz", pictures[4:], y[4:], offsets=np.array([0, 10**9, 5]))
    one_line(lambda: load_cifar(tmp_path), "test.npz.xz", "do not fit")
    put_jpeg(tmp_path / "test.npz.xz", pictures[4:], np.array([1, 10]))
    one_line(lambda: load_cifar(tmp_path), "sample 5 has the label 10")
    path = tmp_path / "test.npz.xz"
    path.write_bytes(path.read_bytes()[:-20])
    one_line(lambda: load_cifar(tmp_path), "test.npz.xz", "bring it again")
    path.unlink()
    one_line(lambda: load_cifar(tmp_path), "test.npz.xz", "No such file")


def test_cifar_says_what_is_wrong(tmp_path: Path) -> None:
    files, _, _ = cifar_batches()
    python = {f"cifar-10-batches-py/{name.removesuffix('.bin')}": b"a pickle" for name in files}
    for source in (
        tar(tmp_path / "python.tar.gz", python),
        put(tmp_path / "py", {"data_batch_1": b"p"}, False),
    ):
        one_line(lambda source=source: load_cifar(source), "never opened", "cifar-10-binary.tar.gz")  # type: ignore[misc]
    short = {**files, "data_batch_2.bin": files["data_batch_2.bin"][:-1]}
    one_line(lambda: load_cifar(tar(tmp_path / "short.tar.gz", short)), "data_batch_2.bin", "12,291 bytes")
    few = {name: files[name] for name in list(files)[:3]}
    one_line(lambda: load_cifar(tar(tmp_path / "few.tar.gz", few)), "has no data_batch_4.bin")
    whole = tar(tmp_path / "whole.tar.gz", files)
    whole.write_bytes(whole.read_bytes()[:9000])
    one_line(lambda: load_cifar(whole), str(whole), "bring")
    (tmp_path / "empty").mkdir()
    one_line(lambda: load_cifar(tmp_path / "empty"), "has no data_batch_1.bin")


def test_features_are_means_of_four_pixels() -> None:
    x = RNG.integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    found = images.features(x)
    expected = x.reshape(5, 3, 16, 2, 16, 2).astype(float).mean(axis=(3, 5)) / 255
    assert found.dtype == np.float32 and np.allclose(found, expected.reshape(5, -1), atol=1e-6)
