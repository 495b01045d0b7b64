"""Pictures that stay legible: many methods get a panel each, on one scale, beside the first method's curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_folders import curve, experiment, write_run

from selffl_cli.report import multiples
from selffl_cli.report.build import build
from selffl_cli.report.style import figure, plain_log

METHODS = ["actperfl", "fedavg", "fedprox", "ditto", "apfl", "fedrep", "local", "pfedme"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The visible panels of the last picture of many methods: (title, labels of its lines, y limits)."""
    panels: list[Any] = []

    def look(fig: Any, out: Path, name: str) -> str:
        panels[:] = [
            (ax.get_title(), [line.get_label() for line in ax.get_lines()], ax.get_ylim())
            for ax in fig.axes
            if ax.get_visible()
        ]
        return name

    monkeypatch.setattr(multiples, "save", look)
    return panels


def test_more_methods_than_colours_get_a_panel_each(tmp_path: Path, drawn: list[Any]) -> None:
    for label in METHODS:
        for seed in range(2):
            write_run(tmp_path / "runs", label, seed, curve(0.1 if label == "pfedme" else 0.9),
                      has_global=label != "local")  # fmt: skip
    build(experiment(), tmp_path / "runs", tmp_path / "results", ["gradients"], "")
    titles, lines, limits = zip(*drawn, strict=True)
    assert sorted(title.split(":")[0] for title in titles) == sorted(METHODS)
    by_method = dict(zip((title.split(":")[0] for title in titles), lines, strict=True))
    assert by_method["actperfl"] == ["personal", "global"]
    assert by_method["fedavg"] == ["personal, actperfl", "personal", "global"]
    assert by_method["local"] == ["personal, actperfl", "personal"]
    assert len(set(limits)) == 1  # one scale, on which the one that learnt nothing does not flatten the others
    assert 20 < limits[0][0] < 90 and limits[0][1] > 92
    assert next(title for title in titles if title.startswith("pfedme")) == "pfedme: 12"  # its end still stands there


def test_many_methods_of_a_sweep_show_a_line_for_each_setting(tmp_path: Path, drawn: list[Any]) -> None:
    for label in METHODS:
        for clients in (5, 100):
            write_run(tmp_path / "runs", label, 0, curve(0.9), key=str(clients), setting={"data.clients": clients})
    stated = experiment(sweep={"data.clients": [5, 100]})
    build(stated, tmp_path / "runs", tmp_path / "results", ["rounds"], "")
    assert len(drawn) == len(METHODS)
    for title, lines, _ in drawn:
        behind = [] if title == "actperfl" else ["personal, actperfl"] * 2
        assert lines == [*behind, "clients=5", "clients=100"]


def test_few_methods_share_panels(tmp_path: Path, drawn: list[Any]) -> None:
    for label in METHODS[:7]:
        write_run(tmp_path / "runs", label, 0, curve(0.9))
    report = build(experiment(), tmp_path / "runs", tmp_path / "results", ["rounds"], "")
    assert (report.folder / "curves-rounds.png").exists() and not drawn


def test_a_logarithmic_axis_has_plain_numbers(tmp_path: Path) -> None:
    with figure(1, 1, 3.5, 2.0) as (fig, axes):
        ax = axes[0, 0]
        ax.plot([20, 300], [1, 2])
        ax.set_xscale("log")
        plain_log(ax.xaxis)
        fig.canvas.draw()
        shown = [text.get_text() for text in ax.get_xticklabels(which="both") if text.get_text()]
        assert {"20", "50", "100", "200"} <= set(shown) and not any("^" in text for text in shown)
