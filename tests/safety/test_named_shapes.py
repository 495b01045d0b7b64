"""Files that vouch for a shape, or for figures, that they do not have: one line says so before any hour is spent."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fuzz.parsers import PARSERS, runs
from fuzz.parsers import shards as shard_parser
from selffl_cli.errors import SelfflError
from selffl_cli.report.collect import collect

RUN = Path(runs.RUN)


def refused(read: Callable[[Path], object], folder: Path) -> str:
    with pytest.raises(SelfflError) as error:
        read(folder)
    said = str(error.value)
    assert said.isprintable() and len(said) < 1000
    return said


def with_column(path: Path, name: str, values: list[Any] | None) -> None:
    """A column of a Parquet file replaced, or taken away."""
    table = parquet.read_table(path)
    place = table.column_names.index(name)
    table = table.remove_column(place)
    parquet.write_table(table if values is None else table.add_column(place, name, pa.array(values)), path)


CLIENTS = [
    ("n_train", ["x"] * 5), ("n_train", None), ("n_test", [1.5] * 5), ("client", [0] * 5), ("n_test", [10**12] * 5),
    ("name", [[1]] * 5), ("n_train", [-1] * 5), ("name", [None] * 5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values"), CLIENTS, ids=str)
def test_the_client_table_of_shards_is_looked_at_when_they_are_opened(
    name: str, values: list[Any] | None, tmp_path: Path
) -> None:
    shard_parser.make(tmp_path)
    with_column(tmp_path / "shards" / "clients.parquet", name, values)
    shard_parser.mend(tmp_path)
    assert "clients.parquet" in refused(shard_parser.read, tmp_path)


@pytest.mark.parametrize(
    ("name", "values"), [("n_test", ["x"] * 5), ("n_test", None), ("name", [1] * 5), ("client", [None] * 5)], ids=str
)
def test_the_client_table_of_a_run(name: str, values: list[Any] | None, tmp_path: Path) -> None:
    runs.make(tmp_path)
    with_column(tmp_path / RUN / "clients.parquet", name, values)
    runs.mend(tmp_path)
    assert "clients.parquet" in refused(runs.report, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("path = ", "path = 5\nwas = "),
        ("path = ", "path = [1]\nwas = "),
        ("learning_rate = ", "learning_rate = { a = 1 }\nwas = "),
        ("rounds = ", 'rounds = "two"\nwas = '),
        ("hash = ", "hash = 5\nwas = "),
    ],
)
@pytest.mark.parametrize("read", [runs.report, runs.score], ids=lambda read: read.__name__)
def test_a_record_of_another_shape(read: Callable[[Path], object], old: str, new: str, tmp_path: Path) -> None:
    runs.make(tmp_path)
    path = tmp_path / RUN / "run.toml"
    text = path.read_text()
    assert f"\n{old}" in text
    path.write_text(text.replace(f"\n{old}", f"\n{new}", 1))
    runs.mend(tmp_path)
    try:
        read(tmp_path)  # a report needs no path, and lists what it does not know as another run
    except SelfflError as error:
        assert str(error).isprintable()


def test_a_record_of_periods_over_shards_without(tmp_path: Path) -> None:
    runs.make(tmp_path)
    path = tmp_path / RUN / "run.toml"
    path.write_text(path.read_text().replace("\nperiods = false", "\nperiods = true"))
    runs.mend(tmp_path)
    assert "not dealt into periods" in refused(runs.score, tmp_path)


@pytest.mark.parametrize("header", [b"[]", b'{"a": 5}', b'{"global/x": {"dtype": "F99"}}', b"\xff\xff"])
@pytest.mark.parametrize("read", [runs.score, runs.start], ids=lambda read: read.__name__)
def test_the_header_of_models(read: Callable[[Path], object], header: bytes, tmp_path: Path) -> None:
    runs.make(tmp_path)
    (tmp_path / RUN / "models.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    runs.mend(tmp_path)
    assert "models.safetensors" in refused(read, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x09\x00"])
def test_members_of_an_npz_that_are_no_arrays(content: bytes, tmp_path: Path) -> None:
    from data_prep.sets import cifar10, mnist

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("jpeg", "offsets", "labels", "train_writer", "test_writer"):
            archive.writestr(name, content)
            archive.writestr(f"{name}.npy", content)
    (tmp_path / "train.npz").write_bytes(packed.getvalue())
    (tmp_path / mnist.WRITERS).write_bytes(packed.getvalue())
    refused(lambda folder: cifar10._read_jpeg(folder / "train.npz"), tmp_path)
    raw = mnist.Raw(np.zeros((5, 1, 28, 28), np.uint8), np.zeros(5, np.int64), 3)
    refused(lambda folder: mnist._writers(folder, raw), tmp_path)


Change = Callable[[list[dict[str, Any]], dict[str, Any]], None]


def reseal(folder: Path, change: Change) -> None:
    """A run in `folder` whose lines and result were changed, with checksums that fit."""
    runs.make(folder)
    metrics, result = folder / RUN / "metrics.jsonl", folder / RUN / "result.json"
    lines, content = [json.loads(line) for line in metrics.read_text().splitlines()], json.loads(result.read_text())
    change(lines, content)
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result.write_text(json.dumps(content))
    runs.mend(folder)


def changed(folder: Path, change: Change) -> list[str]:
    """What the report notes of a run whose lines and result were changed and sealed again."""
    reseal(folder, change)
    try:
        found = collect(runs.EXPERIMENT, folder / "runs", include=True)
    except SelfflError as error:  # the only run was left out
        return [str(error)]
    assert not found.runs
    return found.notes


def accuracy(lines: list[dict[str, Any]], result: dict[str, Any]) -> None:
    for figures in (lines[-1]["eval"], result["final"]):
        figures["test"]["global"]["accuracy"] = 5.0


def falling(lines: list[dict[str, Any]], result: dict[str, Any]) -> None:
    lines[-1]["gradients"] = 1


def missing(lines: list[dict[str, Any]], result: dict[str, Any]) -> None:
    lines.pop()


def contradicting(lines: list[dict[str, Any]], result: dict[str, Any]) -> None:
    result["final"]["test"]["global"]["accuracy"] = 0.123


def short(lines: list[dict[str, Any]], result: dict[str, Any]) -> None:
    lines.pop()
    result |= {"round": 1, "final": lines[-1]["eval"]}


def twice(lines: list[dict[str, Any]], result: dict[str, Any]) -> None:
    lines.append(lines[-1])


@pytest.mark.parametrize("change", [accuracy, falling, missing, contradicting, short, twice], ids=lambda f: f.__name__)
def test_impossible_figures_are_said_and_left_out(change: Callable[..., None], tmp_path: Path) -> None:
    assert any("impossible" in note or "no finished run" in note for note in changed(tmp_path, change))


def without(lines: list[dict[str, Any]], result: dict[str, Any]) -> None:
    lines[-1]["eval"] = result["final"] = {"test": {"global": {}, "personal": {}}}


def test_metrics_without_figures(tmp_path: Path) -> None:
    reseal(tmp_path, without)
    try:
        runs.report(tmp_path)
    except SelfflError as error:
        assert str(error).isprintable()


def test_every_parser_is_attacked_in_the_fuzzer() -> None:
    assert {"run-record", "run-metrics", "run-models", "run-clients", "shards-clients"} <= PARSERS.keys()
