"""Arrays of one's own as client shards."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.shards import Manifest, ShardData, read_manifest
from selffl_cli.shards import write_shards as write_folder

from .dealing.deal import deal
from .dealing.pool import Pool, PrepareOptions
from .prepare import check_numbers, shard_data


class ShardOptions(TypedDict, total=False):
    """validation, test: shares of each client's samples that are kept apart (0.1 of the rest, and 0.2 of all); seed:
    of that split; name: of the data in records (the folder's); citation; arrays: further arrays, a row a sample;
    shared: arrays that belong to no client; force: replace a folder that holds other data.
    """

    validation: float
    test: float
    seed: int
    name: str
    citation: str
    arrays: dict[str, Any]
    shared: dict[str, Any]
    force: bool


def write_shards(
    folder: Path | str,
    x: Any,
    y: Any,
    client: Any,
    *,
    classes: Sequence[str] | None = None,
    part: Any = None,
    **options: Unpack[ShardOptions],
) -> Path:
    """Write the samples x [n, …] with labels y [n] of the clients `client` [n] as a folder of shards; its path.

    y is classes, as whole numbers from 0 or names, or floats that are to be predicted; client is whole numbers from 0,
    or names. classes: the names of the classes, when y is whole numbers. part [n]: 0 train, 1 validation, 2 test;
    without it each client's samples are split at random. A folder that holds the same
    data is left as it is. UsageError where arrays do not fit together, SelfflError where the folder holds other data.
    """
    place = Path(folder)
    number = np.asarray(y).dtype.kind == "f"  # to be predicted, and no class
    labels, names = (np.asarray(y, np.float32), []) if number else _numbered(y, "y")
    clients, client_names = _numbered(client, "client")
    arrays = {
        "x": np.asarray(x),
        "y": labels,
        **{key: np.asarray(value) for key, value in options.get("arrays", {}).items()},
    }
    for key, values in {**arrays, "client": clients}.items():
        if values.ndim == 0 or len(values) != len(labels):
            raise UsageError(f"write_shards: {key} has {values.shape} values, y has {len(labels)}; give a row a sample")
    known = list(classes) if classes is not None else names
    if number and classes is not None:
        raise UsageError("write_shards: y holds numbers with a fraction, which are no classes; leave classes out")
    if not number and len(labels) and labels.max() >= len(known):
        raise UsageError(f"write_shards: y has the class {labels.max()}, classes names {len(known)}; name every class")
    pool = Pool(
        arrays=arrays,
        classes=known,
        task="regression" if number else "classification",
        citation=options.get("citation", "brought by the person who wrote the shards; cite its own source"),
        client=clients,
        client_names=client_names,
        part=None if part is None else np.asarray(part),
        shared={key: np.asarray(value) for key, value in options.get("shared", {}).items()},
    )
    asked = PrepareOptions(
        partition="natural",
        seed=options.get("seed", 0),
        validation=options.get("validation", 0.1),
        test=options.get("test", 0.2),
    )
    name = options.get("name", place.name)
    check_numbers(name, pool)
    data = shard_data(name, asked, pool, deal(pool, asked))
    if options.get("force", False) or not place.exists():
        write_folder(place, data, force=True)
    elif _manifest(place).data_hash != _hash_of(data, place):
        raise SelfflError(f"{place}: holds other data; write to another folder, or give force=True")
    return place


def _hash_of(data: ShardData, place: Path) -> str:
    """The hash that this data has when it is written, which is tried beside the place."""
    beside = place.with_name(f".{place.name}.again")
    try:
        write_folder(beside, data, force=True)
        return read_manifest(beside).data_hash
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _manifest(place: Path) -> Manifest:
    try:
        return read_manifest(place)
    except SelfflError:
        raise SelfflError(f"{place}: is there and holds no shards; write to another folder") from None


def _numbered(values: Any, what: str) -> tuple[np.ndarray, list[str]]:
    """Whole numbers from 0, and the name of each; names are numbered in their order."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise UsageError(f"write_shards: {what} has the shape {array.shape}; give one number or name a sample")
    if array.dtype.kind in "iu":
        if len(array) and array.min() < 0:
            raise UsageError(f"write_shards: {what} has the number {array.min()}; numbers begin with 0")
        count = int(array.max()) + 1 if len(array) else 0
        return array.astype(np.int64), [
            f"{what}-{number}" if what == "client" else str(number) for number in range(count)
        ]
    if array.dtype.kind not in "USO":
        raise UsageError(f"write_shards: {what} holds {array.dtype} values; give whole numbers from 0, or names")
    names, numbers = np.unique(array.astype(str), return_inverse=True)
    return numbers.astype(np.int64), names.tolist()
