"""Checkpoints of an unfinished run: what changed since the last one, and a small manifest.

`checkpoint/` holds the server's tensors of the two latest checkpoints, a chain of files with client rows (each only
the rows that changed since the one before), and a manifest for each checkpoint that names its files with their
checksums. A manifest is written last and renamed, so one that exists is whole; when the newest does not check out
the one before is used. The chain is written anew when it has grown to twice what it holds.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from ..engine.cohort import State
from ..seal import seal, unseal
from ..shards import sha256
from . import METRICS
from .files import write_whole

KEPT = 2
SLACK = 64 * 2**20  # bytes of outdated rows that are not worth rewriting


@dataclass
class Saved:
    """A checkpoint's own figures: the last finished round, metrics.jsonl up to there, cumulative counts."""

    round: int
    metrics_bytes: int
    counts: dict[str, Any]
    metrics_sha256: str  # of those bytes


class Checkpoints:
    """The checkpoint folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chain: list[dict[str, Any]] = []  # {"file", "sha256", "bytes"}, oldest first
        self.round = -1  # of the latest checkpoint

    def save(self, state: State, saved: Saved) -> None:
        """Write a checkpoint at the end of a round; nothing to do when that round has one."""
        if saved.round == self.round:
            return
        self.folder.mkdir(exist_ok=True)
        live = sum(
            int(state.clients.written[name].sum()) * table[0].numel() * table.element_size()
            for name, table in state.clients.tables.items()
        )
        if sum(piece["bytes"] for piece in self.chain) > 2 * live + SLACK:
            self.chain = []
            state.clients.changed_rows()
            rows = state.clients.all_rows()
        else:
            rows = state.clients.changed_rows()
        self.chain.append(self._write(f"clients-{saved.round:07d}.safetensors", rows))
        server = self._write(f"server-{saved.round:07d}.safetensors", state.server)
        manifest = {"server": server, "clients": self.chain, **vars(saved)}
        write_whole(self.folder / f"manifest-{saved.round:07d}.json", json.dumps(seal(manifest)))
        self.round = saved.round
        self._tidy()

    def _write(self, name: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
        path = self.folder / name
        write_whole(path, save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}))
        return {"file": name, "sha256": sha256(path), "bytes": path.stat().st_size}

    def _manifests(self) -> list[Path]:
        return sorted(self.folder.glob("manifest-*.json"), reverse=True)

    def _tidy(self) -> None:
        """Remove what the two latest manifests do not name."""
        manifests = self._manifests()
        named = {path.name for path in manifests[:KEPT]}
        for path in manifests[:KEPT]:
            content = json.loads(path.read_text())
            named |= {piece["file"] for piece in [content["server"], *content["clients"]]}
        for path in self.folder.iterdir():
            if path.name not in named:
                path.unlink()

    def load(self, state: State) -> Saved | None:
        """Bring `state` to the newest whole checkpoint; None when there is none."""
        for path in self._manifests():
            try:
                manifest = unseal(json.loads(path.read_text()), required=True)
                pieces = [manifest["server"], *manifest["clients"]]
                saved = Saved(**{key: manifest[key] for key in Saved.__annotations__})
                whole = self._covers(saved) and all(
                    sha256(self.folder / piece["file"]) == piece["sha256"] for piece in pieces
                )
            except (OSError, ValueError, KeyError, TypeError):
                whole = False
            if not whole:
                path.unlink(missing_ok=True)
                continue
            for name, value in load_file(self.folder / manifest["server"]["file"]).items():
                state.server[name] = value.to(state.clients.device)
            for piece in manifest["clients"]:
                state.clients.restore(load_file(self.folder / piece["file"]))
            self.chain, self.round = manifest["clients"], manifest["round"]
            return saved
        return None

    def _covers(self, saved: Saved) -> bool:
        """Whether metrics.jsonl still begins with the lines that this checkpoint goes on from."""
        with open(self.folder.parent / METRICS, "rb") as file:
            return hashlib.sha256(file.read(saved.metrics_bytes)).hexdigest() == saved.metrics_sha256

    def clear(self) -> None:
        """Remove the folder: the run is finished, or starts anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
