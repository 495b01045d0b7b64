"""Shards: what was written is read, client by client; damage is named; nothing half-written stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from selffl_cli.errors import SelfflError
from selffl_cli.files.checksums import seal, unseal
from selffl_cli.shards import FORMAT_VERSION, PARTS, ShardData, Shards, remove_leftovers, write_shards


def data(samples: int = 60, clients: int = 5, seed: int = 0, **changes: Any) -> ShardData:
    rng = np.random.default_rng(seed)
    fields: dict[str, Any] = {
        "name": "toy", "partition": "iid", "task": "classification", "classes": ["a", "b", "c"],
        "arrays": {
            "x": rng.normal(size=(samples, 2, 3)).astype(np.float32),
            "y": rng.integers(0, 3, samples),
            "speaker": np.arange(samples, dtype=np.int32),
        },
        "client": rng.integers(0, clients, samples), "part": rng.integers(0, 3, samples),
        "client_names": [f"c{i}" for i in range(clients)],
        "shared": {"embedding": rng.normal(size=(4, 2))}, "client_columns": {"variance": rng.random(clients)},
        "sources": [{"name": "toy.csv", "sha256": "0" * 64}], "arguments": {"clients": clients, "seed": seed},
        "citation": "nobody", "notes": {"skipped": 3},
    }  # fmt: skip
    return ShardData(**{**fields, **changes})


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(1, 80), clients=st.integers(1, 12), seed=st.integers(0, 1000))
def test_reads_what_was_written(
    samples: int, clients: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = data(samples, clients, seed)
    folder = tmp_path_factory.mktemp("shards") / "toy"
    write_shards(folder, written)
    shards = Shards.open(folder)
    assert shards.num_clients == clients
    for index, name in enumerate(PARTS):
        part = shards.part(name)
        assert part.offsets.dtype == np.int64 and part.offsets.shape == (clients + 1,)
        assert set(part.arrays) == {"x", "y", "speaker"}
        for client in range(clients):
            rows = np.flatnonzero((written.client == client) & (written.part == index))
            start, stop = part.offsets[client], part.offsets[client + 1]
            for key, values in written.arrays.items():
                assert np.array_equal(part.arrays[key][start:stop].numpy(), values[rows])
                assert part.arrays[key].numpy().dtype == values.dtype
            assert part.sizes[client] == shards.clients[f"n_{name}"][client].as_py() == len(rows)
        assert getattr(shards.manifest.samples, name) == len(part.arrays["y"])


def test_client_table_and_manifest(tmp_path: Path) -> None:
    written = data()
    write_shards(tmp_path / "toy", written)
    shards = Shards.open(tmp_path / "toy")
    table = shards.clients.to_pydict()
    assert list(table)[:7] == ["client", "name", "group", "n_train", "n_validation", "n_test", "labels"]
    assert table["client"] == list(range(5)) and table["name"][4] == "c4" and table["group"] == [""] * 5
    expected = [np.bincount(written.arrays["y"][written.client == m], minlength=3).tolist() for m in range(5)]
    assert table["labels"] == expected
    assert table["variance"] == written.client_columns["variance"].tolist()
    manifest = shards.manifest
    assert manifest.format_version == FORMAT_VERSION and manifest.notes == {"skipped": 3}
    assert manifest.input.shape == [2, 3] and manifest.input.dtype == "float32"
    assert torch.equal(shards.shared["embedding"], torch.from_numpy(written.shared["embedding"]))


def test_groups_and_no_shared(tmp_path: Path) -> None:
    write_shards(tmp_path / "toy", data(shared={}, client_columns={"group": ["far", "near"] * 2 + ["far"]}))
    shards = Shards.open(tmp_path / "toy")
    assert shards.clients["group"].to_pylist() == ["far", "near", "far", "near", "far"] and shards.shared == {}


def test_a_write_to_a_mapped_array_never_reaches_the_file(tmp_path: Path) -> None:
    write_shards(tmp_path / "toy", data())
    Shards.open(tmp_path / "toy").part("train").arrays["x"].fill_(7)
    assert not (Shards.open(tmp_path / "toy").part("train").arrays["x"] == 7).any()


def test_arrays_are_mapped_not_copied(tmp_path: Path) -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    write_shards(tmp_path / "mapped", data())
    part = Shards.open(tmp_path / "mapped").part("train")
    assert str(tmp_path / "mapped" / "train.safetensors") in Path("/proc/self/maps").read_text()
    assert len(part.arrays["y"]) > 0


def hash_of(folder: Path, **changes: Any) -> str:
    write_shards(folder, data(**changes))
    return Shards.open(folder).hash


def test_hash_depends_on_what_changes_numbers_alone(tmp_path: Path) -> None:
    reference = hash_of(tmp_path / "a")
    same: list[dict[str, Any]] = [
        {}, {"arguments": {"other": 1}}, {"notes": {}}, {"citation": "x"}, {"sources": []}, {"name": "n"},
    ]  # fmt: skip
    for i, changes in enumerate(same):
        assert hash_of(tmp_path / f"same{i}", **changes) == reference, changes
    base = data()
    x, client, part = base.arrays["x"].copy(), base.client.copy(), base.part.copy()
    x[3, 0, 0] += 1e-6
    client[3] = (client[3] + 1) % 5
    part[3] = (part[3] + 1) % 3
    other: list[dict[str, Any]] = [
        {"arrays": {**base.arrays, "x": x}}, {"client": client}, {"part": part}, {"shared": {}},
        {"client_columns": {}}, {"client_columns": {**base.client_columns, "group": list("abcde")}},
        {"classes": ["a", "b", "d"]},
    ]  # fmt: skip
    hashes = [hash_of(tmp_path / f"other{i}", **changes) for i, changes in enumerate(other)]
    assert len({reference, *hashes}) == len(other) + 1


def test_a_picture_beside_them_changes_nothing(tmp_path: Path) -> None:
    reference = hash_of(tmp_path / "toy")
    (tmp_path / "toy" / "summary.png").write_bytes(b"picture")
    assert Shards.open(tmp_path / "toy").hash == reference


@pytest.mark.parametrize("name", ["train.safetensors", "test.safetensors", "shared.safetensors", "clients.parquet"])
def test_a_flipped_byte_is_named(tmp_path: Path, name: str) -> None:
    write_shards(tmp_path / "toy", data())
    path = tmp_path / "toy" / name
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(SelfflError, match=f"{name}: is damaged .*--force"):
        Shards.open(tmp_path / "toy")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path / "toy", data())
    (tmp_path / "toy" / "test.safetensors").unlink()
    with pytest.raises(SelfflError, match=r"test\.safetensors: is missing; prepare it again with --force"):
        Shards.open(tmp_path / "toy", verify=False)


def change_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(seal({**unseal(json.loads(path.read_text())), **changes})))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"format_version": 3, "surprise": 1}, "shards of format 3, this selffl reads formats 1 and 2; .*--force"),
        ({"surprise": 1}, "surprise: extra inputs"),
        ({"clients": 0}, "clients: "),
        ({"files": {}}, "does not list the files"),
        ({"files": {"../../etc/passwd": "0"}}, "does not list the files"),
    ],
)
def test_a_manifest_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    write_shards(tmp_path / "toy", data())
    change_manifest(tmp_path / "toy", **changes)
    with pytest.raises(SelfflError, match=words) as caught:
        Shards.open(tmp_path / "toy")
    assert "\n" not in str(caught.value)


def test_a_listed_path_outside_the_folder_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "toy", data())
    (tmp_path / "secret").write_text("x")
    files = json.loads((tmp_path / "toy" / "manifest.json").read_text())["files"]
    change_manifest(tmp_path / "toy", files={**files, "../secret": "0"})
    with pytest.raises(SelfflError, match="does not list the files"):
        Shards.open(tmp_path / "toy")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", '{"a": 1}', "\x00", "[" * 100_000])
def test_no_manifest_at_all(tmp_path: Path, content: str) -> None:
    with pytest.raises(SelfflError, match="no shards here"):
        Shards.open(tmp_path / "nowhere")
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(SelfflError, match="not a manifest of shards"):
        Shards.open(tmp_path)


def test_a_failure_leaves_nothing_and_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = hash_of(tmp_path / "old")

    def fails(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", fails)
    for folder in ("new", "old"):
        with pytest.raises(OSError, match="No space"):
            write_shards(tmp_path / folder, data(seed=1), force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]
    assert Shards.open(tmp_path / "old").hash == old


def test_force_replaces_and_without_it_the_first_stays(tmp_path: Path) -> None:
    first = hash_of(tmp_path / "toy")
    write_shards(tmp_path / "toy", data(seed=1))  # as a process that lost the race
    assert Shards.open(tmp_path / "toy").hash == first
    mapped = Shards.open(tmp_path / "toy").part("train").arrays["x"]
    kept = mapped.clone()
    write_shards(tmp_path / "toy", data(seed=1), force=True)
    assert Shards.open(tmp_path / "toy").hash != first
    assert torch.equal(mapped, kept)  # who reads the old one still can
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_be_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, rename = hash_of(tmp_path / "toy"), Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.name.endswith(".tmp") and not path.name.endswith(".old.tmp"):
            raise OSError(5, "Input/output error", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output"):
        write_shards(tmp_path / "toy", data(seed=1), force=True)
    assert Shards.open(tmp_path / "toy").hash == reference
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_folder_that_is_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(SelfflError, match="holds no shards; move it away"):
            write_shards(tmp_path / "toy", data(), force)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["thesis.tex"]


def test_leftovers_of_killed_processes_go(tmp_path: Path) -> None:
    own, other = tmp_path / ".toy.1.tmp", tmp_path / ".else.1.tmp"
    for folder in (own, other):
        folder.mkdir()
    remove_leftovers(tmp_path / "toy")
    assert not own.exists() and other.exists()


def test_the_format_is_read_without_torch() -> None:
    script = "import sys, selffl_cli.shards; sys.exit('torch' in sys.modules or 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
