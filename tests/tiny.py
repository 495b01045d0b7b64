"""An experiment of a second for the command, with a checkpoint after each round; and what two runs must share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from problems import class_shards

from selffl_cli.cli.main import main
from selffl_cli.runs.folder import METRICS, MODELS

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


def make_place(folder: Path, more: Sequence[str] = ()) -> Path:
    """A folder with the experiment, its shards and a run that nothing disturbed, in `whole`."""
    class_shards(folder / "blobs", clients=7)
    (folder / "tiny.toml").write_text(TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*arguments("whole"), *more]) == 0
    return folder


def only_run(runs: Path) -> Path:
    (found,) = runs.glob("tiny/*/run.toml")
    return found.parent


def comparable(folder: Path) -> tuple[list[dict[str, Any]], bytes, dict[str, list]]:
    """Everything that a run must give again to the bit: metrics without times, models, clients' figures."""
    import pyarrow.parquet as parquet

    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    for line in lines:
        line.pop("time")
    table = parquet.read_table(folder / "clients.parquet")
    columns = {name: [repr(v) for v in table[name].to_pylist()] for name in table.column_names}
    return lines, (folder / MODELS).read_bytes(), columns
