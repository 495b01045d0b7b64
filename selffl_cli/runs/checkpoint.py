"""Checkpoints of an unfinished run: what its rounds touched since the last one, and a small manifest.

`checkpoint/` holds the server's tensors of the two latest checkpoints, a log of client records that each checkpoint
appends to (see rowlog), and a manifest for each checkpoint that names its files with their lengths and checksums. A
manifest is written last and renamed, so one that exists is whole; when the newest does not check out the one before
is used. The log is what a resumed run believes: tables on disk (`checkpoint/tables`) are filled from it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..engine.cohort import State
from ..errors import SelfflError
from ..files.atomic import write_whole
from ..files.checksums import seal, unseal
from ..files.regular import open_regular, read_regular
from ..shards import sha256
from .folder import METRICS
from .rowlog import RowLog

KEPT_CHECKPOINTS = 2
BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError)  # when reading one
SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # the machine is short of something; the files say nothing of it
TABLES = "tables"  # the folder of a store on disk


@dataclass
class Saved:
    """A checkpoint's own figures: the last finished round, metrics.jsonl up to there, cumulative counts."""

    round: int
    metrics_bytes: int
    counts: dict[str, Any]
    metrics_sha256: str  # of those bytes
    made_by: dict[str, Any] = field(default_factory=dict)  # engine and device, on which the last bits depend


class Checkpoints:
    """The checkpoint folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: RowLog | None = None
        self.round = -1  # of the latest checkpoint

    def save(self, state: State, touched: np.ndarray, saved: Saved) -> None:
        """Write a checkpoint at the end of a round; nothing to do when that round has one.

        `touched`: the clients whose rows may have changed since the last checkpoint, each once.
        """
        if saved.round == self.round:
            return
        store = state.clients
        self.folder.mkdir(exist_ok=True)
        self.log = self.log or RowLog(self.folder, store.record, store.num_clients)
        for records in store.pack(touched):
            self.log.append(records)
        self.log.clean()
        server = self.folder / f"server-{saved.round:07d}.safetensors"
        write_whole(server, save({key: value.detach().cpu().contiguous() for key, value in state.server.items()}))
        manifest = {
            "server": {"file": server.name, "sha256": sha256(server)},
            "record": str(store.record), "rows": self.log.flush(), **vars(saved),
        }  # fmt: skip
        write_whole(self.folder / f"manifest-{saved.round:07d}.json", json.dumps(seal(manifest)))
        self.round = saved.round
        self.tidy()

    def made_by(self) -> dict[str, Any] | None:
        """Engine and device of the newest checkpoint that can be read; None where there is none."""
        for path in self._manifests():
            with suppress(*BROKEN):
                return unseal(json.loads(read_regular(path)), required=True).get("made_by", {})
        return None

    def _manifests(self) -> list[Path]:
        return sorted(self.folder.glob("manifest-*.json"), reverse=True)

    def tidy(self) -> None:
        """Remove files that the two latest manifests do not name."""
        manifests = self._manifests()
        named = {path.name for path in manifests[:KEPT_CHECKPOINTS]}
        for path in manifests[:KEPT_CHECKPOINTS]:
            with suppress(*BROKEN):  # one that is damaged names nothing; `load` passes it over
                content = json.loads(read_regular(path))
                named |= {piece["file"] for piece in [content["server"], *content["rows"]]}
        for path in self.folder.glob("*"):
            if path.name not in named and not path.is_dir():
                path.unlink()

    def load(self, state: State) -> Saved | None:
        """Bring `state` to the newest whole checkpoint; None when there is none, and then nothing is left of others."""
        store = state.clients
        for path in self._manifests():
            log = RowLog(self.folder, store.record, store.num_clients)
            try:
                manifest = unseal(json.loads(read_regular(path)), required=True)
                saved = Saved(**{key: manifest[key] for key in Saved.__annotations__ if key in manifest})
                server = self.folder / Path(manifest["server"]["file"]).name
                whole = self._covers(saved) and manifest["record"] == str(store.record)
                whole = whole and sha256(server) == manifest["server"]["sha256"]
                log.load(manifest["rows"])
                tensors = load_file(server) if whole else {}
                whole = whole and all(v.shape == state.server.get(k, v).shape for k, v in tensors.items())
            except BROKEN as error:
                if isinstance(error, OSError) and error.errno in SHORT:
                    raise self._unreadable(error) from None
                whole = False
            except RuntimeError as error:  # torch cannot map a file that is whole
                raise self._unreadable(error) from None
            if not whole:
                path.unlink(missing_ok=True)
                continue
            for name, value in tensors.items():
                state.server[name] = value.to(store.device)
            for records in log.records_in_order():
                store.unpack(records)
            self.log, self.round = log, saved.round
            return saved
        self.tidy()
        return None

    def _unreadable(self, error: Exception) -> SelfflError:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        return SelfflError(f"{self.folder}: cannot be read now ({why}); it is whole: start the run again later")

    def _covers(self, saved: Saved) -> bool:
        """Whether metrics.jsonl still begins with the lines that this checkpoint goes on from."""
        with open_regular(self.folder.parent / METRICS) as file:
            if not 0 <= saved.metrics_bytes <= os.fstat(file.fileno()).st_size:
                return False  # before so much is read
            return hashlib.sha256(file.read(saved.metrics_bytes)).hexdigest() == saved.metrics_sha256

    def clear(self) -> None:
        """Remove the folder: the run is finished, or starts anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
