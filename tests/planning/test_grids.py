"""`--set key=[a,b,c]` sweeps a key from the shell; a key that is a list keeps its meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selffl_cli.cli.main import main
from selffl_cli.config.experiment import load_experiment
from selffl_cli.errors import UsageError
from selffl_cli.planning.grids import with_grids

TOML = """
extends = "digits"
remove = ["claims"]
[data]
clients = 4
[train]
rounds = 2
eval_every = 1
"""


@pytest.mark.parametrize(
    ("values", "sweep", "kept"),
    [
        ({"train.learning_rate": [0.1, 0.2]}, {"train.learning_rate": [0.1, 0.2]}, {}),
        ({"train.learning_rate": 0.1}, {}, {"train.learning_rate": 0.1}),
        ({"model.hidden": [32]}, {}, {"model.hidden": [32]}),
        ({"model.hidden": [[32], [64, 8]]}, {"model.hidden": [[32], [64, 8]]}, {}),
        ({"train.eval_parts": ["test", "train"]}, {}, {"train.eval_parts": ["test", "train"]}),
        ({"data.clients": [5, 10]}, {"data.clients": [5, 10]}, {}),
        ({"methods.fedavg.train.local_steps": [1, 5]}, {"methods.fedavg.train.local_steps": [1, 5]}, {}),
        (
            {"methods.actperfl.steps": ["literal", "calibrated"]},
            {"methods.actperfl.steps": ["literal", "calibrated"]},
            {},
        ),
        ({"seeds": [1, 2]}, {}, {"seeds": [1, 2]}),
        ({"model.name": "softmax", "model.nothing": [1, 2]}, {"model.nothing": [1, 2]}, {"model.name": "softmax"}),
    ],
)
def test_which_lists_are_grids(values: dict[str, Any], sweep: dict[str, Any], kept: dict[str, Any]) -> None:
    found = with_grids("digits", values)
    assert found.pop("sweep", {}) == sweep and found == kept


def test_a_grid_stands_beside_the_sweep_of_the_file() -> None:
    own = load_experiment("synthetic").sweep
    found = with_grids("synthetic", {"train.learning_rate": [0.1, 0.2]})["sweep"]
    assert own and found == {**own, "train.learning_rate": [0.1, 0.2]}


@pytest.mark.parametrize("value", [[], [0.1, 0.1]])
def test_grids_that_are_none(value: list[float]) -> None:
    with pytest.raises(UsageError, match="nothing to sweep|stands there twice"):
        with_grids("digits", {"train.learning_rate": value})


def test_a_sweep_of_two_keys_from_the_shell_to_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("little.toml").write_text(TOML)
    grid = ["--set", "train.learning_rate=[0.0001,0.2]", "--set", "data.clients=[3,4]"]
    assert main(["train", "little.toml", "-m", "fedavg", "-s", "0-1", *grid, "--jobs", "1", "--workers", "1"]) == 0
    capsys.readouterr()
    assert main(["ls"]) == 0
    assert "fedavg seed 1 learning_rate=0.2,clients=4" in capsys.readouterr().out
    assert main(["report", "little.toml", *grid]) == 0
    (page,) = tmp_path.glob("runs/*/report/README.md")
    text = page.read_text()
    assert "### The best setting of each method" in text
    best = next(line for line in text.splitlines() if line.startswith("| fedavg | learning_rate"))
    assert "learning\\_rate=0.2" in best or "learning_rate=0.2" in best
    assert "#### fedavg: test figures by clients and learning_rate (‡: the best on validation)" in text
    table = text.partition("(‡: the best on validation)")[2].strip().splitlines()
    assert table[0].startswith("| clients | learning_rate = ") and table[0].endswith("| learning_rate = 0.2 |")
    (marked,) = [line for line in table if "‡" in line]
    assert marked.endswith("**‡ |")  # the last column, since the other rate hardly learns
