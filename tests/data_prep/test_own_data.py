"""A stranger's data set, partitioner and arrays, as docs/own-data.md prints them: prepared, trained, reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pages import blocks, files
from tiny import TOML, comparable

import selffl
from data_prep.prepare import find_or_prepare, prepare, request
from selffl_cli.cli.main import main
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.launchers.one import Stop
from selffl_cli.runs.folder import RunFolder
from selffl_cli.shards import Shards, read_manifest

SET = "my_set.py:Activities"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in files("own-data.md").items():
        (tmp_path / name).write_text(content)
    rng = np.random.default_rng(3)
    lines = ["person,activity,a,b,c"]
    for person in range(6):
        for _ in range(12 if person else 1):
            kind = int(rng.integers(3))
            values = ",".join(f"{value:.3f}" for value in rng.normal(size=3) + 2 * np.eye(3)[kind])
            lines.append(f"person {person},{('sits', 'walks', 'runs')[kind]},{values}")
    (tmp_path / "measured.csv").write_text("\n".join(lines) + "\n")
    changed = TOML.replace('name = "blobs"', f'name = "{SET}"\nat_least = 5').replace("rounds = 40", "rounds = 8")
    (tmp_path / "tiny.toml").write_text(changed.replace("local_epochs = 6", "local_epochs = 1"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*more: str, runs: str = "runs") -> Path:
    words = ["train", "tiny.toml", "--source", "measured.csv", "--method", "fedavg", "--jobs", "1", "--runs", runs]
    assert main([*words, *more]) == 0
    (run,) = Path(runs).glob("tiny/*/run.toml")
    return run.parent


def test_a_data_set_is_prepared_by_the_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", SET, "--source", "measured.csv", "--at-least", "5"]
    assert main(words) == 0
    (folder,) = Path("data").glob("Activities-natural-s0-*")
    shards = Shards.open(folder)
    assert shards.num_clients == 5 and shards.manifest.classes == ["runs", "sits", "walks"]
    (source,) = shards.manifest.sources
    assert source.name == SET and len(source.sha256) == 64
    capsys.readouterr()
    assert main(words) == 0 and "prepared already" in capsys.readouterr().out
    (place / "my_set.py").write_text((place / "my_set.py").read_text() + "\n# changed\n")
    assert main(words) == 0 and len(list(Path("data").iterdir())) == 2
    assert main(["prepare", SET, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Activities by what a phone measures" in shown and "--at-least" in shown


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_a_data_set_from_outside_is_trained_on_and_reported(engine: str, place: Path) -> None:
    run = train("--engine", engine)
    record = RunFolder(run).record
    assert record["data"]["name"] == "Activities" and record["data"]["arguments"]["at_least"] == 5
    assert record["data"]["sources"][0]["name"] == SET
    assert main(["eval", str(run)]) == 0
    assert main(["report", "tiny.toml", "--runs", "runs", "--out", "page"]) == 0
    assert "Activities" in (place / "page" / "tiny" / "README.md").read_text()


def test_a_stopped_run_on_it_resumes_to_the_same_bits(place: Path) -> None:
    whole = train(runs="whole")
    with pytest.MonkeyPatch.context() as patch:
        calls: list[None] = []
        patch.setattr(Stop, "__call__", lambda self: calls.append(None) or len(calls) > 4)
        train("--workers", "1", runs="broken")
    assert not list(Path("broken").glob("tiny/*/result.json"))
    assert comparable(train(runs="broken")) == comparable(whole)


def test_a_data_set_and_a_partitioner_are_named_on_the_command_line(place: Path) -> None:
    words = ["train", "tiny.toml", "--method", "fedavg", "--jobs", "1", "--source", "measured.csv"]
    spec = f"{SET}:partition=my_partition.py:Stretches:overlap=0.5,clients=4"
    with pytest.raises(UsageError, match="is not key=value"):  # a comma ends the options of the partition
        request(SET, {"partition": "my_partition.py:Stretches:overlap"}, source="measured.csv")
    assert main([*words, "--data", spec]) == 0
    (run,) = Path("runs").glob("tiny/*/run.toml")
    data = RunFolder(run.parent).record["data"]
    assert data["partition"] == "my_partition.py:Stretches:overlap=0.5"
    assert [source["name"] for source in data["sources"]] == [SET, "my_partition.py:Stretches"]


def test_a_partitioner_deals_what_the_package_brings(place: Path) -> None:
    words = ["prepare", "digits", "-p", "my_partition.py:Stretches", "--clients", "9"]
    assert main(words) == 0
    (folder,) = Path("data").iterdir()
    assert folder.name.startswith("digits-my-partition.py-Stretches-c9-s0-")
    assert Shards.open(folder).clients["n_train"].to_numpy().sum() > 1000
    file = place / "my_partition.py"
    file.write_text(file.read_text() + "\n# changed\n")
    before = read_manifest(folder)
    found = find_or_prepare("digits", {"partition": "my_partition.py:Stretches", "clients": 9})
    assert found != folder and read_manifest(found).arguments == before.arguments


WRONG = {
    "no class": ("m.py:Mine", r"m.py has no class Mine \(did you mean 'Mined'"),
    "wrong base": ("m.py:Other", "does not derive from selffl.DataSet"),
    "no load": ("m.py:Mined", "has no load; selffl.DataSet says what each does"),
    "options of another base": ("m.py:Bare", "options_type does not derive from selffl.DataOptions"),
    "no pool": ("m.py:Empty", "load gave a dict, not a selffl.Pool"),
    "no type": ("untyped.py:X", r"untyped.py:3: cannot be imported \(PydanticUserError"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.py").write_text(
        "from selffl import DataSet, ModelOptions\nclass Mined(DataSet): pass\nclass Other: pass\n"
        "class Bare(DataSet):\n    options_type = ModelOptions\n    def load(self, options, source, stage): return {}\n"
        "class Empty(DataSet):\n    def load(self, options, source, stage): return {}\n"
    )
    (tmp_path / "untyped.py").write_text("from selffl import DataOptions\n\nclass X(DataOptions):\n    at = 1\n")
    monkeypatch.chdir(tmp_path)
    name, words = WRONG[case]
    with pytest.raises(UsageError, match=words) as error:
        prepare(name, {"clients": 2})
    assert "\n" not in str(error.value)
    assert main(["prepare", name, "--clients", "2"]) == 2
    assert capsys.readouterr().err.count("error: ") == 1


DEALS = {
    "wrong length": ("np.zeros(3, int)", "deal gives no whole number for each of 1797 samples"),
    "wrong client": ("np.full(len(samples), clients)", "deal gives clients 9 to 9, not 0 to 8"),
}


@pytest.mark.parametrize("case", DEALS)
def test_a_deal_that_is_none_is_refused(case: str, tmp_path: Path) -> None:
    given, words = DEALS[case]
    (tmp_path / "p.py").write_text(
        "import numpy as np\nfrom selffl import Partitioner\nclass P(Partitioner):\n"
        f"    def deal(self, samples, clients, rng): return {given}\n"
    )
    with pytest.raises(UsageError, match=words):
        prepare("digits", {"partition": f"{tmp_path / 'p.py'}:P", "clients": 9}, tmp_path / "data")
    with pytest.raises(UsageError, match="unknown partition 'dirichlett' .did you mean 'dirichlet'"):
        prepare("digits", {"partition": "dirichlett:alpha=1", "clients": 9}, tmp_path / "data")


def test_arrays_become_shards(place: Path) -> None:
    exec(blocks("own-data.md")[0], {})
    shards = Shards.open("my-shards")
    assert shards.num_clients == 10 and shards.manifest.classes == ["low", "high"]
    assert shards.part("test").sizes.tolist() == [4] * 10 and shards.part("validation").sizes.tolist() == [2] * 10
    assert shards.manifest.name == "my-shards"
    words = ["train", "tiny.toml", "--data", "./my-shards", "--method", "fedavg", "--rounds", "2", "--jobs", "1"]
    assert main(words) == 0


def test_arrays_keep_their_names_and_parts(tmp_path: Path) -> None:
    x, y = np.arange(12.0).reshape(6, 2), ["b", "a", "b", "a", "a", "b"]
    people, part = ["you", "me", "me", "you", "me", "you"], [0, 0, 1, 2, 0, 0]
    folder = selffl.write_shards(tmp_path / "s", x, y, people, part=part, arrays={"speaker": np.arange(6)})
    shards = Shards.open(folder)
    assert shards.clients["name"].to_pylist() == ["me", "you"] and shards.manifest.classes == ["a", "b"]
    assert shards.part("train").arrays["speaker"].tolist() == [1, 4, 0, 5]
    assert shards.part("train").arrays["y"].tolist() == [0, 0, 1, 1]
    assert selffl.write_shards(tmp_path / "s", x, y, people, part=part, arrays={"speaker": np.arange(6)}) == folder
    with pytest.raises(SelfflError, match="holds other data; write to another folder, or give force=True"):
        selffl.write_shards(folder, x + 1, y, people, part=part)
    selffl.write_shards(folder, x + 1, y, people, part=part, force=True)
    assert Shards.open(folder).hash != shards.hash and [path.name for path in tmp_path.iterdir()] == ["s"]


def test_arrays_of_numbers_are_predicted_as_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = selffl.write_shards(tmp_path / "s", rng.normal(size=(40, 3)), rng.normal(size=40), np.arange(40) % 4)
    assert Shards.open(folder).manifest.task == "regression" and not Shards.open(folder).manifest.classes


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x": np.zeros(5)}, r"x has \(5,\) values, y has 6"),
        ({"y": [0.5] * 6, "classes": ["a"]}, "y holds numbers with a fraction, which are no classes"),
        ({"client": [0.5] * 6}, "client holds float64 values"),
        ({"y": [0, 1, 2, 0, 1, 3], "classes": ["a"]}, "y has the class 3, classes names 1"),
        ({"client": [-1] * 6}, "client has the number -1"),
        ({"client": np.zeros((6, 2), int)}, r"client has the shape \(6, 2\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(changed: dict, words: str, tmp_path: Path) -> None:
    given = {"x": np.zeros((6, 2)), "y": [0, 1, 0, 1, 0, 1], "client": [0, 0, 0, 1, 1, 1], **changed}
    with pytest.raises(UsageError, match=words):
        selffl.write_shards(tmp_path / "s", **given)
    assert not (tmp_path / "s").exists()
