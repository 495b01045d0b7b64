"""Tuning gives every method the same number of trials, reads validation data alone, and is used from then on."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selffl_cli.cli.main import app
from selffl_cli.config.experiment import experiment_names, load_experiment
from selffl_cli.errors import UsageError
from selffl_cli.methods import build
from selffl_cli.planning.plan import resolve_method
from selffl_cli.planning.tuning import with_options

EXPERIMENT = """
name = "tune-me"
seeds = [0]
data = { name = "digits", clients = 4 }
model = { name = "softmax" }
train = { rounds = 3, eval_every = 3 }
[methods.fedavg]
[methods.ditto]
[tuning]
seed = 100
rounds = 2
[tuning.grids.fedavg]
"train.learning_rate" = [1e-6, 0.3]
[tuning.grids.ditto]
lam = [0.1, 1]
"""


def invoke(place: Path, *options: str, text: str = EXPERIMENT, command: str = "train"):
    (place / "tune-me.toml").write_text(text)
    return CliRunner().invoke(app, [command, str(place / "tune-me.toml"), "--runs", str(place / "runs"),
                                    "--data", f"{place}/data/", "--workers", "1", *options])  # fmt: skip


def tune(place: Path, *options: str, text: str = EXPERIMENT):
    return invoke(place, *options, text=text, command="tune")


def test_the_better_trial_on_validation_data_is_chosen_and_used(tmp_path: Path) -> None:
    assert tune(tmp_path).exit_code == 0
    record = json.loads((tmp_path / "runs/tune-me/tuning.json").read_text())
    assert len(record["trials"]) == 4 and record["part"] == "validation"
    assert record["chosen"]["fedavg"] == {"train.learning_rate": 0.3}  # 1e-6 learns nothing
    for trial in record["trials"]:
        folder = tmp_path / "runs/tune-me/tuning" / trial["run"]
        final = json.loads((folder / "result.json").read_text())["final"]
        assert set(final) == {"validation"}  # test data was never scored
        assert final["validation"]["personal"]["accuracy"] == trial["score"]
    assert invoke(tmp_path).exit_code == 0
    (run,) = (tmp_path / "runs/tune-me").glob("digits-fedavg-s0-*/run.toml")
    assert "learning_rate = 0.3" in run.read_text()


def test_grids_of_unequal_size_are_refused(tmp_path: Path) -> None:
    result = tune(tmp_path, text=EXPERIMENT.replace("lam = [0.1, 1]", "lam = [0.1, 1, 2]"))
    assert isinstance(result.exception, UsageError) and "3" in str(result.exception)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("key", "near"), [("lamda", "lam"), ("train.rate", "learning_rate")])
def test_a_grid_over_an_option_that_does_not_exist_is_refused(tmp_path: Path, key: str, near: str) -> None:
    result = tune(tmp_path, text=EXPERIMENT.replace("lam =", f'"{key}" ='))
    assert isinstance(result.exception, UsageError) and near in str(result.exception)
    assert not list(tmp_path.glob("runs/**/result.json"))


def test_trials_of_an_experiment_with_a_warm_start_find_its_model(tmp_path: Path) -> None:
    text = EXPERIMENT.replace("[methods.fedavg]", "warm_start = { rounds = 1 }\n[methods.fedavg]")
    result = tune(tmp_path, text=text)  # trials keep no models, the start keeps its own
    assert result.exit_code == 0, result.exception


def test_a_choice_of_another_tuning_table_is_not_used(tmp_path: Path) -> None:
    """Nor left standing beside trials of another length, when one method alone is tuned again."""
    assert tune(tmp_path).exit_code == 0
    runs = set((tmp_path / "runs").rglob("result.json"))
    for old, new in (("[0.1, 1]", "[0.2, 2]"), ("rounds = 2\n[tuning.", "rounds = 1\n[tuning."), ("= 100", "= 101")):
        other = EXPERIMENT.replace(old, new)
        result = invoke(tmp_path, "--seeds", "1", text=other)
        assert isinstance(result.exception, UsageError), new
        assert "ditto was tuned under another" in str(result.exception) or "fedavg was" in str(result.exception)
    assert set((tmp_path / "runs").rglob("result.json")) == runs
    other = EXPERIMENT.replace("[0.1, 1]", "[0.2, 2]")
    assert invoke(tmp_path, "--method", "fedavg", "--dry-run", text=other).exit_code == 0  # its own grid is the same
    assert tune(tmp_path, "--method", "ditto", text=other).exit_code == 0
    record = json.loads((tmp_path / "runs/tune-me/tuning.json").read_text())
    assert record["chosen"]["fedavg"] == {"train.learning_rate": 0.3} and len(record["trials"]) == 4
    assert record["chosen"]["ditto"]["lam"] in (0.2, 2)
    shorter = other.replace("rounds = 2\n[tuning.", "rounds = 1\n[tuning.")
    assert tune(tmp_path, "--method", "ditto", text=shorter).exit_code == 0
    record = json.loads((tmp_path / "runs/tune-me/tuning.json").read_text())
    assert {trial["label"] for trial in record["trials"]} == {"ditto"} == set(record["chosen"])


def test_a_choice_made_for_something_else_is_not_used(tmp_path: Path) -> None:
    """A rate that was tuned for one model, data set or batch says nothing of another."""
    assert tune(tmp_path).exit_code == 0
    for key, words in (
        ("model.name='mlp'", "model softmax"),
        ("data.clients=5", "clients 4"),
        ("train.batch_size=7", "batch_size 10"),
    ):
        result = invoke(tmp_path, "--set", key, "--method", "fedavg", "--rounds", "1")
        assert result.exit_code == 0 and f"fedavg was tuned for other runs ({words}" in " ".join(result.output.split())
    rates = [
        tomllib.loads(path.read_text())["train"]["learning_rate"]
        for path in (tmp_path / "runs").glob("tune-me/*/run.toml")
    ]
    assert rates == [0.1] * 3
    assert invoke(tmp_path, "--method", "fedavg", "--rounds", "1").exit_code == 0  # shorter, but the same in all else
    rates = [
        tomllib.loads(path.read_text())["train"]["learning_rate"]
        for path in (tmp_path / "runs").glob("tune-me/*/run.toml")
    ]
    assert sorted(rates) == [0.1, 0.1, 0.1, 0.3]


TUNED = [name for name in experiment_names() if load_experiment(name).tuning]


@pytest.mark.parametrize("name", TUNED)
def test_every_trial_of_a_shipped_grid_can_learn(name: str) -> None:
    """Each method of the experiment has a grid; every trial's options exist and are pairwise different; pFedMe's lie
    within its bounds, inner_rate x lam < 2 and lam x outer_rate < 2, beyond which its steps climb."""
    experiment = load_experiment(name)
    assert experiment.tuning is not None and set(experiment.tuning.grids) == set(experiment.methods)
    for label, trials in experiment.tuning.trials().items():
        assert all(one != other for i, one in enumerate(trials) for other in trials[:i])
        for options in trials:
            tried = with_options(experiment, label, options)
            resolved = resolve_method(tried, label, tried.methods[label])
            if resolved.method["name"] == "pfedme":
                own = build(resolved.method).options  # type: ignore[attr-defined]
                outer = resolved.train.learning_rate if own.outer_rate == "learning_rate" else own.outer_rate
                assert own.inner_rate * own.lam < 2 and own.lam * outer < 2, options
