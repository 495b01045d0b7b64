"""A shard folder read by memory map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SelfflError
from ..files.tensors import open_tensors
from . import checks as structure
from .manifest import AGAIN, PARTS, Manifest, read_manifest, sha256

if TYPE_CHECKING:  # torch takes two seconds to import, and only training needs it
    import pyarrow
    from torch import Tensor


@dataclass(frozen=True)
class Part:
    """One part of the data: client m's samples are rows offsets[m] to offsets[m + 1] of every array."""

    arrays: dict[str, Tensor]  # memory-mapped, each [n, …]
    offsets: np.ndarray  # int64 [clients + 1]

    @property
    def sizes(self) -> np.ndarray:
        """Samples of each client, int64 [clients]."""
        return np.diff(self.offsets)


class Shards:
    """A shard folder opened for reading. Arrays are mapped when they are first asked for."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._parts: dict[str, Part] = {}

    @classmethod
    def open(cls, path: Path | str, verify: bool = True) -> Shards:
        """Open a folder; with `verify` every file is read once and its sha256 compared with the manifest.

        Raises SelfflError naming the folder or file when it is missing, of another format, or damaged.
        """
        path = Path(path)
        manifest = read_manifest(path)
        known = {"clients.parquet", "shared.safetensors", *(f"{part}.safetensors" for part in PARTS)}
        missing = known - {"shared.safetensors"} - set(manifest.files)
        if missing or not set(manifest.files) <= known:
            raise SelfflError(f"{path / 'manifest.json'}: does not list the files of shards; {AGAIN}")
        for name, digest in manifest.files.items():
            if not (path / name).is_file():
                raise SelfflError(f"{path / name}: is missing; {AGAIN}")
            if verify and sha256(path / name) != digest:
                raise SelfflError(f"{path / name}: is damaged (not what the manifest says); {AGAIN}")
        for part in PARTS:
            structure.check_header(path / f"{part}.safetensors", manifest, part)
        return cls(path, manifest)

    @property
    def hash(self) -> str:
        """Names the data: equal hashes, equal numbers."""
        return self.manifest.data_hash

    @property
    def num_clients(self) -> int:
        return self.manifest.clients

    @property
    def periods(self) -> int:
        return self.manifest.periods

    @cached_property
    def clients(self) -> pyarrow.Table:
        """clients.parquet: a row a client, in order of the client index."""
        return structure.read_clients(self.path / "clients.parquet", self.manifest)

    def part(self, name: str) -> Part:
        """`train`, `validation` or `test`."""
        if name not in PARTS:
            raise ValueError(f"no part '{name}'; there are {', '.join(PARTS)}")
        if name not in self._parts:
            arrays = _map_tensors(self.path / f"{name}.safetensors")
            offsets = arrays.pop("offsets").numpy().copy()
            structure.check_part(self.path / f"{name}.safetensors", self.manifest, arrays, offsets, self.shared)
            self._parts[name] = Part(arrays, offsets)
        return self._parts[name]

    @cached_property
    def shared(self) -> dict[str, Tensor]:
        """Arrays that belong to no client, memory-mapped; empty when there are none."""
        name = "shared.safetensors"
        arrays = _map_tensors(self.path / name) if name in self.manifest.files else {}
        structure.check_shared(self.path / name, self.manifest, arrays)
        return arrays


def _map_tensors(path: Path) -> dict[str, Tensor]:
    """Every array of a safetensors file; pages are read when touched, and a write never reaches the file."""
    with open_tensors(path, AGAIN) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
