"""The report of `audit canary-text`: a table and a picture of the digits found against the times planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_folders import curve, experiment, write_run

from selffl_cli.report.build import build
from selffl_cli.report.sections import canary as planted
from selffl_cli.report.sections.canary import MODELS
from selffl_cli.runs.audits import write_audit


def test_digits_found_are_drawn_against_the_times_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    save = planted.save

    def look(fig: Any, out: Path, name: str) -> str:
        ax = fig.axes[0]
        drawn["ticks"] = [label.get_text() for label in ax.get_xticklabels()]
        drawn["guessing"] = [line.get_ydata()[0] for line in ax.get_lines() if line.get_label() == "guessing"]
        for words, container in zip(MODELS.values(), ax.containers, strict=True):
            ends = [segment[:, 1] for segment in container.lines[2][0].get_segments()]
            drawn[words] = (list(container.lines[0].get_ydata()), ends)
        return save(fig, out, name)

    monkeypatch.setattr(planted, "save", look)
    for times, digits in ((1, [0.0, 0.25]), (50, [1.0, 0.5])):
        for seed in range(2):
            setting = {"data.canary": times}
            run = write_run(tmp_path / "runs", "fedavg", seed, curve(0.9), setting=setting, key=f"{times:08}")
            figures = {"exact": 0.0, "hamming": 3.0, "rank": 1234.0}
            found = {f"{model}.{key}": value for model in MODELS for key, value in figures.items()}
            found |= {"global.digits": 0.0, "others.digits": 0.1, "owner.digits": digits[seed]}
            write_audit(run, "canary-text", found)
    swept = experiment(sweep={"data.canary": [1, 50]}, methods={"fedavg": {}})
    report = build(swept, tmp_path / "runs", tmp_path / "results", [], "")
    page = (report.folder / "README.md").read_text()
    assert "| canary=50 fedavg | personal, of the owner | 0.75 | 0.00 | 3.00 | 1,234 |" in page
    assert page.count("![planted](planted.png)") == 1 and not (report.folder / "planted.svg").exists()
    assert drawn["ticks"] == ["1", "50"] and drawn["guessing"] == [0.1]
    means, ends = drawn["personal, of the owner"]
    assert means == [0.125, 0.75]
    assert [tuple(end) for end in ends] == [(0, 1), (0, 1)], "two seeds say little, and a share stays between 0 and 1"
    assert drawn["global"][0] == [0, 0] and drawn["personal, of others"][0] == pytest.approx([0.1, 0.1])


def test_runs_that_were_not_attacked_show_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "fedavg", 0, curve(0.9))
    report = build(experiment(), tmp_path / "runs", tmp_path / "results", [], "")
    assert "planted" not in (report.folder / "README.md").read_text()
    assert not (report.folder / "planted.png").exists()
