"""`--stack-seeds`: runs of several seeds trained as one computation are the runs that each would have been alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import class_shards
from safetensors.torch import load_file

from selffl_cli.cli.main import main
from selffl_cli.config.experiment import load_experiment
from selffl_cli.engine.stacked.joint_seeds import same_step
from selffl_cli.launchers.joint_seeds import StackedSeeds, by_method
from selffl_cli.launchers.one import Outcome, Stop
from selffl_cli.launchers.queue import Display, Queue
from selffl_cli.planning.plan import PlannedRun, Request, plan
from selffl_cli.runs.folder import METRICS, MODELS, RESULT
from selffl_cli.shards.writer import ShardData, write_shards
from selffl_cli.training.controls import Controls
from selffl_cli.training.loop import Training

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
TOML = """
name = "tiny"
[data]
name = "blobs"
[model]
name = "mlp"
hidden = [6]
[train]
rounds = 4
participation = 0.6
local_epochs = 2
batch_size = 5
learning_rate = 0.1
eval_every = 2
dtype = "float64"
[warm_start]
method = "fedavg"
rounds = 2
[methods]
actperfl = { intra = "within-round" }
hb = { method = "actperfl-hb" }
curvature = { method = "actperfl", steps = "curvature" }
fedavg = {}
fedavg-ft = {}
fedprox = {}
ditto = {}
perfedavg = {}
hf = { method = "perfedavg", variant = "HF" }
pfedme = { inner_steps = 2 }
apfl = { adaptive = true }
fedrep = {}
local = {}
"""
TEXTS = """
name = "texts"
[data]
name = "texts"
[model]
name = "lstm"
hidden = 4
dense = 3
[train]
rounds = 3
batch_size = 4
learning_rate = 0.5
dtype = "float64"
[methods.ditto]
"""


def planned(toml: Path, data: list[Path], runs: str, **overrides: Any) -> list[PlannedRun]:
    """The experiment's runs of seeds 0, 1, …, each on shards of its own."""
    experiment = load_experiment(str(toml), {f"train.{key}": value for key, value in overrides.items()})
    return [
        run
        for seed, folder in enumerate(data)
        for run in plan(Request(experiment, seeds=[seed], data=folder, runs=toml.parent / runs))
    ]


def carry_out(runs: list[PlannedRun], most: int, stop: Stop | None = None) -> tuple[Outcome, StackedSeeds]:
    stop = stop or Stop()
    launcher = StackedSeeds(most, stop, Controls(keep="personal", checkpoint_seconds=0))
    return Queue(by_method(runs), launcher, Display(), stop).run(), launcher


def assert_same(one: Path, other: Path) -> None:
    """Metrics, models and clients' figures but for times, up to the order of sums in float64."""
    lines = [[json.loads(line) for line in (p / METRICS).read_text().splitlines()] for p in (one, other)]
    for line in (*lines[0], *lines[1]):
        line.pop("time")
    assert_close(*lines)
    models = [load_file(p / MODELS) for p in (one, other)]
    torch.testing.assert_close(*models, rtol=1e-9, atol=1e-11)


def assert_close(one: Any, other: Any) -> None:
    if isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-11)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_close(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_close(a, b)
    else:
        assert one == other


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TOML)
    return path


def test_every_method_gives_what_each_seed_gives_alone(toml: Path) -> None:
    """Three seeds on data of different numbers of clients and samples; all trainings meet, warm starts too."""
    data = [toml.parent / name for name in "abc"]
    for seed, (folder, clients, samples) in enumerate(zip(data, (5, 7, 6), (12, 9, 14), strict=True)):
        class_shards(folder, clients=clients, seed=seed, samples=samples)
    together, launcher = carry_out(planned(toml, data, "together"), 3)
    alone, other = carry_out(planned(toml, data, "alone"), 1)
    assert len(together.done) == len(alone.done) == 3 * 14
    assert (launcher.together.largest, other.together.largest) == (3, 0)
    assert not launcher.together.places and not launcher.together.wanted and not launcher.together.given
    folders = sorted(path.parent for path in (toml.parent / "alone").rglob(RESULT))
    for folder in folders:
        assert_same(folder, toml.parent / "together/tiny" / folder.name)


def test_texts_with_words_of_their_own_stand_side_by_side(tmp_path: Path) -> None:
    """Each seed's tokens number another table of frozen vectors."""
    path, data = tmp_path / "texts.toml", []
    path.write_text(TEXTS)
    for seed, words in enumerate((9, 14)):
        rng = np.random.default_rng(seed)
        x = rng.integers(1, words, (40, 6)).astype(np.int32)
        x[rng.random(40) < 0.5, 4:] = 0
        table = rng.normal(size=(words, 5)).astype(np.float32)
        table[0] = 0
        client, part = np.repeat(np.arange(4), 10), np.tile([0] * 7 + [1, 2, 2], 4)
        arrays = {"x": x, "y": rng.integers(0, 2, 40)}
        names, classes = [str(i) for i in range(4)], ["negative", "positive"]
        data.append(tmp_path / f"words{words}")
        write_shards(data[-1], ShardData(
            "texts", "made", "classification", arrays, client, part, names, classes, shared={"embedding": table},
        ))  # fmt: skip
    _, launcher = carry_out(planned(path, data, "together"), 2)
    carry_out(planned(path, data, "alone"), 1)
    assert launcher.together.largest == 2
    for folder in (tmp_path / "alone/texts").glob("*-*"):
        assert_same(folder, tmp_path / "together/texts" / folder.name)


