"""An experiment of a second for the command: seven clients, 40 rounds, with a checkpoint after each."""

from __future__ import annotations

from pathlib import Path

import pytest
from problems import class_shards

from selffl_cli.cli.main import main

TOML = """
name = "tiny"
[data]
name = "blobs"
[model]
name = "mlp"
hidden = [8]
[train]
rounds = 40
participation = 0.6
local_epochs = 6
batch_size = 5
eval_every = 3
[methods.actperfl]
intra = "across-rounds"
[methods.fedavg]
"""


def arguments(runs: str) -> list[str]:
    """`selffl` with these trains actperfl into the folder `runs`."""
    words = ["train", "tiny.toml", "--data", "./blobs", "--method", "actperfl"]
    return [*words, "--checkpoint-seconds", "0", "--runs", runs]


def make_place(folder: Path) -> Path:
    """A folder with the experiment, its shards and a run that nothing disturbed, in `whole`."""
    class_shards(folder / "blobs", clients=7)
    (folder / "tiny.toml").write_text(TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(arguments("whole")) == 0
    return folder


def only_run(runs: Path) -> Path:
    (found,) = runs.glob("tiny/*/run.toml")
    return found.parent
