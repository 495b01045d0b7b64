"""A hostile text in every free field of shards, experiment and runs, through every command: no output is led by it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selffl_cli.cli.main import main
from selffl_cli.files.checksums import seal, unseal
from selffl_cli.runs.folder import ENVIRONMENT, RECORD, RESULT
from selffl_cli.shards import ShardData, sha256, write_shards

HOSTILE = (
    "=cmd()\x1b[31mred\x1b]0;title\x07[bold]b[/b] <script>alert(1)</script> $x_1^2$ | `c` \u202e\n# heading\n"
    "```sh\n=cmd() %&"
)
PATH = HOSTILE.replace("/", "").replace("`", "") + "-"  # what a folder can be called

TOML = """
name = "hostile"
title = TEXT
description = TEXT
seeds = [0, 1]
data = { name = "blobs" }
model = { name = "softmax" }
train = { rounds = 2, local_steps = 2, eval_every = 1 }
[methods.fedavg]
[methods.ditto]
[methods.TEXT]
method = "fedavg"
[[claims]]
id = TEXT
text = TEXT
source = TEXT
paper = TEXT
left = LEFT
right = "fedavg:test.global.accuracy"
relation = "greater"
required = true
"""


def hostile_shards(folder: Path) -> None:
    """Three clients in two groups, all of whose names are hostile."""
    rng = np.random.default_rng(0)
    client = np.repeat(np.arange(3), 12)
    write_shards(folder, ShardData(
        name="blobs", partition="natural", task="classification",
        arrays={"x": rng.normal(size=(36, 4)), "y": np.tile([0, 1], 18)}, client=client,
        part=np.tile([0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2], 3), client_names=[f"{HOSTILE}{i}" for i in range(3)],
        classes=[HOSTILE, HOSTILE + "2"], client_columns={"group": [HOSTILE, HOSTILE, HOSTILE + "2"]},
        sources=[{"name": HOSTILE, "sha256": "0" * 64}], arguments={"seed": 0, "text": HOSTILE}, citation=HOSTILE,
        notes={"warning": HOSTILE, HOSTILE: HOSTILE},
    ))  # fmt: skip


def change(run: Path, name: str, **values: Any) -> None:
    """Other values in a file of a finished run, with checksums that fit."""
    path, result = run / name, run / RESULT
    kept = unseal(json.loads(result.read_text()))
    if name == RESULT:
        kept |= values
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
        kept["files"][name] = sha256(path)
    result.write_text(json.dumps(seal(kept)))


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """{output: text} of every command and of every file that they write."""
    place = tmp_path_factory.mktemp("place") / PATH
    place.mkdir()
    outputs: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        hostile_shards(Path("shards"))
        text = TOML.replace("TEXT", json.dumps(HOSTILE)).replace("LEFT", json.dumps(f"{HOSTILE}:test.global.accuracy"))
        Path("hostile.toml").write_text(text)
        whole = [str(Path("hostile.toml").resolve()), "--runs", f"{PATH}runs", "--data", str(Path("shards").resolve())]

        def run(*words: str, code: int | tuple[int, ...] = 0) -> None:
            out, err = io.StringIO(), io.StringIO()
            with pytest.MonkeyPatch.context() as streams:
                streams.setattr("sys.stdout", out)
                streams.setattr("sys.stderr", err)
                found = main(list(words))
                assert found == code or (isinstance(code, tuple) and found in code), err.getvalue()[-400:]
            outputs[f"{len(outputs)} {words[0]}"] = out.getvalue() + err.getvalue()

        run("train", *whole, "--jobs", "1", "--dry-run")
        run("train", *whole, "--jobs", "1")
        run("train", *whole, "--jobs", "2")
        folders = sorted(path.parent for path in Path(f"{PATH}runs").glob(f"hostile/*/{RECORD}"))
        assert len(folders) == 6
        for folder in folders:
            known = json.loads((folder / ENVIRONMENT).read_text())
            change(folder, ENVIRONMENT, **{key: HOSTILE for key, value in known.items() if isinstance(value, str)},
                   command=["selffl", HOSTILE])  # fmt: skip
        change(folders[-1], RESULT, status="diverged", message=HOSTILE)
        runs = [str(folder) for folder in folders[:-1]]
        run("ls", "--runs", f"{PATH}runs")
        run("ls", "--runs", f"{PATH}runs", "--json")
        run("eval", *runs, "--csv", "eval.csv")
        run("eval", *runs, "--verify")
        run("audit", "membership", *runs)
        run("audit", "sensitivity", *runs)
        run("report", *whole, "--x", "rounds")
        patch.setattr("selffl_cli.report.build._draw", lambda *words: [])  # one report with pictures is enough
        run("report", *whole, "--out", f"{PATH}results", "--include", "--check", code=1)
        run("rerun", runs[0], "--data", str(Path("shards").resolve()), "--runs", f"{PATH}again", code=1)
        for words in (["train", HOSTILE], ["train", f"{HOSTILE}.toml"], ["report", HOSTILE], ["eval", HOSTILE],
                      ["train", "digits", "-m", HOSTILE], ["train", "digits", "--set", f"{HOSTILE}=1"],
                      ["prepare", HOSTILE], ["rerun", HOSTILE], ["train", "digits", "--data", f"./{HOSTILE}"],
                      ["prepare", "mnist", "--source", HOSTILE], ["train", "digits", "--init", HOSTILE]):  # fmt: skip
            run(*words, code=(1, 2))
        for path in sorted(place.rglob("*")):
            if path.suffix in (".md", ".html", ".csv", ".tex", ".svg") and path.is_file():
                outputs[str(path.relative_to(place))] = path.read_bytes().decode()
    return outputs


def of(said: dict[str, str], suffix: str) -> list[str]:
    found = [text for name, text in said.items() if name.endswith(suffix)]
    assert found
    return found


def test_nothing_moves_the_cursor_colours_or_turns_text(said: dict[str, str]) -> None:
    assert sum("alert(1)" in text for text in said.values()) > 20  # the fields are shown
    for name, text in said.items():
        for character in ("\x1b", "\x07", "\u202e"):
            assert character not in text, (name, text[max(text.index(character) - 80, 0) :][:160])


def test_markdown_has_no_html_heading_fence_or_formula(said: dict[str, str]) -> None:
    for text in of(said, ".md"):
        outside = re.sub(r"(?ms)^```.*?^```$", "", text)  # blocks of the page itself, which show what is in them
        assert "<script" not in re.sub(r"`[^`\n]*`", "", outside)
        assert not re.search(r"(?m)^\s*(# heading|```)", outside)
        # rows of figures begin with a label; sentences, such as those of claims, may hold a formula
        cells = "\n".join(line for line in outside.splitlines() if "cmd()" in line[:12] and line.startswith("|"))
        assert not re.search(r"(?<!\\)\$x", re.sub(r"`[^`\n]*`", "", cells))


def test_html_has_no_script_of_others(said: dict[str, str]) -> None:
    for text in of(said, ".html"):
        assert "<script>alert" not in text


def test_no_cell_is_a_formula(said: dict[str, str]) -> None:
    for text in of(said, ".csv"):
        for row in csv.reader(io.StringIO(text)):
            for cell in row:
                assert cell[:1] not in ("=", "+", "@") and (cell[:1] != "-" or float(cell) <= 0)


def test_latex_is_ascii_without_formulas_of_others(said: dict[str, str]) -> None:
    for text in of(said, ".tex"):
        assert text.isascii() and "$x_1" not in text and "# heading" not in re.sub(r"\\#", "", text)
