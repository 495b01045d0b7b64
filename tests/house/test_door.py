"""A stranger's method and model, from the files that the documentation prints: trained, resumed, scored, reported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from problems import class_shards
from tiny import TOML, comparable

from selffl_cli import methods, models
from selffl_cli.cli.main import main
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.launchers.one import Stop
from selffl_cli.registry import reference, short
from selffl_cli.runs.folder import RunFolder

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    """The one Python file that a page of the documentation prints."""
    (text,) = re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
    return text


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    class_shards(tmp_path / "blobs", clients=5)
    (tmp_path / "my_method.py").write_text(page("own-method.md"))
    (tmp_path / "my_model.py").write_text(page("own-model.md"))
    changed = TOML.replace('name = "mlp"\nhidden = [8]', 'name = "my_model.py:Wide"\nwidth = 6')
    changed = changed.replace("rounds = 40", "rounds = 8").replace("local_epochs = 6", "local_epochs = 1")
    (tmp_path / "tiny.toml").write_text(changed + '[methods.mine]\nmethod = "my_method.py:Clipped"\nslack = 2\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*more: str, runs: str = "runs") -> Path:
    words = ["train", "tiny.toml", "--data", "./blobs", "--method", "my_method.py:Clipped:slack=1.5", "--jobs", "1"]
    assert main([*words, "--runs", runs, *more]) == 0
    (run,) = Path(runs).glob("tiny/*/run.toml")
    return run.parent


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_a_method_and_a_model_from_outside_are_trained_scored_and_reported(engine: str, place: Path) -> None:
    run = train("--engine", engine)
    record = RunFolder(run).record
    assert record["label"] == "Clipped:slack=1.5" and record["method"]["slack"] == 1.5
    assert record["method"]["name"] == f"{place / 'my_method.py'}:Clipped" and len(record["method"]["code"]) == 64
    assert record["model"]["name"] == f"{place / 'my_model.py'}:Wide" and record["model"]["width"] == 6
    assert main(["eval", str(run)]) == 0
    assert main(["train", "tiny.toml", "--data", "./blobs", "--method", ["mine", "fedavg"][0], "--jobs", "1"]) == 0
    assert main(["report", "tiny.toml", "--runs", "runs", "--out", "page"]) == 0


def test_a_stopped_run_from_outside_resumes_to_the_same_bits(place: Path) -> None:
    whole = train(runs="whole")
    with pytest.MonkeyPatch.context() as patch:
        calls: list[None] = []
        patch.setattr(Stop, "__call__", lambda self: calls.append(None) or len(calls) > 3)
        train("--workers", "1", runs="broken")
    (broken,) = (place / "broken").glob("tiny/*/run.toml")
    assert not (broken.parent / "result.json").exists() and (broken.parent / "checkpoint").exists()
    assert comparable(train(runs="broken")) == comparable(whole)


def test_the_content_of_the_file_makes_the_run_and_its_folder_does_not(place: Path) -> None:
    first = train()
    (place / "elsewhere").mkdir()
    (place / "my_method.py").rename(place / "elsewhere" / "my_method.py")
    words = ["train", "tiny.toml", "--data", "./blobs", "--method", "elsewhere/my_method.py:Clipped:slack=1.5"]
    assert main([*words, "--jobs", "1"]) == 0
    assert [path.parent for path in Path("runs").glob("tiny/*/run.toml")] == [first]  # found again
    file = place / "elsewhere" / "my_method.py"
    file.write_text(file.read_text() + "\n# changed\n")
    assert main([*words, "--jobs", "1"]) == 0
    assert len(list(Path("runs").glob("tiny/*/result.json"))) == 2


def test_a_run_is_scored_with_the_code_that_made_it_only(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train()
    file = place / "my_model.py"
    file.write_text(file.read_text().replace("relu", "tanh"))
    capsys.readouterr()
    assert main(["eval", str(run)]) == 1
    said = capsys.readouterr().err
    assert "my_model.py:Wide' is another than the run's" in said and said.count("\n") <= 2


def test_records_of_the_package_s_own_things_name_no_code() -> None:
    assert methods.resolve("fedavg", {})[0] == {"name": "fedavg", "weighting": "samples"}
    assert models.resolve({"name": "softmax"})[0] == {"name": "softmax"}
    for kind, key in (
        (methods.resolve, "fedavg"),
        (lambda name, options: models.resolve({"name": name, **options}), "mlp"),
    ):
        with pytest.raises(UsageError, match="unknown key 'code'"):
            kind(key, {"code": "x"})


WRONG = {
    "no file": ("none.py:X", "none.py: cannot be read"),
    "no class": ("m.py:Mine", r"m.py has no class Mine \(did you mean 'Mined'"),
    "wrong base": ("m.py:Other", "does not derive from selffl.Method"),
    "missing part": ("m.py:Mined", "has no global_, init, personal, round"),
    "broken": ("broken.py:X", r"broken.py:2: cannot be imported \(ZeroDivisionError"),
    "syntax": ("syntax.py:X", r"syntax.py:1: cannot be imported \(SyntaxError"),
    "untyped": ("untyped.py:X", r"untyped.py:3: cannot be imported \(PydanticUserError: A non-annotated attribute"),
    "no package": ("no_such.package:Class", "no_such.package: cannot be imported"),
    "near": ("fedavgg", "did you mean 'fedavg'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_method_from_outside_is_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.py").write_text("from selffl import Method\nclass Mined(Method): pass\nclass Other: pass\n")
    (tmp_path / "broken.py").write_text("x = 1\n1 / 0\n")
    (tmp_path / "syntax.py").write_text("class\n")
    (tmp_path / "untyped.py").write_text(
        "from selffl import MethodOptions\nx = 1\nclass X(MethodOptions):\n    mu = 0.1\n"
    )
    monkeypatch.chdir(tmp_path)
    name, words = WRONG[case]
    with pytest.raises(UsageError, match=words) as error:
        methods.resolve(name, {})
    assert "\n" not in str(error.value)


def test_a_model_with_running_statistics_is_refused(tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "blobs", clients=3)
    text = page("own-model.md").replace(
        "        self.output", "        self.norm = nn.BatchNorm1d(width)\n        self.output"
    )
    (tmp_path / "normed.py").write_text(text)
    with pytest.raises(SelfflError, match=r"keeps 'norm.running_mean' beside its parameters, as BatchNorm"):
        models.build(models.resolve({"name": f"{tmp_path / 'normed.py'}:Wide"})[0], shards, 0)


def test_an_installed_package_adds_names_by_entry_points(tmp_path: Path) -> None:
    (tmp_path / "own_methods.py").write_text(page("own-method.md"))
    info = tmp_path / "own_methods-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-methods\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[selffl.methods]\nclipped = own_methods:Clipped\n")
    program = (
        "from selffl_cli import methods; import json\n"
        "record, _ = methods.resolve('clipped', {}); print(json.dumps(record))\n"
        "methods.build(record)\n"
        "try: methods.resolve('clippedd', {})\n"
        "except Exception as error: print(error)\n"
    )
    paths = f"{tmp_path}:{Path(__file__).parents[2]}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": paths}
    )
    record, hint = done.stdout.splitlines()
    assert json.loads(record)["name"] == "clipped" and len(json.loads(record)["code"]) == 64
    assert "did you mean 'clipped'" in hint


def test_importing_selffl_brings_no_torch() -> None:
    program = "import sys, selffl; selffl.SelfflError; assert 'torch' not in sys.modules; selffl.Method"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=DOCS.parent)
    assert done.returncode == 0, done.stderr


def test_references_are_told_from_names_with_options() -> None:
    for text in ("dirichlet:alpha=1", "fedavg", "user:noise=1,clip=2", "activity:gamma=0.5", "coordinated:a"):
        assert reference(text) is None
    assert reference("a/b.py:C:x=1").group() == "a/b.py:C" and reference("p.q:C").group() == "p.q:C"  # type: ignore[union-attr]
    assert short("/a/b.py:C:x=1") == "b.py:C:x=1" and short("fedavg") == "fedavg"
