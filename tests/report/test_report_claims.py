"""Reports from run folders: the claims ledger, and which runs may stand in one table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from run_folders import claim, curve, experiment, five_seeds, make, write_run

from selffl_cli.config.run import ENGINE_VERSION
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.report.collect import collect
from selffl_cli.report.compare import Summary, limits
from selffl_cli.report.ledger import check

pytestmark = pytest.mark.usefixtures("no_pictures")


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
    """One quick try on other data, or from another start, is left out and named; it turns no row."""
    five_seeds(tmp_path / "runs", seeds=1)
    write_run(tmp_path / "runs", "fedavg", 0, curve(0.3), key="aaaaaaaa", **{different: "other"})  # type: ignore[arg-type]
    write_run(tmp_path / "runs", "fedprox", 0, curve(0.3), **{different: "other"})  # type: ignore[arg-type]
    methods: dict[str, Any] = {"actperfl": {}, "fedavg": {}, "local": {}, "fedprox": {}}
    results = make(tmp_path, methods=methods).results
    assert results.labels == ["actperfl", "fedavg", "local"]
    assert Summary(results, "rounds").seeds("", "fedavg", "test.global.accuracy").tolist() == [0.9]
    (note,) = [note for note in results.notes if "left out" in note]
    origin = "data other" if different == "data_hash" else "another start"
    assert f"fedavg ({origin}), fedprox ({origin})" in note and note.startswith("2 other runs")


STATED = experiment().train.model_dump(exclude_none=True)
CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"train": {**STATED, "learning_rate": 0.5}}, "fedavg (learning_rate 0.5)"),
    ({"train": {**STATED, "privacy": "user:clip=1,noise=1,delta=0.001"}}, "fedavg (privacy user:"),
    ({"options": {"weighting": "equal"}}, "fedavg (weighting equal)"),
    ({"clients": 10}, "fedavg (clients 10)"),
    ({"setting": {"data.validation": 0.3}}, "fedavg (validation 0.3)"),
    ({"accuracy": {0: 0.1, 5: 0.3}}, "fedavg (rounds 5)"),
]


@pytest.mark.parametrize(("change", "label"), CHANGES)
@pytest.mark.parametrize("alone", [False, True])
def test_a_report_holds_the_runs_that_the_toml_states(
    tmp_path: Path, change: dict[str, Any], label: str, alone: bool
) -> None:
    """Other options, privacy, data or rounds never stand in a plain row, nor lower what the others are read at."""
    runs = tmp_path / "runs"
    if not alone:
        five_seeds(runs, seeds=2, gradients=10)
    write_run(runs, "fedavg", 3 if not alone else 0, **{"accuracy": curve(0.3), "key": "bbbbbbbb", **change})
    if alone:
        with pytest.raises(SelfflError, match=r"no run in .* states as it is now. 1 other run"):
            make(tmp_path)
    else:
        results = make(tmp_path).results
        assert Summary(results, "rounds").seeds("", "fedavg", "test.global.accuracy").tolist() == [0.9, 0.91]
        assert any("1 other run" in note and label in note and "--include" in note for note in results.notes)
    results = collect(experiment(), runs, include=True)
    assert any(name.startswith(label) for name in results.labels) and len(results.labels) == (1 if alone else 4)
    if not alone:
        assert Summary(results, "rounds").seeds("", "fedavg", "test.global.accuracy").tolist() == [0.9, 0.91]
        assert set(Summary(results, "rounds").marks("", "test.personal.accuracy")) <= {"actperfl", "fedavg", "local"}


def test_other_versions_stand_under_a_label_of_their_own(tmp_path: Path) -> None:
    five_seeds(tmp_path / "runs", seeds=2)
    older = write_run(tmp_path / "runs", "fedavg", 4, curve(0.3))
    (older / "run.toml").write_text((older / "run.toml").read_text().replace("engine = ", "engine = 9"))
    results = collect(experiment(), tmp_path / "runs", include=True)
    assert results.included == {f"fedavg (engine version 9{ENGINE_VERSION})"}
    page = (make(tmp_path).folder / "README.md").read_text()
    assert "1 other run that the experiment's TOML does not state as it is now is left out: fedavg (engine" in page


def test_variants_of_one_label_are_told_apart(tmp_path: Path) -> None:
    """`train --label NAME` with two rates makes two rows, and a run of fewer rounds lowers nobody's."""
    five_seeds(tmp_path / "runs", seeds=2)
    for rate, rounds in ((0.5, 20), (0.7, 5)):
        train = {**STATED, "learning_rate": rate, "rounds": rounds}
        write_run(tmp_path / "runs", "mine", 0, curve(0.3, rounds), train=train, key=f"{rounds:08}")
    results = collect(experiment(), tmp_path / "runs", include=True)
    assert results.included == {"mine (learning_rate 0.5)", "mine (rounds 5, learning_rate 0.7)"}
    assert limits(results, "rounds").tolist() == [20, 20]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("accuracy", "test.global.accuracy is 5 in round 20"),
        ("gradients", "gradients fall in round 11"),
        ("lost", "the result is of round 20, the last one recorded is 18"),
        ("short", "it is finished after 18 of 20 rounds"),
        ("final", "the result's figures of test are not those of the last evaluation"),
        ("delivered", "test.delivered.accuracy is 1.5 in round 20"),
        ("clients", "a client has other than 0 to its number of samples right"),
    ],
)
def test_a_run_of_impossible_figures_is_left_out(tmp_path: Path, fault: str, words: str) -> None:
    """Each file agrees with its checksum; the figures still cannot be."""
    five_seeds(tmp_path / "runs", seeds=2)
    folder = tmp_path / "runs" / "made" / "digits-fedavg-s1-00000000"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    if fault == "accuracy":
        lines[20]["eval"]["test"]["global"]["accuracy"] = result["final"]["test"]["global"]["accuracy"] = 5.0
    elif fault == "gradients":
        lines[11]["gradients"] = 3
    elif fault in ("lost", "short"):
        del lines[19:]
        result |= {"round": 18 if fault == "short" else 20}
    elif fault == "delivered":
        result["final"]["test"]["delivered"] = {"accuracy": 1.5}
    elif fault == "final":
        result["final"]["test"]["global"]["accuracy"] = 0.99
    else:
        table = parquet.read_table(folder / "clients.parquet").to_pydict()
        table["test_global_correct"][0] = 1e6
        parquet.write_table(pa.table(table), folder / "clients.parquet")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "result.json").write_text(json.dumps(result))
    results = make(tmp_path).results
    assert len(results.runs) == 5 and [
        n for n in results.notes if "impossible" in n and folder.name in n and words in n
    ]


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


