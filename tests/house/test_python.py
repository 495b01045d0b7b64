"""The face for Python: each block of docs/python.md, what `import selffl` brings, and one line for what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import DOCS, blocks
from problems import class_shards
from tiny import TOML, comparable

import selffl
from selffl_cli import api
from selffl_cli.cli.main import main
from selffl_cli.finished.run import FinishedRun


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    class_shards(tmp_path / "blobs", clients=5)
    changed = TOML.replace("rounds = 40", "rounds = 4").replace("local_epochs = 6", "local_epochs = 1")
    (tmp_path / "tiny.toml").write_text(changed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_blocks_of_the_page_run_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from selffl_cli.methods import METHODS

    monkeypatch.setattr(METHODS, "added", dict(METHODS.added))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.py").write_text("\n".join(blocks("python.md")))  # a class's source is asked for
    monkeypatch.syspath_prepend(str(tmp_path))
    import page  # type: ignore[import-not-found]

    assert len(page.runs) == 6 and {run.label for run in page.runs} == {"fedavg", "actperfl", "halfway"}
    assert page.page.is_file() and "# " in capsys.readouterr().out
    assert page.predicted.shape == (page.end - page.begin,)
    del sys.modules["page"]


@pytest.mark.parametrize("used", ["", "; selffl.train; selffl.load_run; selffl.SelfflError; selffl.UsageError"])
def test_importing_selffl_brings_no_torch(used: str) -> None:
    words = f"import selffl{used}; import sys; assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, cwd=DOCS.parent)
    assert done.returncode == 0, done.stderr


def test_every_name_is_there_and_documented() -> None:
    for name in selffl.__all__:
        assert getattr(selffl, name) is getattr(api, name)
        assert getattr(selffl, name).__doc__ or name == "Weighting"
    assert set(selffl.__all__) < set(dir(selffl))
    with pytest.raises(AttributeError, match="selffl has no trane"):
        _ = selffl.trane


def test_python_trains_what_the_command_trains(place: Path) -> None:
    assert main(["train", "tiny.toml", "--data", "./blobs", "--jobs", "1", "--runs", "typed"]) == 0
    seen: list[dict] = []
    runs = selffl.train("tiny.toml", data="blobs", runs="called", watch=seen.append)
    assert [run.label for run in runs] == ["actperfl", "fedavg"] and len(seen) == 10  # with the start, round 0
    for run in runs:
        assert comparable(run.path) == comparable(place / "typed" / "tiny" / run.path.name)
    seen.clear()
    again = selffl.train("tiny.toml", "fedavg", data="blobs", runs="called", watch=seen.append)
    assert [run.path for run in again] == [runs[1].path] and not seen


def test_a_run_gives_frames_and_models(place: Path) -> None:
    (run,) = selffl.train("tiny.toml", "fedavg", data="blobs", seeds=3)
    run = selffl.load_run(str(run.path))
    assert run.seed == 3 and len(run.metrics) == 5 and repr(run).startswith("Run('runs/tiny/")
    last = run.metrics.iloc[-1]
    assert last["test.personal.accuracy"] == run.final["test"]["personal"]["accuracy"] and last["time.seconds"] > 0
    frame = run.clients
    own = frame["test.personal.accuracy"]
    assert own.tolist() == (frame["test_personal_correct"] / frame["n_test"]).tolist()
    assert own.mean() == pytest.approx(run.final["test"]["personal"]["client_mean"])
    scored = selffl.evaluate(run, ["test"])
    assert scored.set_index("model").loc["personal", "accuracy"] == last["test.personal.accuracy"]
    vectors = FinishedRun.open(run.path, None)
    for client, vector in ((None, vectors.global_()), (2, vectors.personal()[2])):  # type: ignore[index]
        module = run.model(client)
        assert isinstance(module, torch.nn.Module) and not module.training and vector is not None
        flat = torch.cat([value.detach().reshape(-1) for value in module.parameters()])
        assert torch.equal(flat, vector)
    test = selffl.Shards.open("blobs").part("test")
    begin, end = test.offsets[2:4]
    right = (module(test.arrays["x"][begin:end].float()).argmax(-1) == test.arrays["y"][begin:end]).sum()
    assert int(right) == frame["test_personal_correct"][2]


def test_what_is_not_there_is_said_in_one_line(place: Path) -> None:
    (run,) = selffl.train("tiny.toml", "fedavg", data="blobs", keep="global")
    with pytest.raises(selffl.SelfflError, match='personal models were not kept; train with keep="personal"'):
        run.model(client=0)
    (run,) = selffl.train("tiny.toml", "fedavg", data="blobs", runs="kept", keep="personal")
    with pytest.raises(selffl.UsageError, match="client 5: .* has the clients 0 to 4"):
        run.model(client=5)
    with pytest.raises(selffl.SelfflError):
        selffl.load_run("nothing")
    (place / "blobs").rename(place / "moved")
    with pytest.raises(selffl.SelfflError, match="is gone"):
        selffl.load_run(run.path).model()
    assert selffl.load_run(run.path, data="moved").model()


def test_register_finds_the_registry_of_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    from selffl_cli.metrics import METRICS

    class Half(selffl.Metric):
        """Half of what is right."""

        name = "half"

        def scores(self, outputs: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return (outputs.argmax(-1) == y) / 2

    monkeypatch.setattr(METRICS, "added", {})
    selffl.register("half", Half)
    assert METRICS["half"] is Half and len(METRICS.record("half")["code"]) == 64
    with pytest.raises(selffl.UsageError, match="'accuracy' is one of selffl's own"):
        selffl.register("accuracy", Half)
    with pytest.raises(selffl.UsageError, match=r"int64 derives from none of selffl\.Method"):
        selffl.register("number", np.int64)
