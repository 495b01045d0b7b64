"""A stranger's sampler, as docs/own-data.md prints it: drawn by, recorded with its code, resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import files
from problems import class_shards
from tiny import TOML, comparable

from selffl_cli.cli.main import main
from selffl_cli.config.sampler import sampler
from selffl_cli.config.train import TrainConfig
from selffl_cli.errors import UsageError
from selffl_cli.launchers.one import Stop
from selffl_cli.runs.folder import RunFolder

SPEC = "my_sampler.py:Small:power=3"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    class_shards(tmp_path / "blobs", clients=7)
    (tmp_path / "my_sampler.py").write_text(files("own-data.md")["my_sampler.py"])
    changed = TOML.replace("rounds = 40", f'rounds = 8\nsampler = "{SPEC}"')
    (tmp_path / "tiny.toml").write_text(changed.replace("local_epochs = 6", "local_epochs = 1"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*more: str, runs: str = "runs") -> list[Path]:
    words = ["train", "tiny.toml", "--data", "./blobs", "--method", "fedavg", "--jobs", "1", "--runs", runs]
    assert main([*words, *more]) == 0
    return [path.parent for path in Path(runs).glob("tiny/*/run.toml")]


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_a_sampler_from_outside_is_drawn_by_and_reported(engine: str, place: Path) -> None:
    (run,) = train("--engine", engine)
    record, path = RunFolder(run).record, str(place / "my_sampler.py")
    assert record["train"]["sampler"] == f"{path}:Small:power=3.0"
    assert list(record["code"]) == [f"{path}:Small"]
    assert main(["report", "tiny.toml", "--runs", "runs", "--out", "page"]) == 0
    file = place / "my_sampler.py"
    file.write_text(file.read_text() + "\n# changed\n")
    assert len(train("--engine", engine)) == 2


def test_the_folder_of_the_file_makes_no_other_run(place: Path) -> None:
    first = train()
    (place / "elsewhere").mkdir()
    (place / "my_sampler.py").rename(place / "elsewhere" / "my_sampler.py")
    toml = place / "tiny.toml"
    toml.write_text(toml.read_text().replace(SPEC, f"elsewhere/{SPEC}"))
    assert train() == first


def test_a_stopped_run_resumes_to_the_same_bits(place: Path) -> None:
    (whole,) = train(runs="whole")
    with pytest.MonkeyPatch.context() as patch:
        calls: list[None] = []
        patch.setattr(Stop, "__call__", lambda self: calls.append(None) or len(calls) > 4)
        train("--workers", "1", runs="broken")
    assert not list(Path("broken").glob("tiny/*/result.json"))
    assert comparable(train(runs="broken")[0]) == comparable(whole)


def test_reading_a_record_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    train = TrainConfig(sampler=f"{tmp_path / 'evil.py'}:Evil:x=1", metrics=[f"{tmp_path / 'evil.py'}:Evil"])
    assert train.sampler.endswith("evil.py:Evil:x=1") and train.cohort_size(10) == 10


WRONG = {
    "no class": ("m.py:Mine", r"m.py has no class Mine \(did you mean 'Mined'"),
    "wrong base": ("m.py:Other", "does not derive from selffl.Sampler"),
    "unknown option": ("m.py:Mined:powr=1", "unknown key 'powr' .did you mean 'power'"),
    "missing option": ("m.py:Needs", "power is missing; write m.py:Needs:power=…"),
    "unknown": ("unifrm", "unknown sampler 'unifrm' .did you mean 'uniform'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.py").write_text(
        "from selffl import Sampler\nclass Mined(Sampler):\n    power: float = 1.0\nclass Other: pass\n"
        "class Needs(Sampler):\n    power: float\n"
    )
    monkeypatch.chdir(tmp_path)
    name, words = WRONG[case]
    with pytest.raises(UsageError, match=words) as error:
        sampler(name)
    assert "\n" not in str(error.value)
