"""Input made to do harm: changed copies for every parser, names that climb, and files that lie about themselves."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import class_shards
from safetensors.numpy import load_file, save_file
from tiny import TOML

from data_prep.speech.corpus import take_stock
from fuzz.mutate import attack, bounded_memory
from fuzz.parsers import PARSERS
from selffl_cli.cli.main import main
from selffl_cli.config.experiment import Experiment, load_experiment
from selffl_cli.config.spec import parse_spec, parse_value
from selffl_cli.config.validation import validate
from selffl_cli.errors import LONGEST, SelfflError, UsageError, one_line
from selffl_cli.files.checksums import seal
from selffl_cli.runs.schema import Environment, Line, Record, Result, check
from selffl_cli.shards import PARTS, Shards, sha256

INPUTS = 25  # changed copies a parser; `python -m fuzz.mutate` reads 200 of each, or more


@pytest.mark.parametrize("name", PARSERS)
def test_changed_inputs_are_read_or_refused_in_one_line(name: str) -> None:
    if name == "recording":
        pytest.importorskip("soundfile", reason="needs the extra 'audio': pip install 'selffl[audio]'")
    with bounded_memory():
        outcome = attack(PARSERS[name], INPUTS, seed=1)
    assert outcome.failures == {}
    assert outcome.counts["valid"] + outcome.counts["refused"] == INPUTS


# every kind of JSON, and text of every kind


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = {
    Record: ["experiment", "label", "seed", "setting", "data", "model", "train", "method", "init"],
    Result: ["status", "round", "final", "seconds", "files", "message"],
    Environment: ["started", "command"],
    Line: ["round", "clients", "steps", "eval", "method", "per_client", "time"],
}


@pytest.mark.parametrize("kind", KEYS, ids=lambda kind: kind.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_records_of_any_shape(kind: Any, data: st.DataObject) -> None:
    content = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS[kind], values)) | values)
    try:
        assert check(kind, content) == content
    except ValueError as error:
        assert "\n" not in str(error)


@settings(max_examples=60)
@given(content=st.fixed_dictionaries({}, optional=dict.fromkeys(Experiment.model_fields, values)))
def test_experiments_of_any_shape(content: dict[str, Any]) -> None:
    try:
        validate(Experiment, content, "x.toml")
    except UsageError as error:
        assert "\n" not in str(error)


@settings(max_examples=100)
@given(text=st.text(max_size=60) | st.from_regex(r"[a-z-]{1,12}(:[a-z_]{1,8}=[^\n]{0,12}){0,3}", fullmatch=True))
def test_specs_of_any_text(text: str) -> None:
    parse_value(text)
    try:
        name, options = parse_spec(text)
        assert name and isinstance(options, dict)
    except UsageError as error:
        assert "\n" not in str(error)


@settings(max_examples=40)
@given(text=st.text(max_size=80) | st.text(alphabet="file,client\n\"'x/.yes s0\0", max_size=80))
def test_client_tables_of_any_text(text: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "yes").mkdir()
        (folder / "yes" / "s0_0.wav").write_bytes(b"")
        (folder / "clients.csv").write_bytes(("file,client\n" + text).encode("utf-8", "surrogatepass"))
        try:
            take_stock(folder)
        except SelfflError as error:
            assert "\n" not in str(error)


@given(text=st.text())
def test_an_error_is_one_line_that_can_be_shown(text: str) -> None:
    shown = str(SelfflError(text))
    assert shown.isprintable() and len(shown) <= LONGEST + 3 and one_line(shown) == shown


def test_an_error_keeps_what_is_wrong_and_what_to_do() -> None:
    shown = str(SelfflError("the name " + "x" * 10**6 + " is wrong; take another"))
    assert shown.startswith("the name xx") and shown.endswith("is wrong; take another")
    assert str(SelfflError("a \x1b[31mred\x1b[0m name\nand more")) == "a \\x1b[31mred\\x1b[0m name and more"


# names that climb out of a folder, and names that a shell would run


@pytest.mark.parametrize(
    "name",
    ["../x", "..", ".", "/etc/x", "a/b", "a\\b", "$(id)", "`id`", "a b", "a;b", "", "~", "-x", "a\0b", "é" * 300],
)
def test_no_name_makes_a_folder_elsewhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = tmp_path / "inside"
    class_shards(inside / "blobs", clients=2)
    monkeypatch.chdir(inside)
    (inside / "tiny.toml").write_text(TOML.replace('name = "tiny"', f"name = {json.dumps(name)}"))
    (inside / "other.toml").write_text(TOML)
    before = sorted(tmp_path.rglob("*"))
    for words in (
        ["train", "tiny.toml", "--data", "./blobs"],
        ["train", "other.toml", "--data", "./blobs", "--set", f"name={json.dumps(name)}"],
        ["report", "tiny.toml"],
        ["train", name],
        ["train", "other.toml", "--method", name or ":"],
        ["train", "other.toml", "--set", f"data.name={json.dumps(name)}"],
        ["prepare", name or "--no-such"],
    ):
        assert main(words) != 0, words
        assert capsys.readouterr().err.count("\n") == 1, words
    assert sorted(tmp_path.rglob("*")) == before


def change(folder: Path, name: str, **arrays: np.ndarray) -> None:
    """Other arrays in a file of shards, with a manifest that vouches for them."""
    path = folder / f"{name}.safetensors"
    save_file({**load_file(path), **arrays}, path)
    manifest(folder)


def manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    content = {**json.loads(path.read_text()), **changes}
    content["files"] = {file: sha256(folder / file) for file in content["files"]}
    content.pop("sha256", None)
    path.write_text(json.dumps(seal(content)))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"offsets": np.array([0, 5, 3, 36], np.int64)}, "do not deal its samples"),
        ({"offsets": np.array([0, 12, 24, 10**15], np.int64)}, "do not deal its samples"),
        ({"offsets": np.array([-5, 12, 24, 36], np.int64)}, "do not deal its samples"),
        ({"offsets": np.array([0, 36], np.int64)}, "'offsets' has shape"),
        ({"offsets": np.zeros(4, np.float64)}, "'offsets' has shape"),
        ({"y": np.full(36, 3)}, "labels from 3 to 3 for 3 classes"),
        ({"y": np.full(36, -1)}, "labels from -1 to -1"),
        ({"y": np.zeros(36, np.float32)}, "'y' has shape"),
        ({"y": np.zeros(35, np.int64)}, "'y' has shape"),
        ({"x": np.zeros((36, 5))}, "'x' has shape"),
        ({"x": np.zeros((36, 4), np.float32)}, "'x' has shape"),
        ({"x": np.zeros((36, 4), bool)}, "'x' is of type BOOL"),
    ],
)
def test_arrays_that_lie(arrays: dict[str, np.ndarray], says: str, tmp_path: Path) -> None:
    class_shards(tmp_path / "s", clients=3)
    change(tmp_path / "s", "train", **arrays)
    with pytest.raises(SelfflError, match=says):
        shards = Shards.open(tmp_path / "s")
        for part in PARTS:
            shards.part(part)


@pytest.mark.parametrize(
    "changes",
    [{"clients": 10**12}, {"clients": 2}, {"samples": {"train": 10**12, "validation": 0, "test": 0}},
     {"input": {"shape": [10**9], "dtype": "float64"}}, {"input": {"shape": [4], "dtype": "float32"}},
     {"classes": ["a"]}, {"classes": []}, {"task": "gaussian"}, {"name": "../../x"}, {"name": "a/b"}],
    ids=str,
)  # fmt: skip
def test_manifests_that_lie(changes: dict[str, Any], tmp_path: Path) -> None:
    class_shards(tmp_path / "s", clients=3)
    manifest(tmp_path / "s", **changes)
    with bounded_memory(), pytest.raises(SelfflError):
        shards = Shards.open(tmp_path / "s")
        shards.part("train"), shards.clients, shards.shared


def test_a_header_longer_than_its_file(tmp_path: Path) -> None:
    class_shards(tmp_path / "s", clients=3)
    path = tmp_path / "s" / "train.safetensors"
    for size in (0, 7, 2**40, 2**63 - 1, 2**64 - 1):
        path.write_bytes(size.to_bytes(8, "little") + path.read_bytes()[8:])
        manifest(tmp_path / "s")
        with pytest.raises(SelfflError, match="cannot be read"):
            Shards.open(tmp_path / "s")


@pytest.mark.parametrize(
    "line",
    [
        "# " + "x" * 5_000_000,
        "a = " + "[" * 50_000,
        "a = " + "9" * 100_000,
        "a." * 50_000 + "b = 1",
        "\0",
        "a = '\ud800'",
    ],
)
def test_toml_that_is_too_much(line: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes((TOML + line + "\n").encode("utf-8", "surrogatepass"))
    with bounded_memory(), pytest.raises(UsageError):
        load_experiment(str(tmp_path / "x.toml"))
    assert isinstance(parse_value(line.partition(" = ")[2]), object)


def test_lines_of_ten_megabytes(tmp_path: Path) -> None:
    from data_prep.texts.tweets import read

    good = "".join(f'"{label}","1","d","q","ann","so it is"\n' for label in "04") * 20
    (tmp_path / "tweets.csv").write_text(good + '"0","2","d","q","bob","' + "x" * 10_000_000 + '"\n' + "\0\n" + good)
    with bounded_memory():
        found = read(tmp_path / "tweets.csv")
    assert len(found.texts) == 80 and found.notes["left_out_rows"] == {
        "longer than 65,536 bytes": 1,
        "with NUL bytes": 1,
    }
    (tmp_path / "yes").mkdir()
    (tmp_path / "yes" / "s0_0.wav").write_bytes(b"")
    (tmp_path / "clients.csv").write_text("file,client\nyes/s0_0.wav," + "x" * 10_000_000 + "\n")
    with bounded_memory(), pytest.raises(SelfflError, match=r"clients\.csv"):
        take_stock(tmp_path)
