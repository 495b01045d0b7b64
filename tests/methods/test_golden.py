"""Golden trajectories: a few rounds of every method on one tiny problem, stored in tests/golden.

They are what forces a version number to be raised: where the numbers of a method change, runs made before and
after that must not be taken for one another. Write them anew: `python tests/methods/test_golden.py --write [METHOD …]`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import gaussian_shards, training

from selffl_cli import methods
from selffl_cli.config.run import ENGINE_VERSION
from selffl_cli.models import MODELS
from selffl_cli.shards import ShardData, Shards, write_shards

GOLDEN = Path(__file__).parents[1] / "golden"
DIGITS = 6  # significant; float64 on any processor agrees to far more


def uneven_shards(folder: Path) -> Shards:
    """Six clients with 3 to 23 training samples of 4 inputs and 3 classes, 4 samples to validate, 5 to test."""
    rng = np.random.default_rng(11)
    sizes = [3, 23, 8, 5, 14, 10]
    part = np.concatenate([np.repeat([0, 1, 2], [size, 4, 5]) for size in sizes])
    client = np.repeat(np.arange(6), [size + 9 for size in sizes])
    y = np.concatenate([rng.choice(3, size + 9, p=rng.dirichlet([0.5] * 3)) for size in sizes])
    x = 2 * rng.normal(size=(3, 4))[y] + rng.normal(size=(len(y), 4))
    arrays, names = {"x": x, "y": y}, [f"client {index}" for index in range(6)]
    data = ShardData("uneven", "natural", "classification", arrays, client, part, names, ["a", "b", "c"])
    write_shards(folder, data)
    return Shards.open(folder)


def trajectory(method: str, folder: Path) -> dict[str, Any]:
    """Five rounds with minibatches, incomplete cohorts and everything a method's defaults do."""
    shards = (gaussian_shards if method == "oracle" else uneven_shards)(folder / "shards")
    run = training(folder / "run", shards, method, rounds=5, participation=0.85, batch_size=5, local_epochs=2)
    result = run.run()
    assert result["status"] == "finished"
    lines = []
    for line in run.folder.metrics():
        kept: dict[str, Any] = {
            key: line[key] for key in ("round", "steps", "gradients", "train_loss", "method") if key in line
        }
        per_client = line.get("per_client", {})
        order = np.argsort(per_client.get("client", []))
        kept["per_client"] = {name: [values[i] for i in order] for name, values in per_client.items()}
        kept["loss"] = {kind: figures["loss"] for kind, figures in line["eval"]["test"].items()}
        lines.append(kept)
    assert run.kept is not None
    theta = run.method.global_(run.state)
    models = {"personal": run.kept.norm(dim=1).tolist(), "personal first entries": run.kept[:, 0].tolist()}
    if theta is not None:
        models["global"] = theta.tolist()[:6]
    name = run.config.model["name"]
    versions = {
        "engine": ENGINE_VERSION,
        "model": MODELS[name].version,
        "method": methods.method_class(method).version,
    }
    return rounded({"method": method, "versions": versions, "rounds": lines, "models": models})


def rounded(value: Any) -> Any:
    """Every float to DIGITS significant digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Where two trajectories differ by more than the last digit kept."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        return [text for key in old for text in differences(old[key], new[key], f"{where}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            text for i, pair in enumerate(zip(old, new, strict=True)) for text in differences(*pair, f"{where}[{i}]")
        ]
    numbers = isinstance(old, float | int) and isinstance(new, float | int)
    same = abs(old - new) <= 2 * 10 ** (1 - DIGITS) * max(abs(old), abs(new), 1e-6) if numbers else old == new
    return [] if same else [f"{where}: {old} is now {new}"]


@pytest.mark.parametrize("method", methods.METHODS)
def test_trajectories_stand(method: str, tmp_path: Path) -> None:
    path = GOLDEN / f"{method}.json"
    again = f"python tests/methods/test_golden.py --write {method}"
    if not path.exists():
        pytest.fail(f"{method} has no golden trajectory; make it with: {again}")
    old, new = json.loads(path.read_text()), trajectory(method, tmp_path)
    found = differences({**old, "versions": None}, {**new, "versions": None})
    if found:
        pytest.fail(
            f"the numbers of {method} have changed, {len(found)} of them:\n  " + "\n  ".join(found[:5])
            + "\nIf that is meant, raise the version of what changed, so that runs are not mixed up (of"
            "\na method: its `version`; of a model: in selffl_cli/models; ENGINE_VERSION in config/run.py),"
            f"\nand write the trajectory again: {again}"
        )  # fmt: skip
    assert old["versions"] == new["versions"], f"a version was raised and the numbers are the same: {again}"


def test_a_change_is_seen() -> None:
    """The comparison is as sharp as the digits kept: 1e-4 of any number is a difference, rounding is none."""
    old = rounded({"a": [1.0, 2.5e-5], "b": None, "c": 7})
    assert differences(old, rounded({"a": [1.000001, 2.5e-5], "b": None, "c": 7})) == []
    for new in ({"a": [1.0001, 2.5e-5], "b": None, "c": 7}, {"a": [1.0, 2.51e-5], "b": None, "c": 7}):
        assert len(differences(old, rounded(new))) == 1
    assert differences(old, {**old, "c": 8}) and differences(old, {**old, "b": 1.0}) and differences(old, {"a": []})


def write(names: list[str]) -> None:
    """Write the trajectories of these methods (all: none named)."""
    torch.set_num_threads(1)
    GOLDEN.mkdir(exist_ok=True)
    for method in names or methods.METHODS:
        with tempfile.TemporaryDirectory() as folder:
            content = json.dumps(trajectory(method, Path(folder)), indent=1)
        (GOLDEN / f"{method}.json").write_text(content + "\n")
        print(f"tests/golden/{method}.json")


if __name__ == "__main__":
    if sys.argv[1:2] != ["--write"]:
        sys.exit("usage: python tests/methods/test_golden.py --write [METHOD …]")
    write(sys.argv[2:])
