"""Trackio: a run in the project of the experiment's name, in a local folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .scalars import About, Round


class Trackio:
    def __init__(self, folder: Path) -> None:
        os.environ["TRACKIO_DIR"] = str(folder.resolve())  # read when trackio is imported
        import trackio

        self.folder, self.trackio = folder, trackio

    def begin(self, run: About) -> Run:
        project = run.experiment.replace("/", "-")
        for former in self.trackio.Api().runs(project) if self._has(project) else ():
            if former.name == run.name:
                former.delete()
        made = self.trackio.init(
            project=project, name=run.name, group=run.label, config=dict(run.settings), embed=False
        )
        return Run(made)

    def _has(self, project: str) -> bool:
        return any(self.folder.glob(f"{project}.db"))

    def close(self) -> None:
        """Each run was finished."""

    def hint(self) -> str:
        return f"TRACKIO_DIR={self.folder} trackio show"


class Run:
    def __init__(self, made: Any) -> None:
        self.made = made

    def write(self, round_: Round) -> None:
        self.made.log(round_.values, step=round_.number)

    def end(self, status: str) -> None:
        self.made.finish()


def open_logger(where: str) -> Trackio:
    return Trackio(Path(where))
