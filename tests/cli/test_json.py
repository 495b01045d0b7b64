"""What commands print with --json fits the committed schemas, which are those of the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from selffl_cli.cli.main import main
from selffl_cli.cli.schemas import SCHEMAS, schema, write

DOCS = Path(__file__).parents[2] / "docs" / "schemas"
TOML = """
extends = "digits"
remove = ["claims.beats-fedavg-personal"]
[data]
clients = 4
[train]
rounds = 2
[tuning]
rounds = 1
seed = 50
[tuning.grids.fedavg]
"train.learning_rate" = [0.05, 0.1]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    (folder / "little.toml").write_text(TOML)
    return folder


SMALL = ["little.toml", "-m", "fedavg", "--jobs", "1", "--workers", "1"]
# in this order: what a command needs, an earlier one made
COMMANDS = [
    ("experiments", ["experiments"]),
    ("experiments", ["experiments", "digits"]),
    ("methods", ["methods"]),
    ("doctor", ["doctor", "--no-speed"]),
    ("dry-run", ["train", *SMALL, "-s", "0-1", "--dry-run"]),
    ("tune", ["tune", *SMALL]),
    ("train", ["train", *SMALL[:1], "-m", "fedavg", "-m", "actperfl", *SMALL[3:], "-s", "0-1"]),
    ("ls", ["ls", "--trials"]),
    ("eval", ["eval", "RUN"]),
    ("audit", ["audit", "membership", "RUN"]),
    ("report", ["report", "little.toml"]),
]


def test_every_command_keeps_to_its_schema(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    for name, words in COMMANDS:
        run = next(iter(place.glob("runs/*/*-fedavg-*/run.toml")), place).parent
        words = [str(run) if word == "RUN" else word for word in words]
        capsys.readouterr()
        assert main([*words, "--json"]) == 0, words
        content = json.loads(capsys.readouterr().out, parse_constant=_not_json)
        jsonschema.Draft202012Validator(json.loads((DOCS / f"{name}.json").read_text())).validate(content)
        assert content, words
    assert {name for name, _ in COMMANDS} == set(SCHEMAS)


def _not_json(word: str) -> Any:
    raise AssertionError(f"{word} is no JSON")


def test_the_committed_schemas_are_those_of_the_code(tmp_path: Path) -> None:
    """`python -m selffl_cli.cli.schemas docs/schemas` brings them up to date."""
    write(tmp_path)
    assert {path.name for path in DOCS.iterdir()} == {path.name for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        assert (DOCS / path.name).read_text() == path.read_text(), path.name


def test_a_schema_refuses_what_does_not_fit() -> None:
    check = jsonschema.Draft202012Validator(schema("ls"))
    assert not check.is_valid([{"path": "x"}]) and check.is_valid([])
