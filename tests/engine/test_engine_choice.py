"""Which engine trains: as asked, as measured, as a run began; and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from problems import class_shards, training

from selffl_cli.cli.main import main
from selffl_cli.config.experiment import TrainConfig
from selffl_cli.engine import auto as choice
from selffl_cli.engine.auto import choose, measured_ratio, resumed_engine
from selffl_cli.errors import UsageError
from selffl_cli.models import MODELS
from selffl_cli.training.engine_timing import CASES, measure
from selffl_cli.training.loop import Controls, Stopped


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFFL_CACHE", str(tmp_path / "cache"))


def test_auto_goes_by_the_measured_table() -> None:
    """Small networks are stacked on the CPU, large ones and what was not measured are not; a GPU stacks."""
    assert choose("auto", "mlp", 4_810, "cpu").name == "stacked"
    assert choose("auto", "mlp", 1_000_000, "cpu").name == choose("auto", "lstm", 144_661, "cpu").name == "sequential"
    assert choose("auto", "an unmeasured one", 10, "cpu").name == "sequential"
    assert choose("auto", "lstm", 144_661, "cuda").name == "stacked"
    for asked in ("sequential", "stacked"):
        assert choose(asked, "mlp", 4_810, "cpu").name == asked
    assert choose("sequential", "mlp", 4_810, "cpu").ratio == 1 < choose("auto", "mlp", 4_810, "cpu").ratio


def test_ratios_between_measured_sizes() -> None:
    points = [[100, 4.0], [10_000, 2.0]]
    assert [measured_ratio(points, size) for size in (10, 100, 1000, 10_000, 10**6)] == [4, 4, pytest.approx(3), 2, 2]
    assert measured_ratio([], 5) is None


def test_this_machine_comes_before_the_package() -> None:
    choice.own_table().parent.mkdir(parents=True)
    choice.own_table().write_text(json.dumps({"cpu": {"ratios": {"mlp": [[10, 0.5]]}}}))
    assert choose("auto", "mlp", 4_810, "cpu").name == "sequential"
    for damaged in ("no JSON", "[1]", '{"cpu": 3}', '{"cpu": {"ratios": {"mlp": [["a"]]}}}'):
        choice.own_table().write_text(damaged)
        with pytest.raises(UsageError, match="doctor --measure"):
            choose("auto", "mlp", 4_810, "cpu")


def test_every_model_is_measured() -> None:
    assert {case.model for case in CASES} == set(MODELS)
    ((model, size, plain, stacked),) = measure(torch.device("cpu"), CASES[:1])
    assert (model, size) == ("softmax", 650) and plain > 0 and stacked > 0
    assert set(json.loads(choice.PACKAGED.read_text())["cpu"]["ratios"]) == set(MODELS)


def test_doctor_measures_this_machine_and_auto_goes_by_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("selffl_cli.machine.devices.default_device", lambda asked: "cpu")
    monkeypatch.setattr("selffl_cli.training.engine_timing.measure", lambda device: measure(device, CASES[:3]))
    assert main(["doctor", "--measure"]) == 0
    shown = capsys.readouterr().out
    assert "softmax" in shown and "4,810" in shown and max(map(len, shown.splitlines())) <= 80
    ratios = json.loads(choice.own_table().read_text())["cpu"]["ratios"]
    assert [size for size, _ in ratios["softmax"]] == [650, 7850] and list(ratios) == ["softmax", "mlp"]
    assert choose("stacked", "mlp", 4_810, "cpu").ratio == ratios["mlp"][0][1]
    assert main(["doctor", "--measure"]) == 0, "the table of before is read and replaced"


def test_a_run_keeps_the_engine_it_began_with(tmp_path: Path) -> None:
    """A table measured in between must not change the bits of a run that was stopped."""
    shards = class_shards(tmp_path / "shards")
    begun = training(tmp_path / "run", shards, "fedavg", controls=Controls(should_stop=lambda: True))
    assert begun.engine.name == "stacked"
    with pytest.raises(Stopped):
        begun.run()
    choice.own_table().parent.mkdir(parents=True)
    choice.own_table().write_text(json.dumps({"cpu": {"ratios": {"mlp": [[10, 0.5]]}}}))
    assert training(tmp_path / "other", shards, "fedavg").engine.name == "sequential"
    assert training(tmp_path / "run", shards, "fedavg").engine.name == "stacked"
    told = training(tmp_path / "run", shards, "fedavg", controls=Controls(engine="sequential"))
    assert told.engine.name == "sequential"
    assert resumed_engine({"device": "NVIDIA", "engine": "stacked"}, "cpu") == "auto"
    assert resumed_engine({"device": "cpu"}, "cpu") == "sequential", "of a run older than the choice"


def test_precision_is_part_of_the_run_and_the_engine_is_not(tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "shards")
    keys = {
        (precision, engine): training(
            tmp_path / "run", shards, "fedavg", dtype="float32", precision=precision, controls=Controls(engine=engine)
        ).config.key()
        for precision in ("float32", "bf16")
        for engine in ("sequential", "stacked")
    }
    assert keys["float32", "sequential"] == keys["float32", "stacked"] != keys["bf16", "stacked"]
    assert keys["bf16", "sequential"] == keys["bf16", "stacked"]
    with pytest.raises(UsageError, match="tf32"):
        training(tmp_path / "run", shards, "fedavg", dtype="float32", precision="tf32")
    with pytest.raises(ValueError, match="float32"):
        TrainConfig(dtype="float64", precision="bf16")


def test_bad_words_are_one_line(tmp_path: Path) -> None:
    assert main(["train", "digits", "--engine", "fast", "--runs", str(tmp_path / "runs")]) == 2
    assert not (tmp_path / "runs").exists()
