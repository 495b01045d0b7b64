"""An experiment handed on: the bundle is made, checked elsewhere, and whatever is changed in it is found."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from selffl_cli.cli.main import main
from selffl_cli.errors import SelfflError
from selffl_cli.files.checksums import seal, unseal
from selffl_cli.finished.bundle.pack import INDEX
from selffl_cli.finished.bundle.unpack import unpack
from selffl_cli.runs.folder import RESULT
from selffl_cli.shards import sha256

TOML = """
name = "little"
title = "Little"
seeds = [0, 1]
[data]
name = "digits"
clients = 4
[model]
name = "mlp"
hidden = [8]
[train]
rounds = 2
eval_every = 1
[methods.fedavg]
[methods.local]
[[claims]]
id = "pays"
text = "Federation pays"
left = "fedavg:test.personal.accuracy"
right = "local:test.personal.accuracy"
relation = "greater"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs, the report and the bundle of a small experiment."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "little.toml").write_text(TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "little.toml", "--jobs", "1", "--workers", "1"]) == 0
        assert main(["report", "little.toml"]) == 0
        assert main(["bundle", "runs/little/report", "--experiment", "little.toml"]) == 0
    return folder


@pytest.fixture
def elsewhere(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another folder, with the archive alone."""
    shutil.copy(made / "little.zip", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changed(archive: Path, change: Callable[[dict[str, bytes]], None], vouch: bool = False) -> None:
    """Write the archive again with other members; `vouch` puts the new checksums into its index, as a forger would."""
    import hashlib

    with zipfile.ZipFile(archive) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    if vouch:
        index = unseal(json.loads(members[INDEX]))
        index["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name != INDEX}
        members[INDEX] = json.dumps(seal(index)).encode()
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


def test_a_bundle_is_verified_where_nothing_else_is(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "little.zip"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "the same to the bit"
    assert said.count(": equal") == 4 + 3 and "not recomputed" not in said
    assert [path.name for path in elsewhere.iterdir()] == ["little.zip"]


def test_every_run_is_trained_again(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "little.zip", "--rerun", "--into", "kept"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the same to the bit"
    assert len(list((elsewhere / "kept" / "again").rglob(RESULT))) == 4


def test_what_a_bundle_holds(made: Path) -> None:
    with zipfile.ZipFile(made / "little.zip") as archive:
        names = set(archive.namelist())
        guide = archive.read("README.md").decode()
    runs = {path.name for path in (made / "runs/little").iterdir() if (path / RESULT).exists()}
    assert {name.split("/")[2] for name in names if name.startswith("runs/")} == runs
    assert {"experiment.toml", "packages.txt", "LICENSE", "report/README.md", "report/report.html", INDEX} <= names
    assert sum(name.endswith("models.safetensors") for name in names) == 4
    assert not any(name.endswith("train.safetensors") for name in names)
    assert "selffl verify little.zip" in guide and "4 finished runs" in guide


def test_the_same_runs_give_the_same_archive(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    words = ["bundle", "runs/little/report", "--experiment", "little.toml", "--out", str(tmp_path / "again.zip")]
    assert main(words) == 0
    assert sha256(tmp_path / "again.zip") == sha256(made / "little.zip")


def test_without_models_the_tables_are_made_again_and_runs_are_said_to_be_left_out(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)
    words = ["bundle", "runs/little/report", "--experiment", "little.toml", "--no-models", "--data"]
    assert main([*words, "--out", str(tmp_path / "light.zip")]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["verify", "light.zip"]) == 0
    assert "not recomputed: 4 runs" in capsys.readouterr().out
    with zipfile.ZipFile("light.zip") as archive:
        assert sum(name.endswith("/train.safetensors") for name in archive.namelist()) == 2  # one a seed


def lower(members: dict[str, bytes], name: str, old: bytes, new: bytes) -> None:
    found = next(one for one in members if one.endswith(name) and old in members[one])
    members[found] = members[found].replace(old, new)


@pytest.mark.parametrize(
    ("change", "vouch", "says"),
    [
        (lambda m: m.pop("report/tables.csv"), False, "'report/tables.csv' is missing"),
        (lambda m: m.update({"more.txt": b"x"}), False, "'more.txt' is not in its index"),
        (lambda m: lower(m, "metrics.jsonl", b'"loss"', b'"lost"'), False, "is damaged"),
        (lambda m: m.pop(INDEX), False, "so it is no bundle"),
        (lambda m: m.update({INDEX: b"{}"}), False, "its bundle.json cannot be read"),
        (lambda m: lower(m, "report/tables.csv", b",fedavg,", b",fedavx,"), True, "tables.csv: line "),
        (lambda m: lower(m, "clients.parquet", b"PAR1", b"PAR2"), True, "is damaged (not what result.json says)"),
        (lambda m: m.update({"runs/run.toml/x": b""}), False, "is not in its index"),
        (lambda m: m.update({"../out.txt": b""}), False, "would leave its folder"),
        (lambda m: m.update({"/tmp/out.txt": b""}), False, "would leave its folder"),
    ],
)
def test_what_was_changed_is_named(
    elsewhere: Path, change: Callable, vouch: bool, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(elsewhere / "little.zip", change, vouch)
    assert main(["verify", "little.zip", "--into", "kept"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert {path.name for path in elsewhere.iterdir()} <= {"little.zip", "kept"}


def test_a_link_is_refused(elsewhere: Path) -> None:
    with zipfile.ZipFile("little.zip", "a") as archive:
        link = zipfile.ZipInfo("runs/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
    with pytest.raises(SelfflError, match="is a link or a device"):
        unpack(Path("little.zip"), elsewhere / "kept")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bundle", "nothing"], "no report in it"),
        (["verify", "little.zip", "--into", "."], "is not empty"),
    ],
)
def test_what_cannot_be_is_bad_usage(
    elsewhere: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert says in capsys.readouterr().err


def test_croissant_is_valid_and_reads_the_clients(made: Path, tmp_path: Path) -> None:
    mlc = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed (pip install mlcroissant)")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        words = ["bundle", "runs/little/report", "--experiment", "little.toml", "--data"]
        assert main([*words, "--out", str(tmp_path / "b.zip")]) == 0
    bundle = unpack(tmp_path / "b.zip", tmp_path / "kept")
    described = sorted(bundle.folder.glob("data/*/croissant.json"))
    dataset = mlc.Dataset(jsonld=str(described[0]))
    assert not dataset.metadata.ctx.issues.errors
    rows = list(dataset.records("clients"))
    assert len(rows) == 4 and {"clients/name", "clients/n_train"} <= rows[0].keys()
