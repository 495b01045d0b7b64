"""docs/own-table.md, done as it stands but for the number of rounds: from a table to a report."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from selffl_cli.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "own-table.md"


@pytest.mark.usefixtures("no_pictures")
def test_the_page_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(compile(program, str(PAGE), "exec"), {})
    commands = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()]
    assert [command.split()[1] for command in commands] == ["prepare", "train", "report"]
    for command in commands:
        words = shlex.split(command.replace("--rounds 30", "--rounds 3"))[1:]
        found = [str(path) for word in words if "*" in word for path in Path().glob(word)]
        words = [found[0] if "*" in word else word for word in words]
        assert main([*words, *(["--jobs", "1"] if words[0] == "train" else [])]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "country: category, 3 values" in said and "returned: the target, a class, 2 values" in said
    page = (tmp_path / "runs/own-table/report/README.md").read_text()
    assert "personal models" in page and "fedavg-ft" in page
