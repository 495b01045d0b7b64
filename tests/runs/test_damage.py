"""Flipped bits and cuts: in whatever file, they are found and named before a number is trained on or reported."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny import arguments, comparable, make_place, only_run

from selffl_cli.cli.main import main
from selffl_cli.config.experiment import load_experiment
from selffl_cli.errors import SelfflError
from selffl_cli.files.checksums import seal, unseal
from selffl_cli.report.collect import collect
from selffl_cli.runs.folder import CHECKPOINT, ENVIRONMENT, FILES, METRICS, RECORD, RESULT, RunFolder
from selffl_cli.shards import Shards

FLIPS = 12  # of each file; `pytest tests/runs/test_damage.py --flips 1000` for more


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("place"))


@pytest.fixture
def flips(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--flips") or FLIPS


def flipped(path: Path, count: int) -> Iterator[str]:
    """The file with one bit of it flipped, `count` times, then with its end cut off, empty, and gone."""
    content, rng = path.read_bytes(), random.Random(path.name)
    for _ in range(count):
        place, bit = rng.randrange(len(content)), rng.randrange(8)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        yield f"bit {bit} of byte {place} flipped"
    for length in (len(content) - 1, len(content) // 2, 0):
        path.write_bytes(content[:length])
        yield f"cut to {length} bytes"
    path.unlink()
    yield "gone"
    path.write_bytes(content)


def every_reading(run: Path) -> tuple:
    """All that reports and evaluation take from a run folder."""
    from selffl_cli.finished.run import FinishedRun

    folder = RunFolder.open(run)
    assert folder.result is not None, "a run without a result is named as not finished"
    scored = FinishedRun.open(run, None)
    theta, rows = scored.global_(), scored.personal()
    assert theta is not None and rows is not None
    values = folder.record, folder.result, folder.environment, folder.metrics(), folder.clients.to_pydict()
    return repr(values), theta.tolist(), rows.tolist()


@pytest.mark.parametrize("name", [*(name for name in FILES if name not in ("scores.parquet", "evidence.json")), RESULT])
def test_damage_to_a_finished_run_is_found(
    name: str, place: Path, tmp_path: Path, flips: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either the file is named, or (a flipped space, the case of a digit) every value is what it was."""
    monkeypatch.chdir(place)
    run = tmp_path / only_run(place / "whole").name
    shutil.copytree(only_run(place / "whole"), run)
    whole, named = every_reading(run), 0
    for harm in flipped(run / name, flips):
        try:
            read = every_reading(run)
        except (SelfflError, AssertionError) as error:
            assert name in str(error) or "not finished" in str(error), harm
            named += 1
        else:
            assert read == whole, harm
    assert named > 0.8 * flips and every_reading(run) == whole


def test_a_report_names_the_damaged_run(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    shutil.copytree(place / "whole", tmp_path / "runs")
    metrics = only_run(tmp_path / "runs") / METRICS
    text = metrics.read_bytes()
    metrics.write_bytes(text.replace(b'"accuracy": 0.', b'"accuracy": 1.', 1))
    with pytest.raises(SelfflError, match=f"{METRICS}: is damaged .*delete the folder .* and train the run again"):
        collect(load_experiment("tiny.toml"), tmp_path / "runs")


@pytest.mark.parametrize(
    "name", ["manifest.json", "clients.parquet", "train.safetensors", "validation.safetensors", "test.safetensors"]
)
def test_damage_to_shards_is_found(name: str, place: Path, tmp_path: Path, flips: int) -> None:
    shutil.copytree(place / "blobs", tmp_path / "blobs")
    whole, named = Shards.open(place / "blobs").manifest, 0
    for harm in flipped(tmp_path / "blobs" / name, flips):
        try:
            read = Shards.open(tmp_path / "blobs").manifest
        except SelfflError as error:
            assert any(words in str(error) for words in (name, "no shards here", "shards of format")), harm
            named += 1
        else:
            assert read.model_dump(exclude={"sha256"}) == whole.model_dump(exclude={"sha256"}), harm
    assert named > 0.8 * flips


SHORT = ["--rounds", "6"]


@pytest.fixture(scope="module")
def stopped(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a run that was stopped after round 4 of 6, and of one that was not."""
    from selffl_cli.launchers.one import Stop
    from selffl_cli.training.loop import Training

    runs = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main([*arguments(str(runs / "whole")), *SHORT]) == 0
        rounds: list[int] = []
        real = Training._account
        patch.setattr(Training, "_account", lambda *a: (rounds.append(a[1].round), real(*a))[1])
        patch.setattr(Stop, "__call__", lambda self: len(rounds) == 4)
        main([*arguments(str(runs / "stopped")), *SHORT])
    return only_run(runs / "stopped"), only_run(runs / "whole")


@pytest.mark.parametrize("kind", ["manifest", "server", "rows", METRICS, RECORD, ENVIRONMENT])
def test_damage_to_an_unfinished_run_is_mended(
    kind: str, place: Path, stopped: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the older checkpoint where that is whole, else from the start; the end is that of the undisturbed run."""
    broken, whole = tmp_path / "runs" / "tiny" / stopped[0].name, RunFolder(stopped[1])
    monkeypatch.chdir(place)
    for change in (halved, turned, absent, recounted):
        if change is recounted and kind != "manifest":
            continue
        shutil.copytree(stopped[0], broken)
        path = sorted((broken / CHECKPOINT).glob(f"{kind}-*"))[-1] if not (broken / kind).exists() else broken / kind
        change(path)
        assert main([*arguments(str(tmp_path / "runs")), *SHORT]) == 0
        ended = RunFolder(broken)
        assert comparable(broken) == comparable(stopped[1]) and ended.record == whole.record, change.__name__
        assert ended.result and whole.result and ended.result["gradients"] == whole.result["gradients"]
        shutil.rmtree(broken)


def recounted(path: Path) -> None:
    """A manifest that reads well but with a digit that is another: its counts become numbers of the result."""
    content = json.loads(path.read_text())
    content["counts"]["gradients"] += 1
    path.write_text(json.dumps(content))


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def turned(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def absent(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    "change", [lambda c: {**c, "a": 2}, lambda c: {**c, "b": 1}, lambda c: {"sha256": c["sha256"]}]
)
def test_a_seal_holds_for_one_content(change: Callable[[dict], dict]) -> None:
    content = {"a": 1, "nested": {"x": [0.1, None]}}
    assert unseal(json.loads(json.dumps(seal(content)))) == content
    with pytest.raises(ValueError, match="checksum"):
        unseal(change(seal(content)))
