"""Every shipped experiment asks for the same runs, and makes the same claims, as it did when its results were made.

tests/golden/run_hashes.json holds, for each experiment, the hash of every run of its first seed (all methods, all
settings of its sweep, the warm start) and a digest of each table that changes no run. A file of experiments may be
written in another way as long as this test passes; where a run is meant to change, remake the golden file with
`python tests/config/test_run_hashes.py` and say why in the commit.

No data are needed: a stand-in takes the place of the shards, and its hash covers the whole [data] table.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selffl_cli.config.experiment import Experiment, experiment_names, load_experiment
from selffl_cli.planning import plan as planning

GOLDEN = Path(__file__).parents[1] / "golden" / "run_hashes.json"
TABLES = ("seeds", "methods", "tuning", "sweep", "report", "claims")


def digest(content: Any) -> str:
    """Eight hexadecimal digits; the order of keys counts, since methods are listed and tried in their order."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


def stand_in(name: str, options: dict[str, Any], folder: Path, source: str | None) -> Path:
    """In place of `find_or_prepare`: a path that names the data set and all that was asked of it."""
    return Path(f"{name}-{digest(sorted([*options.items(), ('source', source)]))}")


def stand_in_shards(path: Path) -> SimpleNamespace:
    """In place of `Shards.open`: what a run's record says of its data, with the path as the hash."""
    manifest = SimpleNamespace(
        name=path.name.rpartition("-")[0], partition="", clients=1, arguments={}, sources=[], classes=[]
    )
    return SimpleNamespace(path=path, hash=path.name, manifest=manifest)


def resolved(name: str) -> dict[str, Any]:
    """{"runs": {setting, label and seed: run hash}, "tables": {table: digest}} of a shipped experiment."""
    experiment: Experiment = load_experiment(name)
    planned = planning.plan(planning.Request(experiment, seeds=experiment.seeds[:1]))
    runs = {}
    for run in planned:
        record = run.config
        setting = "".join(f"{key}={value} " for key, value in record.setting.items())
        runs[f"{setting}{record.label} s{record.seed}"] = record.key()
    content = experiment.model_dump(mode="json", exclude_defaults=True)
    return {"runs": runs, "tables": {table: digest(content[table]) for table in TABLES if table in content}}


def without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for everything that would read shards; what privacy costs is one fixed noise."""
    monkeypatch.setattr("data_prep.prepare.find_or_prepare", stand_in)
    monkeypatch.setattr(planning.Shards, "open", stand_in_shards)
    for check in ("check_model", "check_sampler", "check_stop", "check_periods"):
        monkeypatch.setattr(planning, check, lambda *arguments: None)
    monkeypatch.setattr(planning, "budget_of", lambda *arguments: SimpleNamespace(noise=1.5))


def test_the_golden_file_lists_every_shipped_experiment() -> None:
    assert sorted(json.loads(GOLDEN.read_text())) == experiment_names()


@pytest.mark.parametrize("name", experiment_names())
def test_runs_and_claims_are_those_of_the_golden_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without_data(monkeypatch)
    assert resolved(name) == json.loads(GOLDEN.read_text())[name]


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        without_data(patch)
        GOLDEN.write_text(json.dumps({name: resolved(name) for name in experiment_names()}, indent=1) + "\n")
