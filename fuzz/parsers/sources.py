"""Files that data is prepared from, as they are published or brought by a person."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep.reading import idx
from data_prep.reading.archive import members
from data_prep.reading.images import images
from data_prep.reading.parquet import columns
from data_prep.sets import cifar10, mnist
from data_prep.speech.corpus import split_speakers, take_stock
from data_prep.texts import text, tweets

from ..parser import Parser

TWEETS = "".join(f'"{4 * (i % 2)}","{i}","Mon Apr 06","NO_QUERY","user{i % 3}","so good {i}, é"\n' for i in range(40))
GLOVE = "".join(f"word{i} " + " ".join(f"{(i * j) % 7 - 3.5:.4f}" for j in range(1, 6)) + "\n" for i in range(30))
CLIENTS = "file,client,group\n" + "".join(f"yes/s{i}_0.wav,phone {i % 2},g{i % 2}\n" for i in range(6))


def write(name: str, content: bytes | str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in _files().items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _files().items():
            archive.writestr(name, content)
    return stream.getvalue()


def _files() -> dict[str, bytes]:
    return {"a/one.txt": b"1" * 1000, "a/two.csv": b"2,3\n" * 200, "b.bin": bytes(range(256)) * 4}


def unpack(folder: Path) -> object:
    return [(name, len(stream.read(1 << 20))) for name, stream in members(folder / "file")]


def unpacked_tar(folder: Path) -> None:
    (folder / "file").write_bytes(gzip.decompress(_tar()))


def _idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def read_idx(folder: Path) -> object:
    found: list[np.ndarray] = []
    idx.collect(folder, mnist.FILES, lambda stream, name: found.append(idx.parse(stream, *mnist.FILES[name])))
    return found


def make_npz(folder: Path) -> None:
    from PIL import Image

    encoded = []
    for i in range(3):
        stream = io.BytesIO()
        Image.fromarray(np.full((32, 32, 3), 40 * i, np.uint8)).save(stream, "JPEG")
        encoded.append(stream.getvalue())
    packed = io.BytesIO()
    offsets = np.cumsum([0, *map(len, encoded)])
    np.savez(packed, jpeg=np.frombuffer(b"".join(encoded), np.uint8), offsets=offsets, labels=np.arange(3))
    (folder / "train.npz").write_bytes(packed.getvalue())


def read_npz(folder: Path) -> object:
    (folder / "train.npz.xz").write_bytes(lzma.compress((folder / "train.npz").read_bytes(), preset=0))
    return cifar10._read_jpeg(folder / "train.npz.xz")


def make_writers(folder: Path) -> None:
    np.savez(folder / mnist.WRITERS, train_writer=np.arange(3), test_writer=np.arange(2), train_hsf=np.zeros(3, int))


def read_writers(folder: Path) -> object:
    return mnist._writers(folder, mnist.Raw(np.zeros((5, 1, 28, 28), np.uint8), np.zeros(5, np.int64), 3))


def make_parquet(folder: Path) -> None:
    import pyarrow as pa
    from PIL import Image
    from pyarrow import parquet

    stream = io.BytesIO()
    Image.fromarray(np.eye(28, dtype=np.uint8)).save(stream, "PNG")
    rows = [{"bytes": stream.getvalue(), "path": f"{i}.png"} for i in range(4)]
    parquet.write_table(pa.table({"image": rows, "label": [0, 1, 2, 3]}), folder / "train.parquet")


def read_parquet(folder: Path) -> object:
    files = [folder / "train.parquet"]
    return columns(files, ["label"]), images(files, "image", (1, 28, 28))


def _wav() -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16000)
        file.writeframes((1000 * np.sin(np.arange(4000))).astype("<i2").tobytes())
    return stream.getvalue()


def make_corpus(folder: Path) -> None:
    (folder / "yes").mkdir()
    for i in range(6):
        (folder / "yes" / f"s{i}_0.wav").write_bytes(b"")
    (folder / "clients.csv").write_text(CLIENTS)
    (folder / "validation_list.txt").write_text("yes/s1_0.wav\nyes/s2_0.wav\n")


def read_corpus(folder: Path) -> object:
    corpus = take_stock(folder)
    return split_speakers(folder, corpus, "official")


def read_wav(folder: Path) -> object:
    from data_prep.speech.audio import Unusable, decode, one_second

    try:
        return one_second(decode((folder / "file").read_bytes())[0])
    except Unusable as reason:  # how a recording is left out, in a few words
        return str(reason)


PARSERS = [
    Parser(
        "tweets", write("file", TWEETS), "file", lambda folder: tweets.read(folder / "file"), words=('"', "0", "4", ",")
    ),
    Parser(
        "word-vectors",
        write("file", GLOVE),
        "file",
        lambda folder: text.read_embeddings(folder / "file", ["word3", "word9"], 5),
        words=("word3 ", "400 5\n"),
    ),
    Parser(
        "clients.csv", make_corpus, "clients.csv", read_corpus, words=("../../x.wav", "yes/s1_0.wav", "file,client")
    ),
    Parser("speaker-list", make_corpus, "validation_list.txt", read_corpus, words=("yes/s1_1.wav", "../x")),
    Parser("recording", write("file", _wav()), "file", read_wav),
    Parser("zip", write("file", _zip()), "file", unpack, words=("../", "/etc")),
    Parser("tar.gz", write("file", _tar()), "file", unpack),
    Parser("tar", unpacked_tar, "file", unpack, words=("../", "/etc", "0000777\0", "9")),
    Parser(
        "idx",
        write("train-images-idx3-ubyte", _idx(np.zeros((3, 28, 28), np.uint8))),
        "train-images-idx3-ubyte",
        read_idx,
    ),
    Parser("images.npz", make_npz, "train.npz", read_npz, words=("|O", "<i8", "(3,)", "(999999999999,)", "'descr'")),
    Parser("writers.npz", make_writers, mnist.WRITERS, read_writers, words=("|O", "<i8", "(3,)", "(999999999999,)")),
    Parser("images.parquet", make_parquet, "train.parquet", read_parquet),
]
