"""`selffl export`: what real loggers give back is what metrics.jsonl says. One that is not installed is skipped."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_folders import curve, write_run

from selffl_cli.cli.main import main
from selffl_cli.report.loggers.scalars import Reader, numbers
from selffl_cli.runs.folder import METRICS, RESULT

ACCURACY = "test/personal/accuracy"


def numbers_of(run: Path) -> dict[str, dict[int, float]]:
    """{name: {round: value}} of the run's own file."""
    found: dict[str, dict[int, float]] = {}
    for line in (run / METRICS).read_text().splitlines():
        content = json.loads(line)
        for name, value in numbers(content):
            found.setdefault(name, {})[content["round"]] = value
    return found


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, one of which diverged."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs", "actperfl", 0, curve(0.9), s0=0.3)
    write_run(tmp_path / "runs", "fedavg", 1, curve(0.5), status="diverged")
    return tmp_path / "runs"


def folders(runs: Path) -> list[Path]:
    return sorted(path.parent for path in runs.glob("*/*/run.toml"))


def read_events(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not folder.is_dir():
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_tensorboard_reads_back_every_number(runs: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed (the extra tensorboard)")
    for _ in range(2):  # the second export takes the place of the first
        assert main(["export", str(runs), "--to", "tensorboard"]) == 0
    for run in folders(runs):
        wanted = numbers_of(run)
        found = read_events(Path("logs/tensorboard/made") / run.name)
        assert found.keys() == wanted.keys() and ACCURACY in found
        for name, rounds in wanted.items():
            assert found[name] == pytest.approx(rounds, rel=1e-6)  # it keeps 32 bits


def test_mlflow_reads_back_every_number(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed (the extra mlflow)")
    from mlflow.tracking import MlflowClient

    for _ in range(2):
        assert main(["export", str(runs), "--to", "mlflow", "--out", "store"]) == 0
    client = MlflowClient(tracking_uri=Path("store").resolve().as_uri())
    (experiment,) = [one for one in client.search_experiments() if one.name == "made"]
    made = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert made.keys() == {run.name for run in folders(runs)}
    assert [made[run.name].info.status for run in folders(runs)] == ["FINISHED", "FAILED"]
    for run in folders(runs):
        kept = made[run.name]
        assert kept.data.params["train.rounds"] == "20" and kept.data.tags["seed"] in "01"
        for name, rounds in numbers_of(run).items():
            history = client.get_metric_history(kept.info.run_id, name)
            assert {point.step: point.value for point in history} == rounds


def read_wandb(file: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format, in blocks of 32 KiB behind a header of seven bytes."""
    data, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 2**15 - place % 2**15
        if left < 7:  # too short for a record: the block is filled up
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # full, or the last piece
            yield whole
            whole = b""


def test_wandb_reads_back_every_number(runs: Path) -> None:
    pytest.importorskip("wandb", reason="Weights & Biases is not installed (the extra wandb)")
    from wandb.proto.wandb_internal_pb2 import Record

    run = folders(runs)[0]
    assert main(["export", str(run), "--to", "wandb", "--out", "kept"]) == 0
    (file,) = Path("kept").glob("wandb/offline-run-*/*.wandb")
    found: dict[str, dict[int, float]] = {}
    for data in read_wandb(file):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for name, value in items.items():
                if not name.startswith("_"):
                    found.setdefault(name, {})[items["_step"]] = value
    assert found == numbers_of(run)


def test_trackio_reads_back_every_number(runs: Path) -> None:
    pytest.importorskip("trackio", reason="Trackio is not installed (the extra trackio)")
    run = folders(runs)[0]
    program = (  # trackio reads its folder when it is imported
        "import json; from trackio.sqlite_storage import SQLiteStorage\n"
        f"print(json.dumps(SQLiteStorage.get_logs('made', {run.name!r})))"
    )
    command = [sys.executable, "-m", "selffl_cli", "export", str(run), "--to", "trackio", "--out", "kept"]
    for _ in range(2):  # the second export takes the place of the first
        subprocess.run(command, check=True, timeout=120)
    environment = {**os.environ, "TRACKIO_DIR": str(Path("kept").resolve())}
    read = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    found: dict[str, dict[int, float]] = {}
    for row in json.loads(read.stdout.splitlines()[-1]):
        for name in row.keys() - {"step", "timestamp"}:
            found.setdefault(name, {})[row["step"]] = row[name]
    assert found == numbers_of(run)


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_a_logger_that_is_not_installed_is_named_with_its_extra(
    runs: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, f"selffl_cli.report.loggers.{kind}", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == kind]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        def find_spec(self, name: str, *rest: object) -> None:
            if name.partition(".")[0] == kind:
                raise ModuleNotFoundError(f"No module named '{name}'", name=kind)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    assert main(["export", str(runs), "--to", kind]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: --to {kind}: {kind} is not installed; pip install 'selffl[{kind}]' installs it"
    assert not Path("logs").exists()


def test_a_folder_without_runs_is_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed (the extra tensorboard)")
    assert main(["export", str(runs / "nothing"), "--to", "tensorboard"]) == 2
    assert "no run in it" in capsys.readouterr().err


def test_follow_tells_each_round_while_the_run_goes_on(runs: Path) -> None:
    """A line that is half written waits; rounds that a resumed run writes again are told once; the end is seen."""
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed (the extra tensorboard)")
    run = folders(runs)[0]
    whole = (run / METRICS).read_text().splitlines(keepends=True)
    result = (run / RESULT).read_text()
    (run / RESULT).unlink()
    (run / METRICS).write_text("".join(whole[:5]) + whole[5][:30])
    words = [sys.executable, "-m", "selffl_cli", "export", str(run), "--to", "tensorboard", "--follow"]
    follower = subprocess.Popen(words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    folder = Path("logs/tensorboard/made") / run.name
    try:
        wait_for(lambda: max(read_events(folder).get("cost/gradients", {0: 0})) == 4)
        (run / METRICS).write_text("".join(whole[:3]))  # stopped, and resumed from the checkpoint of round 2
        time.sleep(1.5)
        with (run / METRICS).open("a") as file:
            file.writelines(whole[3:])
        (run / RESULT).write_text(result)
        assert follower.wait(30) == 0
    finally:
        follower.kill()
    assert read_events(folder)[ACCURACY] == pytest.approx(numbers_of(run)[ACCURACY], rel=1e-6)
    assert list(read_events(folder)["cost/gradients"]) == list(range(1, 21))


def wait_for(condition) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_a_damaged_line_and_numbers_that_are_none_are_passed_over(tmp_path: Path) -> None:
    lines = [
        '{"round": 0, "eval": {"test": {"global": {"accuracy": null, "loss": 2}}}}',
        "{",
        '{"round": 1, "steps": 3}',
    ]
    (tmp_path / METRICS).write_text("\n".join(lines) + "\n")
    found = [(one.number, one.values) for one in Reader(tmp_path, 0.0).new()]
    assert found == [(0, {"test/global/loss": 2.0}), (1, {"cost/steps": 3.0})]
