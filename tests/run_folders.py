"""Run folders in the format of `selffl train`, with figures that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from data_prep.prepare import arguments, read_options
from selffl_cli import methods, models
from selffl_cli.config.experiment import Experiment
from selffl_cli.config.memory import VERSION as MEMORY_VERSION
from selffl_cli.config.run import ENGINE_VERSION
from selffl_cli.config.train import TrainConfig
from selffl_cli.errors import UsageError
from selffl_cli.files.toml import toml_text
from selffl_cli.report.build import Report, build

EVALS = ("test", "train")


def write_run(
    root: Path,
    label: str,
    seed: int,
    accuracy: Mapping[int, float],
    *,
    experiment: str = "made",
    personal: float = 0.02,
    gradients: int = 10,
    key: str = "00000000",
    data_hash: str | None = None,
    init: str = "",
    setting: dict[str, Any] | None = None,
    metric: str = "accuracy",
    status: str = "finished",
    started: str = "2026-01-01T00:00:00+00:00",
    has_global: bool = True,
    s0: float | None = None,
    train: dict[str, Any] | None = None,
    clients: int = 20,
    calibrated: int = 2,
    sent: int = 1000,
    known: Callable[[int], int] | None = None,
    options: dict[str, Any] | None = None,
) -> Path:
    """One finished run: `accuracy` is the global test figure at each evaluated round; the personal one lies
    `personal` above it. A round costs `gradients` gradient evaluations. `status` "" leaves the run
    unfinished. Steps are calibrated from the round `calibrated` on;
    `sent` bytes go up in a round. `known(round)` of the participants are known, and take their steps from uncertainty
    once steps are calibrated. A label that is no method is FedAvg's."""
    setting = setting or {}
    method, version = methods.resolve(label if _is_method(label) else "fedavg", options or {})
    rng = np.random.default_rng(seed)
    folder = root / experiment / f"digits-{label}-s{seed}-{key}"
    folder.mkdir(parents=True)
    rounds = max(accuracy)
    record = {
        "experiment": experiment,
        "label": label,
        "seed": seed,
        "setting": setting,
        "init": init,
        "data": {
            "name": "digits",
            "path": "data/x",
            "hash": data_hash or f"{setting}-{seed}",
            "partition": "dirichlet:alpha=0.3",
            "clients": clients,
            "arguments": _arguments(clients, seed, setting),
        },
        "model": models.resolve({"name": "mlp", "hidden": [32]})[0],
        "train": TrainConfig.model_validate(
            train or {"rounds": rounds, "participation": 0.5, "local_epochs": 1, "eval_every": 5}
        ).model_dump(mode="json", exclude_none=True),
        "method": method,
        "versions": {"engine": ENGINE_VERSION, "model": 1, "method": version},
    }
    if record["train"]["periods"]:
        record["versions"]["memory"] = MEMORY_VERSION
    (folder / "run.toml").write_text(toml_text(record))
    environment = {
        "selffl": "0.1.0",
        "commit": "0123456789abcdef",
        "dirty": False,
        "python": "3.11.9",
        "torch": "2.13.0",
        "numpy": "2.4.6",
        "cpu": "A CPU",
        "device": "cpu",
        "workers": 2,
        "threads": 1,
        "command": ["selffl", "train", experiment, "--seeds", "0-4"],
        "started": started,
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    lines = []
    final: dict[str, Any] = {}
    for number in range(rounds + 1):
        line: dict[str, Any] = {"round": number, "time": {"seconds": 0.5 * number}}
        if number:
            line |= {
                "clients": 4,
                "steps": 28,
                "gradients": gradients * number,
                "samples": 280 * number,
                "bytes_up": sent * number,
                "bytes_down": sent * number * 11 // 10,
                "train_loss": 1.0 / number,
            }
            line["method"] = (
                {}
                if s0 is None
                else {
                    "s0": s0 * 0.97**number,
                    "clipped": 0.25,
                    "contraction": 0.3 if number >= calibrated else None,
                }
            )
            if known is not None:
                active = known(number) if number >= calibrated else 0
                line["method"] |= {"known": known(number), "by_uncertainty": active}
            line["per_client"] = {"client": [0, 1, 2, 3], "steps": [3, 5, 8, 12]}
            if s0 is not None:
                line["per_client"]["variance"] = list(s0 / number * rng.lognormal(0, 0.7, 4))
        if number in accuracy:
            line["eval"] = final = {
                part: {
                    kind: _figures(metric, accuracy[number] + shift + (0.005 if part == "train" else 0))
                    for kind, shift in (("global", 0.0), ("personal", personal))
                    if kind == "personal" or has_global
                }
                for part in EVALS
            }
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    if status:
        result: dict[str, Any] = {
            "status": status,
            "round": rounds,
            "final": final,
            "gradients": gradients * rounds,
            "seconds": 0.5 * rounds,
        }
        if status == "diverged":
            result |= {"client": 3, "message": f"loss of client 3 was not finite in round {rounds}"}
        (folder / "result.json").write_text(json.dumps(result))
    sizes = rng.integers(5, 200, clients)
    tests = np.maximum(sizes // 4, 1)
    columns: dict[str, Any] = {
        "client": np.arange(clients),
        "name": [str(i) for i in range(clients)],
        "group": [""] * clients,
        "n_train": sizes,
        "n_validation": tests,
        "n_test": tests,
    }
    own = np.clip(accuracy[rounds] + personal + rng.normal(0, 0.05, clients), 0, 1)
    score = "correct" if metric == "accuracy" else metric
    columns[f"test_personal_{score}"] = np.round(own * tests, 6)
    if has_global:
        shared = np.clip(accuracy[rounds] + rng.normal(0, 0.08, clients), 0, 1)
        columns[f"test_global_{score}"] = np.round(shared * tests, 6)
    parquet.write_table(pa.table(columns), folder / "clients.parquet")
    return folder


def _is_method(label: str) -> bool:
    try:
        methods.resolve(label, {})
    except UsageError:
        return False
    return True


def _arguments(clients: int, seed: int, setting: dict[str, Any]) -> dict[str, Any]:
    """As prepared; an option that digits do not have stands as it was swept."""
    swept = {key.removeprefix("data."): value for key, value in setting.items() if key.startswith("data.")}
    options = {"clients": clients, "partition": "dirichlet:alpha=0.3", "seed": seed, **swept}
    try:
        options = arguments(read_options("digits", options))
    except UsageError:
        options["validation"] = 0.1
    return {key: value for key, value in options.items() if value is not None}


def _figures(metric: str, value: float) -> dict[str, float]:
    worse = max(value - 0.1, 0.0) if metric == "accuracy" else 1.5 * value
    return {
        metric: value,
        "loss": 1 - value,
        "client_mean": max(value - 0.01, 0.0),
        "worst_tenth": worse,
        "p10": worse,
        "std": 0.05,
    }


def curve(end: float, rounds: int = 20, every: int = 5) -> dict[int, float]:
    """A learning curve that ends at `end`."""
    return {
        r: end * (1 - 0.85 * float(np.exp(-4 * r / rounds))) if r < rounds else end for r in range(0, rounds + 1, every)
    }


WHAT = "test.personal.accuracy"


def experiment(**changes: Any) -> Experiment:
    """Methods that are none are FedAvg under another label."""
    content: dict[str, Any] = {
        "name": "made",
        "title": "Made",
        "seeds": [0, 1, 2, 3, 4],
        "data": {"name": "digits", "clients": 20, "partition": "dirichlet:alpha=0.3"},
        "model": {"name": "mlp", "hidden": [32]},
        "train": {"rounds": 20, "participation": 0.5, "local_epochs": 1, "eval_every": 5},
        "methods": {"actperfl": {}, "fedavg": {}, "local": {}},
    }
    content = {**content, **changes}
    known = {label: table for label, table in content["methods"].items() if table or _is_method(label)}
    content["methods"] = {label: known.get(label, {"method": "fedavg"}) for label in content["methods"]}
    return Experiment.model_validate(content)


def claim(left: str, right: str | float, relation: str = "greater", **rest: Any) -> dict[str, Any]:
    return {"id": "it", "text": "So it is", "left": left, "right": right, "relation": relation, **rest}


def five_seeds(root: Path, seeds: int = 5, **options: Any) -> None:
    """actperfl above fedavg by 0.03 give or take 0.004, local below both."""
    for seed in range(seeds):
        base = 0.90 + 0.01 * seed
        write_run(root, "actperfl", seed, curve(base + 0.03 + 0.002 * (seed - 2)), s0=0.3, **options)
        write_run(root, "fedavg", seed, curve(base), **options)
        write_run(root, "local", seed, curve(base - 0.1), has_global=False, **options)


def make(tmp_path: Path, **changes: Any) -> Report:
    return build(experiment(**changes), tmp_path / "runs", tmp_path / "results", [], "selffl report made")
