"""The report over periods: relative change against no memory, runs that serve every size, and forgetting."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from run_folders import claim, experiment, make, write_run

from selffl_cli.report.collect import collect
from selffl_cli.report.sections.continual import forgetting, relative

SIZES = [5, 50]
FINAL = {"none": 100.0, "all": 50.0, "naive": 80.0, "coordinated": 70.0}


def write(root: Path) -> None:
    """Two rounds in each of two periods; three seeds; perplexity on period 1 doubles without a memory."""
    for seed in range(3):
        for label, end in FINAL.items():
            for size in SIZES if label in ("naive", "coordinated") else SIZES[:1]:
                value = end + seed - (10 if size == 50 else 0)
                train = {"rounds": 2, "periods": True, "memory": label, "memory_size": size, "batch_size": 10,
                         "learning_rate": 0.1}  # fmt: skip
                folder = write_run(
                    root, label, seed, {0: 500.0, 2: 200.0, 4: value}, metric="perplexity", train=train,
                    setting={"train.memory_size": size}, key=f"{size:08d}", data_hash=f"{seed}",
                )  # fmt: skip
                lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
                for line in lines:
                    if "eval" in line:
                        grown = 2.0 if label == "none" and line["round"] == 4 else 1.0
                        line["eval"]["period-1"] = {"global": {"perplexity": 60.0 * grown}}
                        line["eval"]["period-2"] = {"global": {"perplexity": 90.0}}
                (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


CHANGES = {
    "train": {"rounds": 2, "periods": True},
    "methods": {label: {"method": "fedavg", "train": {"memory": label}} for label in FINAL},
    "sweep": {"train.memory_size": SIZES},
    "claims": [claim("naive:test.global.perplexity", "none:test.global.perplexity", "less",
                     where={"train.memory_size": 50})],
}  # fmt: skip


def test_change_against_no_memory_and_what_is_forgotten(tmp_path: Path) -> None:
    write(tmp_path / "runs")
    results = collect(experiment(**CHANGES), tmp_path / "runs")
    # "none" and "all" were run once and stand at both sizes
    assert {(r.label, r.setting) for r in results.runs if r.label == "all"} == {
        ("all", "memory_size=5"), ("all", "memory_size=50"),
    }  # fmt: skip
    change = relative(results)
    found = change[(change["label"] == "naive") & (change["seed"] == 1)].set_index("size")["change"]
    assert found[5] == pytest.approx(81 / 101 - 1) and found[50] == pytest.approx(71 / 101 - 1)
    assert (change[change["label"] == "none"]["change"] == 0).all()
    lost = forgetting(results)
    assert (lost[(lost["label"] == "none") & (lost["period"] == 1)]["change"] == 1.0).all()
    assert (lost[lost["label"] == "naive"]["change"] == 0).all()


def test_the_page_has_the_table_the_pictures_and_the_claim(tmp_path: Path) -> None:
    write(tmp_path / "runs")
    report = make(tmp_path, **CHANGES)
    page = (report.folder / "README.md").read_text()
    assert "### Memory over periods" in page and "| method | N = 5 | N = 50 |" in page and "perplexity" in page
    assert "| all | -50.0" in page.replace("−", "-") or "| all | -4" in page
    for name in ("replay.png", "forgetting.png", "replay.csv", "forgetting.csv"):
        assert (report.folder / name).stat().st_size > 0
    table = pd.read_csv(report.folder / "replay.csv")
    assert set(table["label"]) == set(FINAL)
    (entry,) = report.entries
    assert entry.left == pytest.approx(71) and entry.right == pytest.approx(101)
