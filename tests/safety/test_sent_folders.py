"""What a folder that somebody sent can do: nothing outside of its place, no memory without bound, no wrong text."""

from __future__ import annotations

import errno
import fcntl
import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from run_folders import curve, write_run

from selffl_cli.config.experiment import Experiment, load_experiment
from selffl_cli.config.run import RunConfig
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.files.atomic import write_whole
from selffl_cli.files.locks import alone
from selffl_cli.planning.rerun import read_record
from selffl_cli.runs import folder as run_folder
from selffl_cli.runs.folder import METRICS, RECORD, RunFolder

NAMES = ("/elsewhere/escaped", "../../x", "..", ".", "a/b", "a\\b", "", "a\n", "~", "x" * 101, "\x1b[31m")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_record_is_no_path(name: str, tmp_path: Path) -> None:
    path = write_run(tmp_path, "fedavg", 0, curve(0.9))
    text = (path / RECORD).read_text()
    shown = json.dumps(name)
    for key, value in (("experiment", "made"), ("name", "digits")):
        (path / RECORD).write_text(text.replace(f'{key} = "{value}"', f"{key} = {shown}"))
        with pytest.raises(SelfflError):
            read_record(path / RECORD)
        with pytest.raises(SelfflError):
            _ = RunFolder(path).record
    (path / RECORD).write_text(text)
    result = json.loads((path / "result.json").read_text())
    (path / "result.json").write_text(json.dumps({**result, "files": {name: "0" * 64}}))
    with pytest.raises(SelfflError):
        _ = RunFolder(path).result


def test_a_record_names_its_data_and_seed() -> None:
    good = {
        "experiment": "e", "label": "l", "seed": 0, "data": {"name": "d", "hash": "h"}, "model": {"name": "mlp"},
        "train": {}, "method": {"name": "fedavg"}, "versions": {},
    }  # fmt: skip
    RunConfig.model_validate(good)
    for change in ({"data": {"name": "../d", "hash": "h"}}, {"data": {"hash": "h"}}, {"data": {"name": "d", "hash": 3}},
                   {"seed": -1}, {"seed": 2**31}):  # fmt: skip
        with pytest.raises(ValidationError):
            RunConfig.model_validate({**good, **change})


def test_a_link_in_a_sent_folder_leads_no_write_elsewhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / ".audit-membership.json.part").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        write_whole(run / "audit-membership.json", "{}")
    (run / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"), RunFolder(run).locked():
        pass
    (run / "lock").unlink()
    (run / METRICS).symlink_to(victim)
    with pytest.raises(SelfflError, match="is a link"), RunFolder(run).locked():
        pass
    (run / ".lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"), alone(run / ".lock"):
        pass
    assert victim.read_text() == "mine"


def test_grids_and_sweeps_are_counted_before_they_are_made(tmp_path: Path) -> None:
    lines = ['extends = "digits"', "[tuning]", "rounds = 1", "[tuning.grids.fedavg]"]
    lines += [f"k{i} = {list(range(10))}" for i in range(12)]
    path = tmp_path / "grid.toml"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match="1,000,000,000,000 trials"):
        load_experiment(str(path))
    content = load_experiment("digits").model_dump(exclude_none=True)
    with pytest.raises(ValidationError, match="settings; at most"):
        Experiment.model_validate({**content, "sweep": {f"data.k{i}": list(range(10)) for i in range(12)}})


def test_rounds_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_run(tmp_path, "fedavg", 0, curve(0.9))
    monkeypatch.setattr(run_folder, "MOST_ROUNDS", 10)
    with pytest.raises(SelfflError, match="21 rounds; at most 10"):
        RunFolder(path).metrics()


def test_a_file_system_without_locks_is_worked_on_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*words: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(fcntl, "lockf", none)
    said: list[str] = []
    with alone(tmp_path / "lock", said.append):
        pass
    with RunFolder(tmp_path / "run").locked(), RunFolder(tmp_path / "run").locked():
        pass
    words = capsys.readouterr().err
    assert len(said) == 1 and "has no locks" in said[0]
    assert words.count("has no locks") == 1 and words.count("\n") == 1
