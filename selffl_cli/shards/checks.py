"""Whether the files of a shard folder are what their manifest says, beyond their checksums.

Who writes a manifest can write its checksums too. So shapes are read from the files' headers before anything is
allocated by the manifest's numbers, and what is used as an index is looked at before it is used as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SelfflError
from ..files.tensors import open_tensors
from .manifest import AGAIN

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow
    from torch import Tensor

    from .manifest import Manifest

INTEGERS = ("U8", "I8", "I16", "I32", "I64")
FLOATS = ("F16", "F32", "F64")
TYPES = (*INTEGERS, *FLOATS)  # as safetensors names them; what numpy and the models can use
NUMPY = {"U8": "uint8", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "F16": "float16",
         "F32": "float32", "F64": "float64"}  # fmt: skip


def _wrong(path: Path, what: str) -> SelfflError:
    return SelfflError(f"{path}: {what}, which is not what its manifest says; {AGAIN}")


def check_header(path: Path, manifest: Manifest, part: str) -> None:
    """Names, types and shapes of a part's arrays, from its header alone. SelfflError names what does not fit."""
    samples = getattr(manifest.samples, part)
    if manifest.task == "gaussian" and not isinstance(manifest.notes.get("s0"), int | float):
        raise _wrong(path.with_name("manifest.json"), "has no note 's0'")
    with open_tensors(path, AGAIN, "numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        found = {name: (value.get_dtype(), list(value.get_shape())) for name, value in slices.items()}
    for name in ("x", "y", "offsets"):
        if name not in found:
            raise _wrong(path, f"holds no '{name}'")
    for name, (kind, shape) in found.items():
        if kind not in TYPES:
            raise _wrong(path, f"'{name}' is of type {kind}")
        if name != "offsets" and shape[:1] != [samples]:
            raise _wrong(path, f"'{name}' has shape {shape} for {samples} samples")
    if found["offsets"] != ("I64", [manifest.clients + 1]):
        raise _wrong(path, f"'offsets' has shape {found['offsets'][1]} for {manifest.clients} clients")
    x = found["x"]
    if x[1][1:] != manifest.input.shape or NUMPY[x[0]] != manifest.input.dtype:
        raise _wrong(path, f"'x' has shape {x[1]} and type {x[0]}")
    kinds = {"classification": INTEGERS, "regression": FLOATS}.get(manifest.task, TYPES)
    if len(found["y"][1]) != 1 or found["y"][0] not in kinds:
        raise _wrong(path, f"'y' has shape {found['y'][1]} and type {found['y'][0]}")


def check_part(
    path: Path, manifest: Manifest, arrays: dict[str, Tensor], offsets: np.ndarray, shared: dict[str, Tensor]
) -> None:
    """Values that are used as indices: offsets, labels, and words where the shards have word vectors."""
    if offsets[0] != 0 or offsets[-1] != len(arrays["y"]) or (np.diff(offsets) < 0).any():
        raise _wrong(path, "its offsets do not deal its samples to clients")
    if not len(arrays["y"]):
        return
    if manifest.task == "classification":
        low, high = int(arrays["y"].min()), int(arrays["y"].max())
        if low < 0 or high >= max(len(manifest.classes), 1):
            raise _wrong(path, f"has labels from {low} to {high} for {len(manifest.classes)} classes")
    words = _words(shared)
    if words is not None and not arrays["x"].is_floating_point():
        low, high = int(arrays["x"].min()), int(arrays["x"].max())
        if low < 0 or high >= words:
            raise _wrong(path, f"has words from {low} to {high} where {words} are known")


def _words(shared: dict[str, Tensor]) -> int | None:
    """How many words the shards know, by their vectors or their vocabulary; None without words."""
    if "embedding" in shared:
        return len(shared["embedding"])
    if "vocabulary" in shared:
        return int((shared["vocabulary"] == ord("\n")).sum()) + 1
    return None


def check_shared(path: Path, manifest: Manifest, shared: dict[str, Tensor]) -> None:
    """Shapes and types of the arrays that belong to no client."""
    for name, value in shared.items():
        if str(value.dtype).removeprefix("torch.") not in NUMPY.values():
            raise _wrong(path, f"'{name}' is of type {value.dtype}")
    embedding, vocabulary = shared.get("embedding"), shared.get("vocabulary")
    if embedding is not None and (embedding.dim() != 2 or not embedding.is_floating_point() or not embedding.numel()):
        raise _wrong(path, f"'embedding' has shape {list(embedding.shape)}")
    if vocabulary is not None and (vocabulary.dim() != 1 or str(vocabulary.dtype) != "torch.uint8"):
        raise _wrong(path, f"'vocabulary' has shape {list(vocabulary.shape)}")
    if manifest.task == "gaussian" and (
        "theta_0" not in shared or list(shared["theta_0"].shape) != manifest.input.shape
    ):
        raise _wrong(path, "holds no 'theta_0' of the samples' shape")


def read_clients(path: Path, manifest: Manifest) -> pyarrow.Table:
    """clients.parquet, a row a client: the columns that are relied on, with their types and without empty cells."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise SelfflError(f"{path}: no whole Parquet file ({reason}); {AGAIN}") from None
    if table.num_rows != manifest.clients:
        raise _wrong(path, f"has {table.num_rows} rows for {manifest.clients} clients")
    whole: dict[str, Any] = {name: pa.types.is_integer for name in ("client", "n_train", "n_validation", "n_test")}
    wanted = {**whole, "name": pa.types.is_string, "group": pa.types.is_string}
    if manifest.task == "gaussian":
        wanted["variance"] = pa.types.is_floating
    for name, fits in wanted.items():
        if table.column_names.count(name) != 1 or not fits(table[name].type) or table[name].null_count:
            raise _wrong(path, f"has no whole column '{name}'")
    if not np.array_equal(table["client"].to_numpy(), np.arange(manifest.clients)):
        raise _wrong(path, "its clients are not in order")
    for part, samples in manifest.samples.model_dump().items():
        sizes = table[f"n_{part}"].to_numpy()
        if (sizes < 0).any() or (sizes > samples).any() or int(sizes.sum()) != samples:
            raise _wrong(path, f"'n_{part}' does not deal the part's {samples:,} samples to clients")
    return table
