"""Weights & Biases: a run in the project of the experiment's name; offline unless the environment says otherwise."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import wandb

from .scalars import About, Round


class WandB:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mode = os.environ.get("WANDB_MODE", "offline")

    def begin(self, run: About) -> Run:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(f"{run.experiment}/{run.name}".encode()).hexdigest()[:16]  # the same at every export
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True, disable_code=True)
        made = wandb.init(
            project=run.experiment.replace("/", "-"), name=run.name, id=name, group=run.label, dir=str(self.folder),
            config=run.settings, mode=self.mode, reinit="create_new", settings=settings,
        )  # fmt: skip
        return Run(made)

    def close(self) -> None:
        wandb.teardown()  # waits for the process that writes the files

    def hint(self) -> str:
        offline = f"wandb sync {self.folder}/wandb/offline-run-*"
        return offline if self.mode == "offline" else "see the page of the project at your server of W&B"


class Run:
    def __init__(self, made: wandb.Run) -> None:
        self.made = made

    def write(self, round_: Round) -> None:
        self.made.log({**round_.values, "_timestamp": round_.time}, step=round_.number)

    def end(self, status: str) -> None:
        if status:
            self.made.summary["status"] = status
        self.made.finish(exit_code=1 if status == "diverged" else 0)


def open_logger(where: str) -> WandB:
    return WandB(Path(where))
