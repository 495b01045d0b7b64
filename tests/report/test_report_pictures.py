"""Pictures that stay legible: many methods get a panel each, on one scale, beside the first method's curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from run_folders import curve, experiment, write_run

from selffl_cli.report.build import build
from selffl_cli.report.collect import collect
from selffl_cli.report.compare import Summary
from selffl_cli.report.pictures import diagnostics, multiples
from selffl_cli.report.pictures import sweep as sweep_pictures
from selffl_cli.report.pictures.style import figure, plain_log
from selffl_cli.report.results import Results

pytestmark = pytest.mark.usefixtures("any_run_is_stated")

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
    stated = experiment(methods={label: {} for label in METHODS})
    build(stated, tmp_path / "runs", tmp_path / "results", ["gradients"], "")
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
    stated = experiment(methods={label: {} for label in METHODS}, sweep={"data.clients": [5, 100]})
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


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Every text of the diagnostics and of the heat map, by picture."""
    found: dict[str, list[str]] = {}

    def look(fig: Any, out: Path, name: str) -> str:
        fig.canvas.draw()
        own = [text for ax in fig.axes for text in (ax.title, ax.xaxis.label, *ax.texts)]
        found[name] = [text.get_text() for text in (*own, *([fig._supxlabel] if fig._supxlabel else []))]
        return name

    monkeypatch.setattr(diagnostics, "save", look)
    monkeypatch.setattr(sweep_pictures, "save", look)
    return found


@pytest.mark.parametrize(("metric", "says"), [("accuracy", "40 % gain, 20 % lose"),
                                              ("squared_error", "20 % gain, 40 % lose")])  # fmt: skip
def test_a_panel_says_who_gains_who_loses_and_how_large_clients_are(
    tmp_path: Path, seen: dict[str, list[str]], metric: str, says: str
) -> None:
    folder = write_run(tmp_path / "runs", "fedavg", 0, curve(0.9), metric=metric, clients=5)
    table = parquet.read_table(folder / "clients.parquet").to_pydict()
    score = "correct" if metric == "accuracy" else metric
    table |= {"n_train": [30] * 5, "n_test": [10] * 5, f"test_global_{score}": [5.0] * 5}
    table[f"test_personal_{score}"] = [6.0, 7.0, 5.0, 5.0, 4.0]
    parquet.write_table(pa.table(table), folder / "clients.parquet")
    build(experiment(), tmp_path / "runs", tmp_path / "results", [], "")
    assert f"fedavg: {says}" in seen["clients"] and "clients of 30 training samples each" in seen["clients"]


def test_the_worst_tenth_is_named_by_its_figure(tmp_path: Path, seen: dict[str, list[str]]) -> None:
    write_run(tmp_path / "runs", "fedavg", 0, curve(20.0), metric="perplexity", personal=1.0)
    diagnostics.worst_tenth(*_read(tmp_path), tmp_path)
    assert "test perplexity of the worst tenth of clients" in seen["worst-tenth"]


def test_a_difference_of_nothing_has_no_minus(tmp_path: Path, seen: dict[str, list[str]]) -> None:
    for label, end in (("actperfl", 0.9), ("fedavg", 0.9 - 1e-5), ("local", 0.88)):
        write_run(tmp_path / "runs", label, 0, curve(end))
    sweep_pictures.heat_map(*_read(tmp_path), tmp_path)
    assert {"+0.0", "-2.0"} <= set(seen["differences"]) and "-0.0" not in seen["differences"]


def _read(place: Path) -> tuple[Results, Summary]:
    results = collect(experiment(), place / "runs")
    return results, Summary(results, "rounds")