def test_not_worse_is_judged_over_seeds_and_over_clients(tmp_path: Path) -> None:
    """Both must hold; a sixth of the clients that loses everything is seen over clients, not over seeds."""
    five_seeds(tmp_path / "runs")
    stated = claim("fedavg:test.personal", "actperfl:test.personal", "not-worse", margin=0.5)
    (entry,) = make(tmp_path, claims=[stated]).entries
    assert entry.judgement.verdict == "reproduced"
    assert "decided over" in entry.judgement.note and len(entry.seeds) == 5
    (worse,) = make(tmp_path, claims=[{**stated, "margin": 1e-6}]).entries
    assert worse.judgement.verdict == "contradicted" and "tied" not in worse.judgement.note


def test_claims_that_something_is_not_worse_are_a_family_of_their_own(tmp_path: Path) -> None:
    """Another claim of the kind "greater" changes no interval's level of theirs."""
    five_seeds(tmp_path / "runs")
    stated = claim("actperfl:test.personal", "fedavg:test.personal", "not-worse", margin=0.01)
    other = {**claim("actperfl:test.personal", "fedavg:test.personal"), "id": "other"}
    alone = make(tmp_path, claims=[stated]).entries[0].judgement.interval
    beside = make(tmp_path, claims=[stated, other]).entries[0].judgement.interval
    assert alone is not None and beside is not None and alone.level == beside.level


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"margin": 0.0}, "needs a margin"), ({"margin": 0.1, "at": "gradients"}, "judged on final models")],
)
def test_not_worse_says_what_it_needs(changes: dict[str, Any], words: str) -> None:
    from selffl_cli.config.claims import Claim

    with pytest.raises(ValueError, match=words):
        Claim(**{**claim("a:test.global", "b:test.global", "not-worse"), **changes})


def test_a_run_with_delivered_models_is_shown(tmp_path: Path) -> None:
    """Their figures stand in the result alone, since they are made after the last round's line."""
    five_seeds(tmp_path / "runs", seeds=2)
    folder = tmp_path / "runs" / "made" / "digits-fedavg-s1-00000000"
    result = json.loads((folder / "result.json").read_text())
    result["final"]["test"]["delivered"] = {**result["final"]["test"]["global"], "accuracy": 0.97}
    (folder / "result.json").write_text(json.dumps(result))
    results = make(tmp_path).results
    assert len(results.runs) == 6 and not [note for note in results.notes if "impossible" in note]
    assert Summary(results, "rounds").seeds("", "fedavg", "test.delivered.accuracy").tolist() == [0.97]
