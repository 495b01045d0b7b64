"""A stranger's metric, from the file that the documentation prints: recorded, resumed, verified, reported, claimed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from problems import class_shards
from tiny import TOML, comparable

from selffl_cli.cli.main import main
from selffl_cli.errors import UsageError
from selffl_cli.launchers.one import Stop
from selffl_cli.metrics import read_metrics
from selffl_cli.runs.folder import RunFolder

PAGE = Path(__file__).parents[2] / "docs" / "own-metric.md"
SPECIFIC = """
class Recall(Metric):
    name = "recall"
    percent = True

    def scores(self, outputs, x, y):
        return (outputs.argmax(-1) == y) * (y == 0)

    def units(self, x, y):
        return (y == 0).long()
"""
CLAIM = """
[[claims]]
id = "two-guesses"
text = "Two guesses are better than none."
left = "fedavg:test.personal.top_two"
right = 0.0
relation = "greater"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    class_shards(tmp_path / "blobs", clients=5)
    (text,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "my_metric.py").write_text(text + SPECIFIC)
    changed = TOML.replace("rounds = 40", 'rounds = 8\nmetrics = ["my_metric.py:TopTwo", "my_metric.py:Recall"]')
    (tmp_path / "tiny.toml").write_text(changed.replace("local_epochs = 6", "local_epochs = 1") + CLAIM)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*more: str, runs: str = "runs") -> Path:
    words = ["train", "tiny.toml", "--data", "./blobs", "--method", "fedavg", "--jobs", "1"]
    assert main([*words, "--runs", runs, *more]) == 0
    (run,) = Path(runs).glob("tiny/*/run.toml")
    return run.parent


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_a_metric_from_outside_is_in_every_file_and_in_the_report(
    engine: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("--engine", engine)
    folder = RunFolder(run)
    names = [f"{place / 'my_metric.py'}:{name}" for name in ("TopTwo", "Recall")]
    assert folder.record["train"]["metrics"] == names and list(folder.record["code"]) == names
    result = json.loads((run / "result.json").read_text())
    assert [facts["name"] for facts in result["metrics"]] == ["top_two", "recall"]
    table = parquet.read_table(run / "clients.parquet").to_pydict()
    for line in folder.metrics():
        for part, kinds in line.get("eval", {}).items():
            for figures in kinds.values():
                assert figures["accuracy"] <= figures["top_two"] <= 1 and 0 <= figures["recall"] <= 1, part
    for kind, figures in result["final"]["test"].items():
        assert figures["top_two"] == pytest.approx(sum(table[f"test_{kind}_top_two"]) / sum(table["n_test"]))
        assert figures["recall"] == pytest.approx(sum(table[f"test_{kind}_recall"]) / sum(table["test_recall_of"]))
    assert main(["eval", str(run)]) == 0 and "top" in capsys.readouterr().out
    assert main(["eval", str(run), "--verify"]) == 0
    assert main(["report", "tiny.toml", "--runs", "runs", "--out", "page"]) == 0
    page = (place / "page" / "tiny" / "README.md").read_text()
    assert "### Test right class among two (%)" in page and "### Test recall (%)" in page
    assert "two-guesses" in page


def test_the_report_runs_no_code_of_the_metric(place: Path) -> None:
    run = train()
    (place / "my_metric.py").write_text("raise SystemExit('run')")
    from selffl_cli.report.collect import Run
    from selffl_cli.report.results import Results

    found = Run("fedavg", "", 0, RunFolder(run), RunFolder(run).result or {})
    results = Results(None, [found], [], {}, None, None)  # type: ignore[arg-type]
    assert [str(metric) for metric in results.further] == ["top_two", "recall"]
    assert results.further[0].percent and results.further[0].words == "right class among two"


def test_a_stopped_run_goes_on_to_the_same_bits(place: Path) -> None:
    whole = train(runs="whole")
    with pytest.MonkeyPatch.context() as patch:
        calls: list[None] = []
        patch.setattr(Stop, "__call__", lambda self: calls.append(None) or len(calls) > 3)
        train("--workers", "1", runs="broken")
    assert not list(Path("broken").glob("tiny/*/result.json"))
    assert comparable(train(runs="broken")) == comparable(whole)


def test_a_changed_file_makes_another_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = train()
    file = place / "my_metric.py"
    file.write_text(file.read_text() + "\n# changed\n")
    assert main(["eval", str(first)]) == 1
    assert "my_metric.py:TopTwo' is another than the run's" in capsys.readouterr().err
    words = ["train", "tiny.toml", "--data", "./blobs", "--method", "fedavg", "--jobs", "1"]
    assert main(words) == 0
    assert len(list(Path("runs").glob("tiny/*/result.json"))) == 2


WRONG = {
    "no class": ("m.py:Mine", r"m.py has no class Mine \(did you mean 'Mined'"),
    "wrong base": ("m.py:Other", "does not derive from selffl.Metric"),
    "no scores": ("m.py:Mined", "Mined has no scores"),
    "taken": ("m.py:Taken", "name = 'client_mean': a metric's name is"),
    "own": ("accuracy", "accuracy is recorded by the tasks"),
    "unknown": ("accurace", "unknown metric 'accurace' .did you mean 'accuracy'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.py").write_text(
        "from selffl import Metric\nclass Mined(Metric):\n    name = 'mined'\nclass Other: pass\n"
        "class Taken(Metric):\n    name = 'client_mean'\n    def scores(self, outputs, x, y): return y\n"
    )
    monkeypatch.chdir(tmp_path)
    name, words = WRONG[case]
    with pytest.raises(UsageError, match=words) as error:
        read_metrics([name])
    assert "\n" not in str(error.value)


def test_scores_of_another_shape_are_refused_before_training(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "my_metric.py").write_text(
        "from selffl import Metric\nclass Whole(Metric):\n    name = 'whole'\n"
        "    def scores(self, outputs, x, y): return outputs.mean()\n"
    )
    words = ["train", "tiny.toml", "--data", "./blobs", "--method", "fedavg", "--jobs", "1"]
    (place / "tiny.toml").write_text((place / "tiny.toml").read_text().replace(CLAIM, ""))
    assert main([*words, "--set", "train.metrics=my_metric.py:Whole"]) == 2
    assert "train.metrics: whole: scores gives a tensor [] for 2 samples, not [2]" in capsys.readouterr().err


def test_it_is_scored_for_new_clients_and_delivered_models_too(place: Path) -> None:
    words = ["--rounds", "2", "--set", "train.new_clients=0.4", "--set", "train.delivery_rounds=1"]
    result = json.loads((train(*words) / "result.json").read_text())
    for figures in (*result["final"]["new"].values(), result["final"]["test"]["delivered"]):
        assert figures["accuracy"] <= figures["top_two"] <= 1
    (run,) = Path("runs").glob("tiny/*/result.json")
    assert main(["eval", str(run.parent), "--verify"]) == 0
    assert main(["report", "tiny.toml", "--runs", "runs", "--out", "page", *words]) == 0
    assert "delivered, equal rounds" in (place / "page" / "tiny" / "README.md").read_text()
