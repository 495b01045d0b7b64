"""Reports from run folders: the claims ledger, and which runs may stand in one table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_folders import claim, curve, experiment, five_seeds, make, write_run

from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.report.compare import Summary
from selffl_cli.report.ledger import check


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("selffl_cli.report.build._draw", lambda *_: [])
    yield


# claims


@pytest.mark.parametrize(
    ("stated", "verdict"),
    [
        (claim("actperfl:test.personal.accuracy", "fedavg:test.personal.accuracy"), "reproduced"),
        (claim("actperfl:test.personal", "fedavg:test.global", "less"), "contradicted"),
        (claim("actperfl:test.personal", 0.9), "reproduced"),
        (claim("fedavg:test.global.worst_tenth", 0.8, "equal", margin=0.05), "reproduced"),
        (claim("actperfl:method.s0", 0.3 * 0.97**20, "equal", margin=1e-9), "reproduced"),
        (claim("fedavg:test.personal", "fedavg:test.global", "equal", margin=0.019), "contradicted"),
    ],
)
def test_ledger(tmp_path: Path, stated: dict[str, Any], verdict: str) -> None:
    five_seeds(tmp_path / "runs")
    (entry,) = make(tmp_path, claims=[stated]).entries
    assert entry.judgement.verdict == verdict
    assert entry.seeds == [0, 1, 2, 3, 4]


def test_effect_is_the_paired_difference_in_points(tmp_path: Path) -> None:
    five_seeds(tmp_path / "runs")
    report = make(tmp_path, claims=[claim("actperfl:test.personal", "fedavg:test.personal")])
    half = 2.776445 * 100 * 0.002 * 2.5**0.5 / 5**0.5
    assert report.entries[0].effect(report.results) == f"+3.0 [{3 - half:+.1f}, {3 + half:+.1f}]"


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        (claim("fedavgg:test.personal", 0.5), "did you mean 'fedavg'"),
        (claim("fedavg:test.personal.acuracy", 0.5), "did you mean 'test.personal.accuracy'"),
        (claim("local:test.global", 0.5), "local recorded no 'test.global.accuracy'"),
        (claim("nonsense", 0.5), "neither LABEL:part.model.metric nor a number"),
        (claim("0.4", 0.5), "two numbers"),
        (claim("fedavg:test.personal", 0.5, where={"data.clients": 5}), "not swept"),
    ],
)
def test_a_claim_about_nothing_is_refused(tmp_path: Path, stated: dict[str, Any], words: str) -> None:
    five_seeds(tmp_path / "runs", seeds=1)
    methods: dict[str, Any] = {"actperfl": {}, "fedavg": {}, "local": {}, "ditto": {}}
    with pytest.raises(UsageError, match=re.escape(words)):
        make(tmp_path, claims=[stated], methods=methods)
    assert not (tmp_path / "results").exists()


def test_a_claim_of_a_method_that_was_not_trained_is_undecided(tmp_path: Path) -> None:
    five_seeds(tmp_path / "runs")
    methods: dict[str, Any] = {"actperfl": {}, "fedavg": {}, "ditto": {}}
    stated = [claim("ditto:test.personal", "fedavg:test.personal"), claim("actperfl:test.personal", 0.9)]
    stated[0]["required"], stated[1]["id"] = True, "other"
    report = make(tmp_path, claims=stated, methods=methods)
    assert [entry.judgement.verdict for entry in report.entries] == ["undecided", "reproduced"]
    page = (report.folder / "README.md").read_text()
    assert "**undecided** (no finished run of ditto)" in page and "nan" not in page
    with pytest.raises(SelfflError, match=r"undecided \(no finished run of ditto\)"):
        check(report.entries)


def test_a_claim_in_a_sweep_names_its_setting(tmp_path: Path) -> None:
    for clients, gain in ((5, 0.03), (50, -0.03)):
        for seed in range(5):
            setting = {"data.clients": clients}
            write_run(tmp_path / "runs", "fedavg", seed, curve(0.8), setting=setting, key=f"f{clients}")
            end = curve(0.8 + gain + 0.001 * seed)
            write_run(tmp_path / "runs", "actperfl", seed, end, setting=setting, key=f"a{clients}")
    sweep = {"data.clients": [5, 50]}
    stated = claim("actperfl:test.global", "fedavg:test.global")
    few = make(tmp_path, sweep=sweep, claims=[{**stated, "where": {"data.clients": 5}}]).entries[0]
    many = make(tmp_path, sweep=sweep, claims=[{**stated, "where": {"data.clients": 50}}]).entries[0]
    assert (few.judgement.verdict, many.judgement.verdict) == ("reproduced", "contradicted")
    with pytest.raises(UsageError, match="fits 2 settings"):
        make(tmp_path, sweep=sweep, claims=[stated])
    with pytest.raises(UsageError, match="no runs with data.clients = 7"):
        make(tmp_path, sweep=sweep, claims=[{**stated, "where": {"data.clients": 7}}])


# which runs


@pytest.mark.parametrize("different", ["data_hash", "init"])
def test_runs_of_different_origin_are_not_compared(tmp_path: Path, different: str) -> None:
    write_run(tmp_path / "runs", "actperfl", 0, curve(0.9))
    write_run(tmp_path / "runs", "fedavg", 0, curve(0.9), **{different: "other"})  # type: ignore[arg-type]
    with pytest.raises(SelfflError, match=r"digits-actperfl-s0.* and digits-fedavg-s0"):
        make(tmp_path)
    assert not (tmp_path / "results").exists()


def test_of_several_runs_the_one_that_the_toml_states(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    stated = experiment().train.model_dump(exclude_none=True)
    write_run(runs, "fedavg", 0, curve(0.7), key="aaaaaaaa", train=stated, started="2026-01-01")
    write_run(
        runs,
        "fedavg",
        0,
        curve(0.8),
        key="bbbbbbbb",
        train={**stated, "learning_rate": 0.5},
        started="2026-02-02",
    )
    report = make(tmp_path)
    assert Summary(report.results, "rounds").seeds("", "fedavg", "test.global.accuracy").tolist() == [0.7]
    assert any("digits-fedavg-s0-bbbbbbbb" in note for note in report.results.notes)
    # none as stated: the last one started, and the page says that it is another experiment's
    report = make(tmp_path, train={"rounds": 21})
    assert Summary(report.results, "rounds").seeds("", "fedavg", "test.global.accuracy").tolist() == [0.8]
    assert "other options than the experiment's TOML" in (report.folder / "README.md").read_text()


def test_unfinished_and_missing_runs(tmp_path: Path) -> None:
    with pytest.raises(SelfflError, match="selffl train made"):
        make(tmp_path)
    write_run(tmp_path / "runs", "fedavg", 0, curve(0.9), status="")
    with pytest.raises(SelfflError, match="none of the 1 runs"):
        make(tmp_path)
    write_run(tmp_path / "runs", "local", 0, curve(0.9), has_global=False)
    write_run(tmp_path / "runs", "warm-start", 0, curve(0.9))
    report = make(tmp_path)
    assert report.results.labels == ["local"]
    assert "Not finished" in (report.folder / "README.md").read_text()
