"""What lies in the place of a file and is none (a pipe, a device, a folder, a link to itself): named, at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from problems import class_shards
from tiny import TOML

from selffl_cli.cli.main import main
from selffl_cli.errors import SelfflError
from selffl_cli.runs.audits import read_audits, write_audit

KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
}
FILES = (
    "run.toml",
    "result.json",
    "environment.json",
    "metrics.jsonl",
    "clients.parquet",
    "models.safetensors",
    "manifest.json",
    "train.safetensors",
)


@pytest.fixture
def patience() -> Iterator[None]:
    """A reader that waits, or reads without end, fails after a minute."""

    def late(number: int, frame: object) -> None:
        raise AssertionError("still reading after a minute")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made")
    class_shards(place / "blobs", clients=3)
    (place / "tiny.toml").write_text(TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["train", "tiny.toml", "--data", "./blobs", "-m", "fedavg", "--workers", "1"]) == 0
    return place


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_no_reader_waits_for_what_is_no_file(
    kind: str, name: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], patience: None, no_pictures: None,
) -> None:  # fmt: skip
    shutil.copytree(made, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    run = next(Path("runs/tiny").glob("blobs-fedavg-*"))
    path = Path("blobs", name) if (made / "blobs" / name).exists() else run / name
    path.unlink()
    KINDS[kind](path)
    for words in (["eval", str(run), "--verify"], ["report", "tiny.toml"], ["eval", str(run)]):
        code, said = main(words), capsys.readouterr().err
        assert code == 0 or (said.count("\n") == 1 and "unexpected" not in said), (words, said)
    assert main(["eval", str(run), "--verify"]) != 0
    assert name in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_an_experiment_and_a_source_that_are_no_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], patience: None
) -> None:
    monkeypatch.chdir(tmp_path)
    KINDS[kind](tmp_path / "x.toml")
    KINDS[kind](tmp_path / "source.csv")
    for words in (["train", "x.toml"], ["report", "x.toml"], ["prepare", "sent140", "--source", "source.csv"]):
        assert main(words) in (1, 2), words
        assert capsys.readouterr().err.count("\n") == 1, words


def test_audits_are_sealed(tmp_path: Path) -> None:
    write_audit(tmp_path, "membership", {"global.auc": 0.5})
    path = tmp_path / "audit-membership.json"
    assert read_audits(tmp_path) == {"membership.global.auc": 0.5}
    for text in (path.read_text().replace("0.5", "0.7"), "{", "[1]", json.dumps({"global.auc": "x"})):
        path.write_text(text)
        with pytest.raises(SelfflError, match=r"audit-membership\.json: is damaged"):
            read_audits(tmp_path)
    path.write_text(json.dumps({"global.auc": 0.5}))  # of an older selffl
    assert read_audits(tmp_path) == {"membership.global.auc": 0.5}


@pytest.mark.parametrize(
    "words", [["report", "tiny", "--out"], ["train", "--runs"], ["prepare", "gaussian", "-d"], ["eval"]]
)
def test_a_name_that_is_no_utf_8(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, b"caf\xe9".decode("utf-8", "surrogateescape")]) == 2
    assert "no text in UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "tiny.toml", "--data", "./blobs", "--runs", "tiny.toml"], "'--runs'"),
        (["train", "tiny.toml", "--data", "./blobs", "--runs", "tiny.toml/below"], "see --runs"),
        (["train", "tiny.toml", "--data", "tiny.toml/"], "--data 'tiny.toml/': is a file"),
        (["report", "tiny.toml", "--runs", "tiny.toml"], "'--runs'"),
        (["report", "tiny.toml", "--runs", "tiny.toml/below"], "see --runs"),
        (["report", "tiny.toml", "--out", "tiny.toml"], "'--out'"),
        (["prepare", "gaussian", "--data", "tiny.toml"], "'--data'"),
        (["eval", "runs", "--predictions", "tiny.toml"], "'--predictions'"),
        (["eval", "runs", "--csv", "blobs"], "'--csv'"),
    ],
)
def test_a_file_in_the_place_of_a_folder_is_bad_usage(
    words: list[str], says: str, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and says in said and ("is a file" in said or "is a directory" in said), said
    assert "damaged" not in said
