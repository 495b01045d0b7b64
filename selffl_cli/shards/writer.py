"""A shard folder written whole or not at all: beside its place, made durable, renamed."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SelfflError
from ..files.checksums import seal
from .manifest import FORMAT_VERSION, PARTS, PERIODS_VERSION, Manifest, sha256

if TYPE_CHECKING:
    import pyarrow

HASHED = 100_000  # clients whose values are JSON at once


@dataclass
class ShardData:
    """What `write_shards` writes. Every array in `arrays` has one row a sample; with `periods` above 1 one of them is
    `period`, from 0.

    `client` [n] is the client index and `part` [n] the part (0 train, 1 validation, 2 test) of each sample.
    `client_columns` are further columns of clients.parquet; one called `group` replaces the empty groups.
    """

    name: str
    partition: str
    task: str
    arrays: dict[str, np.ndarray]
    client: np.ndarray
    part: np.ndarray
    client_names: list[str]
    classes: list[str] = field(default_factory=list)
    periods: int = 1
    shared: dict[str, np.ndarray] = field(default_factory=dict)
    client_columns: Mapping[str, Any] = field(default_factory=dict)
    sources: list[dict[str, str]] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    citation: str = ""
    notes: dict[str, Any] = field(default_factory=dict)


def write_shards(folder: Path, data: ShardData, force: bool = False) -> None:
    """Write `data` as the folder `folder`, whole or not at all.

    When another process made the folder in the meantime, its folder stays, unless `force`.
    """
    from safetensors import SafetensorError

    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}.{os.getpid()}-{time.time_ns()}.tmp"
    temporary.mkdir()
    try:
        try:
            _write_files(temporary, data)
        except SafetensorError as error:  # how its writer tells of a full disk
            raise SelfflError(f"{folder}: cannot be written ({error}); nothing was kept of it") from None
        mode = (temporary / "manifest.json").stat().st_mode
        for path in sorted(temporary.iterdir()):
            path.chmod(mode)  # safetensors lets nobody else read what it writes; the manifest is as the umask says
            _sync(path)
        _sync(temporary)
        _put_in_place(temporary, folder, force)
        _sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_files(folder: Path, data: ShardData) -> None:
    from pyarrow import parquet
    from safetensors.numpy import save_file

    clients = len(data.client_names)
    period = data.arrays["period"] if data.periods > 1 else np.zeros(len(data.client), np.int64)
    order = np.lexsort((np.arange(len(data.client)), period, data.client))
    counts = {}
    for index, name in enumerate(PARTS):
        rows = order[data.part[order] == index]
        counts[name] = np.bincount(data.client[rows], minlength=clients).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts[name])]).astype(np.int64)
        arrays = {key: np.ascontiguousarray(_at(values, rows)) for key, values in data.arrays.items()}
        save_file({**arrays, "offsets": offsets}, folder / f"{name}.safetensors")
        _release(data.arrays)
    if data.shared:
        shared = {key: np.ascontiguousarray(values) for key, values in data.shared.items()}
        save_file(shared, folder / "shared.safetensors")
    table = _client_table(data, counts)
    parquet.write_table(table, folder / "clients.parquet")
    files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    x = data.arrays["x"]
    fields: dict[str, Any] = {
        "format_version": PERIODS_VERSION if data.periods > 1 else FORMAT_VERSION, "periods": data.periods,
        "name": data.name, "partition": data.partition, "task": data.task,
        "sources": data.sources, "arguments": data.arguments, "clients": clients,
        "samples": {name: int(counts[name].sum()) for name in PARTS}, "classes": data.classes,
        "input": {"shape": list(x.shape[1:]), "dtype": str(x.dtype)}, "citation": data.citation,
        "notes": data.notes, "files": files,
    }  # fmt: skip
    fields["data_hash"] = _data_hash(fields, table)
    off = {"sha256"} if data.periods > 1 else {"sha256", "periods"}
    manifest = json.loads(Manifest.model_validate(fields).model_dump_json(exclude=off))
    (folder / "manifest.json").write_text(json.dumps(seal(manifest), indent=1) + "\n", encoding="utf-8")


def _at(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`values[rows]`; rows in a row are a view, so that what is mapped from disk is not copied."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
        return values[rows[0] : rows[-1] + 1]
    return values[rows]


def _release(arrays: Mapping[str, np.ndarray]) -> None:
    """Lets go of the pages of arrays that are mapped from disk, so that the parts are in memory one at a time."""
    for values in arrays.values():
        mapped = getattr(values, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def _client_table(data: ShardData, counts: Mapping[str, np.ndarray]) -> pyarrow.Table:
    import pyarrow

    clients, classes = len(data.client_names), len(data.classes)
    cells = np.zeros(0, np.int64)
    if classes:
        cells = np.bincount(data.client * classes + data.arrays["y"].astype(np.int64), minlength=clients * classes)
    columns: dict[str, Any] = {
        "client": np.arange(clients, dtype=np.int64),
        "name": pyarrow.array(data.client_names, pyarrow.string()),
        "group": pyarrow.array([""] * clients, pyarrow.string()),
        **{f"n_{name}": counts[name] for name in PARTS},
        "labels": pyarrow.ListArray.from_arrays(np.arange(clients + 1) * classes, cells),
    }
    return pyarrow.table({**columns, **data.client_columns})


def _data_hash(fields: Mapping[str, Any], table: pyarrow.Table) -> str:
    """16 hexadecimal digits. The table counts by its values: Parquet's bytes change with the library.

    Over one JSON object {"arrays", "clients": {column: values}, "format"}, put together in pieces: a million clients
    as Python objects would take gigabytes.
    """
    arrays = {name: digest for name, digest in fields["files"].items() if name.endswith(".safetensors")}
    digest = hashlib.sha256(f'{{"arrays": {json.dumps(arrays, sort_keys=True)}, "clients": {{'.encode())
    for number, name in enumerate(sorted(table.column_names)):
        digest.update(f"{', ' if number else ''}{json.dumps(name)}: [".encode())
        for begin in range(0, len(table), HASHED):
            values = table[name].slice(begin, HASHED).to_pylist()
            text = json.dumps(values, sort_keys=True, default=str)[1:-1]
            digest.update(f"{', ' if begin else ''}{text}".encode())
        digest.update(b"]")
    about = json.dumps([fields["format_version"], fields["task"], fields["classes"]])
    digest.update(f'}}, "format": {about}}}'.encode())
    return digest.hexdigest()[:16]


def _put_in_place(temporary: Path, folder: Path, force: bool) -> None:
    """Rename; with `force` the old folder steps aside first and is then deleted."""
    old = temporary.with_suffix(".old.tmp")
    if force and (folder / "manifest.json").exists():
        folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        elif (folder / "manifest.json").exists():
            return  # another process was first, with the same arguments
        elif folder.exists():
            raise SelfflError(f"{folder}: is there already but holds no shards; move it away") from None
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left of `folder`; only for one that no other process writes meanwhile."""
    for path in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    """Make a file or folder durable, so that the rename never outlives what it names."""
    with suppress(PermissionError):  # Windows cannot open folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
