"""What README and docs/ say can be typed: every command is read by the program's own parser, every page is current."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pages import files

from selffl_cli.cli.keys_page import page
from selffl_cli.cli.main import COMMANDS, _load
from selffl_cli.cli.prepare import _command
from selffl_cli.config.experiment import experiment_names

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "results" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.S | re.M)
INDENTED = re.compile(r"^    (selffl .*)$", re.M)
END = {"|", ";", "&&", "&", ">", "2>", "||"}


def commands(text: str) -> list[list[str]]:
    """The words of every `selffl …` in the blocks of a page."""
    found = []
    lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *INDENTED.findall(text)]:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
        lexer.whitespace_split = True
        words = list(lexer)
        for start, word in enumerate(words):
            if word == "selffl" and (start == 0 or words[start - 1] in END or words[start - 1] == "time"):
                rest = words[start + 1 :]
                stop = next((i for i, one in enumerate(rest) if one in END), len(rest))
                found.append(rest[:stop])
    return found


ALL = [(path.name, words) for path in PAGES for words in commands(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("where", "words"), ALL, ids=[f"{where}: {' '.join(words)}"[:90] for where, words in ALL])
def test_a_command_on_a_page_is_one(
    where: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files(where).items() if where.startswith("own-") else ():  # that the commands name
        (tmp_path / name).write_text(content, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
    words = [word for word in words if word != "…"]
    if not words or words[0].startswith("-") or words[0].isupper():  # selffl --version, selffl COMMAND
        return
    name, *rest = words
    assert name in COMMANDS, name
    command: Any = _load(name)
    if hasattr(command, "commands"):
        if not rest or rest[0].startswith("-") or rest[0].isupper():
            return
        command = _command(rest[0]) if name == "prepare" else command.commands[rest[0]]
        rest = rest[1:]
    command.callback = lambda **options: None  # what is typed is read, and nothing is done
    command(rest, prog_name=f"selffl {name}", standalone_mode=False)
    if name in ("train", "tune", "report", "experiments") and rest and not rest[0].startswith("-"):
        known = rest[0] in experiment_names() or rest[0].endswith(".toml") or rest[0].isupper()
        assert known, f"no experiment '{rest[0]}'"


def test_there_are_commands_on_the_pages() -> None:
    assert len(ALL) > 50 and {where for where, _ in ALL} >= {"README.md", "sweeps.md", "slurm.md", "artifact.md"}


def test_the_page_of_keys_is_current() -> None:
    """`python -m selffl_cli.cli.keys_page docs/experiment-keys.md` writes it."""
    assert (ROOT / "docs" / "experiment-keys.md").read_text(encoding="utf-8") == page()


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = [path.name for path in (ROOT / "docs").glob("*.md") if f"({path.name})" not in index]
    assert missing == ["index.md"]


def test_links_of_the_pages_lead_somewhere() -> None:
    for path in PAGES:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target and not target.startswith("../../actions/"):  # which the forge has
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed (the extra docs)")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "site" / "index.html").is_file()
    shutil.rmtree(tmp_path / "site")
