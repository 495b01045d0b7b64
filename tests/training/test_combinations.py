"""Every method with every part of the other systems, drawn at random: each combination runs, or is refused in one line
that says what to do."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selffl_cli import methods
from selffl_cli.cli.main import main
from selffl_cli.shards import ShardData, write_shards

pytest.importorskip("dp_accounting")

PERIODS, CLIENTS = 2, 6
METHODS = [name for name in methods.METHODS if name != "oracle"]
MEMORIES = ["none", "all", "naive", "approx-uniform", "balanced", "uncoordinated", "uncoordinated:gradients=raw",
            "coordinated", "coordinated:iterations=3"]  # fmt: skip
SAMPLERS = ["uniform", "poisson:q=0.6", "poisson:q=1", "activity", "activity:gamma=0.5,mix=0.2", "activity:gamma=400",
            "log", "top:fraction=0.5", "top:fraction=1"]  # fmt: skip
WEIGHTINGS = [None, "samples", "equal", "unbiased"]
PRIVACIES = ["", "user:clip=0.5,noise=1", "user:noise=0", "user:target-epsilon=20", "user:noise=2,target-epsilon=3",
             "user:noise=0.1,adaptive=0.5,canaries=3", "sample:noise=1,micro-batch=2", "sample:noise=0,layerwise=true",
             "sample:target-epsilon=50,micro-batch=2,decay=0.9"]  # fmt: skip
DRAWS = int(os.environ.get("SELFFL_COMBINATIONS", "60"))

TOML = """
name = "mix"
[data]
name = "blobs"
[model]
name = "softmax"
[train]
rounds = 2
participation = 0.5
local_epochs = 1
batch_size = 3
eval_every = 2
[methods.fedavg]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clients of 4 to 14 training samples a period, in two periods, and the experiment."""
    folder = tmp_path_factory.mktemp("mix")
    rng = np.random.default_rng(1)
    client, period, part = [], [], []
    for number in range(CLIENTS):
        for time in range(PERIODS):
            own = [0] * (4 + 2 * number) + [1] + [2] * 2
            client += [number] * len(own)
            period += [time] * len(own)
            part += own
    periods = np.array(period)
    data = ShardData(
        "blobs", "natural", "classification",
        {"x": 2 * np.eye(3)[periods] + rng.normal(size=(len(periods), 3)), "y": periods.copy(), "period": periods},
        np.array(client), np.array(part), [f"c{i}" for i in range(CLIENTS)], ["a", "b"], periods=PERIODS,
        arguments={"drift": "label"},
    )  # fmt: skip
    write_shards(folder / "blobs", data)
    (folder / "mix.toml").write_text(TOML)
    return folder


def drawn(number: int) -> dict[str, Any]:
    """Combination `number`: the methods take turns, every other part is off half of the time."""
    rng = np.random.default_rng([11, number])

    def pick(values: list[Any], off: float = 0.5) -> Any:
        return values[0] if rng.random() < off else values[int(rng.integers(1, len(values)))]

    method = METHODS[number % len(METHODS)]
    if methods.METHODS[method].averages and rng.random() < 0.2:
        method += str(rng.choice(["-w", "-e"]))
    periods = bool(rng.random() < 0.5)
    privacy = pick(PRIVACIES, 0.4)
    return {
        "method": method, "periods": periods, "memory": pick(MEMORIES, 0.2) if periods else "none",
        "memory_size": int(rng.integers(1, 12)), "sampler": pick(SAMPLERS, 0.2 if privacy.startswith("user") else 0.4),
        "weighting": pick(WEIGHTINGS, 0.6), "privacy": privacy,
    }  # fmt: skip


def command(asked: dict[str, Any], runs: str) -> list[str]:
    words = ["train", "mix.toml", "--data", "./blobs", "-m", asked["method"], "--runs", runs, "--workers", "1",
             "--set", f"train.sampler={asked['sampler']}"]  # fmt: skip
    if asked["periods"]:
        words += ["--set", "train.periods=true", "--set", f"train.memory={asked['memory']}"]
        if asked["memory"] not in ("none", "all"):
            words += ["--set", f"train.memory_size={asked['memory_size']}"]
    for key in ("weighting", "privacy"):
        if asked[key]:
            words += ["--set", f"train.{key}={asked[key]}"]
    return words


def in_one_line(text: str) -> bool:
    """A message of one line, an `error: …` that says what is wrong and, after a semicolon or a colon, what to do."""
    return text.count("\n") == 1 and "Traceback" not in text and bool(re.search(r"[;:,] ", text)) and len(text) < 400


@pytest.mark.parametrize("number", range(DRAWS))
def test_each_combination_runs_or_is_refused(
    number: int, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    asked = drawn(number)
    code = main(command(asked, f"runs-{number}"))
    said = capsys.readouterr()
    if code:
        assert code == 2 and in_one_line(said.err), (asked, said.err)
        assert not Path(f"runs-{number}").exists(), asked  # refused before anything is done
        return
    (folder,) = [path.parent for path in Path(f"runs-{number}").rglob("result.json")]
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "finished", asked
    figures = result["final"]["test"]
    assert {"personal"} <= set(figures) or asked["method"] == "local"
    assert all(math.isfinite(own["loss"]) for own in figures.values()), asked
    assert ("privacy" in result) == bool(asked["privacy"]), asked
