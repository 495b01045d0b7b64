"""A run as text, for a process on another machine that sees the same folders of data and runs."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from .. import __version__
from ..errors import SelfflError
from ..planning.plan import PlannedRun
from ..training.controls import Controls
from .one import Stop
from .queue import Ending, carry_out


def described(run: PlannedRun, controls: Controls) -> str:
    """The run as JSON, with the versions that both sides must have."""
    import torch

    content = {
        "config": run.config.model_dump(mode="json"),
        "data": str(run.shards.path.resolve()),
        "folder": str(run.folder.resolve()),
        "start": str(run.start.resolve()) if run.start else None,
        "controls": controls.sent(),
        "versions": [__version__, torch.__version__],
    }
    return json.dumps(content)


def train_described(job: str) -> str:
    """Train the run that the JSON `job` describes, in this process; its ending as JSON."""
    import torch

    from ..config.run import RunConfig
    from ..shards import Shards

    torch.set_num_threads(1)
    content = json.loads(job)
    versions = [__version__, torch.__version__]
    if versions != content["versions"]:
        message = "this node has selffl {} and torch {}, the driver {} and {}".format(*versions, *content["versions"])
        return json.dumps(vars(Ending("failed", f"{socket.gethostname()}: {message}")))
    try:
        if content["controls"]["device"] == "cuda" and not torch.cuda.is_available():
            raise SelfflError("this run is given a GPU, but this node's torch sees none")
        config, shards = RunConfig(**content["config"]), Shards.open(Path(content["data"]))
        if shards.hash != config.data["hash"]:
            raise SelfflError(f"{content['data']}: other data than the driver's")
    except SelfflError as error:
        return json.dumps(vars(Ending("failed", f"{socket.gethostname()}: {error}")))
    run = PlannedRun(config, shards, Path(content["folder"]), Path(content["start"]) if content["start"] else None)
    return json.dumps(vars(carry_out(run, Stop(), Controls(**content["controls"], workers=1))))
