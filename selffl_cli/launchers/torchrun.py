"""The life of a rank that torchrun started beside rank 0: take part in the runs that rank 0 sends."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

from ..config.run import RunConfig
from ..engine.parallel.torchrun import Team
from ..errors import SelfflError
from ..machine.allocator import keep_freed_memory
from ..runs.checkpoint import TABLES
from ..shards import Shards
from ..training.controls import Controls, Stopped
from ..training.loop import Training


def follow(team: Team) -> None:
    """Train with rank 0 until it has no more runs. Rank 0 decides when to stop: this rank ignores the signals."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    opened: dict[str, Shards] = {}
    while (job := team.tell()) is not None:
        if "config" not in job:
            team.agree({f"data {job['data']}": _open(job["data"], opened)})
            continue
        asked = {**job["controls"], "device": team.device, "workers": team.collective.world}
        controls = Controls(**asked, team=team)
        training = Training(RunConfig(**job["config"]), opened[job["data"]], Path(job["folder"]), None, controls)
        rows = training.checkpoints.folder / TABLES / f"rank-{team.collective.rank}"
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            training.store.open(rows if controls.client_store == "disk" else None)
            with suppress(Stopped):
                training.run(team.together())
        finally:
            signal.signal(signal.SIGTERM, before)
            training.store.close()
            _remove_empty(rows, training.folder.path)


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove what a run left on a machine that holds none of its files: empty folders from `folder` up to `top`."""
    with suppress(OSError):
        while folder != top.parent:
            folder.rmdir()
            folder = folder.parent


def _open(path: str, opened: dict[str, Shards]) -> str:
    """What this rank's copy of the data is: its hash, or why there is none."""
    try:
        if path not in opened:
            opened[path] = Shards.open(path)
        return opened[path].hash
    except SelfflError as error:
        return str(error)