def test_a_seed_that_diverges_spoils_no_other(toml: Path) -> None:
    data = [toml.parent / name for name in "ab"]
    rng = np.random.default_rng(0)
    for folder, scale in zip(data, (1, 1e200), strict=True):
        arrays = {"x": scale * rng.normal(size=(60, 4)), "y": rng.integers(0, 3, 60)}
        client, part = np.repeat(np.arange(3), 20), np.tile([0] * 14 + [1, 2] * 3, 3)
        names = list("123")
        write_shards(folder, ShardData("blobs", "made", "classification", arrays, client, part, names, list("abc")))
    outcome, _ = carry_out([run for run in planned(toml, data, "together") if run.config.label == "warm-start"], 2)
    carry_out([run for run in planned(toml, data, "alone") if run.config.label == "warm-start"], 1)
    assert (len(outcome.done), len(outcome.diverged)) == (1, 1)
    (good,) = [folder.path for folder in outcome.done]
    assert_same(toml.parent / "alone/tiny" / good.name, good)


def test_stopped_runs_go_on_alone_or_together(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the second round of the runs behind the two warm starts, which have two rounds each."""
    data = [toml.parent / name for name in "ab"]
    for seed, folder in enumerate(data):
        class_shards(folder, seed=seed)

    whole, rounds = Training._account, list[int]()

    class AfterSome(Stop):
        def __call__(self) -> bool:
            return len(rounds) > 6

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_account", lambda *a: (rounds.append(a[1].round), whole(*a))[1])
        outcome, _ = carry_out(planned(toml, data, "together"), 2, AfterSome())
    assert outcome.stopped and not outcome.failed
    broken = [path for path in (toml.parent / "together/tiny").glob("*-*") if not (path / RESULT).exists()]
    assert broken and all((path / METRICS).exists() for path in broken)
    carry_out(planned(toml, data, "together"), 2)
    carry_out(planned(toml, data, "alone"), 1)
    for folder in (toml.parent / "alone/tiny").glob("*-*"):
        assert_same(folder, toml.parent / "together/tiny" / folder.name)


def test_a_run_that_fails_lets_the_others_go_on(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = [toml.parent / name for name in "abc"]
    for seed, folder in enumerate(data):
        class_shards(folder, seed=seed)
    whole = Training._account

    def fails(self: Training, cohort: Any, collective: Any) -> Any:
        if self.config.seed == 1 and cohort.round == 2:
            raise ValueError("on purpose")
        return whole(self, cohort, collective)

    monkeypatch.setattr(Training, "_account", fails)
    runs = [run for run in planned(toml, data, "together") if run.config.label == "warm-start"]
    outcome, _ = carry_out(runs, 3)
    assert len(outcome.done) == 2 and [why for _, why in outcome.failed] == ["ValueError: on purpose"]


def test_steps_are_one_only_if_they_hold_the_same() -> None:
    def make(eta: float, mask: torch.Tensor) -> Any:
        def step(params: torch.Tensor, grad: Any) -> torch.Tensor:
            return params - eta * mask * grad(params)

        return step

    ones, other = torch.ones(3), torch.tensor([1.0, 1, 0])
    assert same_step(make(0.1, ones), make(0.1, torch.ones(3)))
    assert not same_step(make(0.1, ones), make(0.2, ones))
    assert not same_step(make(0.1, ones), make(0.1, other))
    assert not same_step(make(0.1, ones), lambda params, grad: params)


def test_methods_stand_together_and_warm_starts_first(toml: Path) -> None:
    class_shards(toml.parent / "a")
    order = [run.config.label for run in by_method(planned(toml, [toml.parent / "a"] * 2, "runs"))]
    assert order[:2] == ["warm-start"] * 2 and order[2::2] == order[3::2] and len(order) == 28


@pytest.mark.parametrize("more", [["--jobs", "2"], ["--workers", "2"], ["--engine", "sequential"]])
def test_one_process_alone(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--stack-seeds", "5", *more]) == 2
    assert capsys.readouterr().err.startswith("error: --stack-seeds")


def test_the_command(toml: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    class_shards(toml.parent / "blobs")
    monkeypatch.chdir(toml.parent)
    train = ["train", "tiny.toml", "--data", "./blobs", "--seeds", "0,1", "-m", "fedavg", "--runs", "runs"]
    assert main([*train, "--stack-seeds", "8"]) == 0
    shown = capfd.readouterr()
    assert shown.out.count(" done in ") == 4 and shown.err == ""
    assert main([*train, "--stack-seeds", "8"]) == 0
    assert " done in " not in capfd.readouterr().out
