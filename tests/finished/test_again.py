"""A finished run judged again from its models, and run again from its record."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save
from tiny import TOML, arguments, make_place, only_run

from selffl_cli.cli.main import main
from selffl_cli.files.checksums import seal, unseal
from selffl_cli.runs.folder import FILES, MODELS, RECORD, RESULT, RunFolder
from selffl_cli.shards import sha256

SHORT = ["--rounds", "4"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_place(tmp_path_factory.mktemp("place"), SHORT)
    warm = TOML.replace('"tiny"', '"warm"').replace("rounds = 40", "rounds = 3")
    (folder / "warm.toml").write_text(warm + '[warm_start]\nmethod = "fedavg-w"\nrounds = 2\n')
    return folder


@pytest.fixture
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


def vouched(run: Path, **changes: object) -> None:
    """Change a finished run's result and seal it again, as somebody would who edits a record."""
    result = unseal(json.loads((run / RESULT).read_text()))
    result |= changes
    result["files"] = {name: sha256(run / name) for name in FILES if (run / name).exists()}
    (run / RESULT).write_text(json.dumps(seal(result)))


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--set", "train.new_clients=0.3"],
        ["--set", "train.eval_clients=3"],
        ["--set", "train.learning_rate=1e6"],
    ],
    ids=["plain", "new clients", "a sample of clients", "diverged"],
)
def test_verify_finds_a_run_equal(
    options: list[str], inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(str(tmp_path)), *SHORT, *options]) == 0
    capsys.readouterr()
    assert main(["eval", str(only_run(tmp_path)), "--verify"]) == 0
    said = capsys.readouterr().out
    assert "equal, " in said and "NOT" not in said
    assert ("not verified: new clients" in said) == ("train.new_clients=0.3" in options)


def test_verify_finds_other_models_and_other_figures(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even of a run whose checksums all agree."""
    shutil.copytree(inside / "whole", tmp_path / "runs")
    run = only_run(tmp_path / "runs")
    tensors = load_file(run / MODELS)
    layout = {"layout": json.dumps({name[7:]: list(t.shape) for name, t in tensors.items() if name != "personal"})}
    tensors["personal"][3] += 0.01
    (run / MODELS).write_bytes(save(tensors, layout))
    vouched(run)
    assert main(["eval", str(run), "--verify"]) == 1
    shown = capsys.readouterr()
    assert "NOT equal" in shown.out and "personal loss" in shown.out and "global" not in shown.out
    assert "1 of 1 runs are not equal" in shown.err

    shutil.copy(only_run(inside / "whole") / MODELS, run / MODELS)
    final = RunFolder(only_run(inside / "whole")).result["final"]  # type: ignore[index]
    final["test"]["global"]["accuracy"] += 1e-16 + 2**-52
    vouched(run, final=final)
    assert main(["eval", str(run), "--verify"]) == 1
    assert "test global accuracy: recorded" in capsys.readouterr().out


def test_verify_says_what_was_not_kept(inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments(str(tmp_path)), *SHORT, "--keep-models", "global"]) == 0
    capsys.readouterr()
    assert main(["eval", str(only_run(tmp_path)), "--verify"]) == 0
    assert "not verified: personal models were not kept" in capsys.readouterr().out


def test_a_record_runs_again(inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the folder into a new one beside it; from run.toml alone, with two workers, somewhere else."""
    run = only_run(inside / "whole")
    assert main(["rerun", str(run), "--runs", "whole"]) == 0
    assert "the same to the bit" in capsys.readouterr().out
    assert only_run(inside / "whole-again").name == run.name
    shutil.copy(run / RECORD, tmp_path / "mine.toml")
    words = ["rerun", str(tmp_path / "mine.toml"), "--runs", str(tmp_path / "runs"), "--workers", "2"]
    assert main(words) == 0
    assert "nothing to compare with" in capsys.readouterr().out
    assert only_run(tmp_path / "runs").name == run.name
    assert main([*words, "--set", "train.rounds=3"]) == 2
    assert "no such option: --set" in capsys.readouterr().err


def test_a_record_with_a_warm_start_is_enough(inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run that made the start is run again too."""
    words = ["train", "warm.toml", "--data", "./blobs", "-m", "fedavg"]
    assert main([*words, "--runs", str(tmp_path / "first")]) == 0
    (run,) = (tmp_path / "first").glob("warm/*-fedavg-*")
    (start,) = (tmp_path / "first").glob("warm/*-warm-start-*")
    shutil.rmtree(start)
    capsys.readouterr()
    assert main(["rerun", str(run), "--runs", str(tmp_path / "second")]) == 0
    assert "the same to the bit" in capsys.readouterr().out
    assert (tmp_path / "second" / "warm" / start.name / RESULT).exists()


def test_another_outcome_is_named(inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(inside / "whole", tmp_path / "runs")
    run = only_run(tmp_path / "runs")
    lines = RunFolder(run).metrics()
    lines[2]["train_loss"] += 1e-9
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    vouched(run)
    assert main(["rerun", str(run), "--runs", str(tmp_path / "again")]) == 1
    shown = capsys.readouterr()
    assert "differs: round 2: train_loss" in shown.out and "other numbers than" in shown.err


def test_data_of_a_record_is_prepared_again(inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "digits", "-m", "fedavg", "-r", "1", "--seeds", "0", "--set", "data.clients=4", "--workers", "1"]
    assert main([*words, "--runs", str(tmp_path / "runs"), "--data", f"{tmp_path}/data/"]) == 0
    shutil.rmtree(tmp_path / "data")
    (run,) = (tmp_path / "runs").glob("digits/*")
    again = ["rerun", str(run), "--runs", str(tmp_path / "again"), "--data", f"{tmp_path}/new/"]
    assert main(again) == 0
    assert "the same to the bit" in capsys.readouterr().out


def test_what_a_record_needs_and_lacks_is_said(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = (only_run(inside / "whole") / RECORD).read_text()
    for old, new, says in (
        ("engine = 1", "engine = 0", "version 0 of the engine"),
        ('path = "blobs"', 'path = "gone"', "give it by --data FOLDER or --source FILE"),
        ('init = ""', 'init = "0123456789abcdef"', "sha256 0123456789abcdef.*--init FILE"),
    ):
        assert old in record or "path" in old
        changed = record.replace(old, new) if old in record else record.replace('path = "./blobs"', new)
        (tmp_path / "run.toml").write_text(changed)
        assert main(["rerun", str(tmp_path / "run.toml"), "--runs", str(tmp_path / "runs")]) == 1
        error = capsys.readouterr().err
        assert re.search(says, error) and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()
