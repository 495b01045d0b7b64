"""What stands on the screen while runs go on: which run and how far are never cut, and logs are told every minute."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from selffl_cli.cli import runs_table
from selffl_cli.cli.terminal import Terminal

LINE = {
    "round": 105,
    "time": {"seconds": 9.0, "steps_per_second": 15000.0},
    "eval": {"test": {"global": {"accuracy": 0.9123}, "personal": {"accuracy": 0.9345}}},
    "method": {"s0": 0.00123},
    "per_client": {"steps": [10, 12]},
}


def planned(folder: Path, label: str, seed: int) -> SimpleNamespace:
    folder = folder / f"{label}-{seed}"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(json.dumps(LINE) + "\n")
    train = SimpleNamespace(rounds=12000, periods=False)
    config = SimpleNamespace(label=label, seed=seed, setting={"data.alpha": 0.3}, train=train)
    return SimpleNamespace(folder=folder, config=config, shards=SimpleNamespace(periods=1))


def drawn(width: int, runs: list[SimpleNamespace]) -> list[str]:
    console = Terminal(file=io.StringIO(), width=width, height=30, force_terminal=True, color_system=None)
    board = runs_table.RunsBoard(console, runs)
    with console.capture() as captured:
        console.print(board._table(runs[2:], runs[:2]))
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_run_and_its_rounds_are_never_cut(width: int, tmp_path: Path) -> None:
    lines = drawn(width, [planned(tmp_path, "actperfl-hb", seed) for seed in (0, 1, 2)])
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for seed in (0, 1, 2):
        assert f"actperfl-hb seed {seed} alpha=0.3" in text
    assert text.count("105/12000") == 2
    assert text.count("global 91.2%") == 2 and text.count("waiting") == 2


def test_off_a_terminal_each_run_says_a_line_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, console = [0.0], Terminal(file=io.StringIO(), width=200)
    monkeypatch.setattr(runs_table.time, "monotonic", lambda: now[0])
    runs = [planned(tmp_path, "fedavg", seed) for seed in (0, 1)]
    board = runs_table.RunsBoard(console, runs)
    for second in range(0, 125, 5):
        now[0] = float(second)
        board.show([], runs)
    said = console.file.getvalue().splitlines()
    assert (
        len(said) == 4 and sum("fedavg seed 1 alpha=0.3  round 105/12000  global 91.2%" in line for line in said) == 2
    )
