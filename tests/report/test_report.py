"""Reports from run folders: lookups, marks, refusals, the ledger, and files that are the same each time."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError
from rich.console import Console
from run_folders import WHAT, claim, curve, experiment, five_seeds, make, write_run

from selffl_cli.cli.final_table import final_table
from selffl_cli.cli.main import main
from selffl_cli.cli.options import only_runs
from selffl_cli.metrics.intervals import t_interval
from selffl_cli.report.build import build
from selffl_cli.report.collect import collect
from selffl_cli.report.compare import Summary, at_equal, limits
from selffl_cli.report.console import print_report
from selffl_cli.runs.folder import find_runs

# equal rounds and equal gradients


def test_equal_gradients_reads_on_the_line_between_two_evaluations(tmp_path: Path) -> None:
    # slow takes 10 gradients a round, 200 in all; quick takes 16, and was evaluated at 80, 160, 240, 320
    write_run(tmp_path, "slow", 0, {0: 0.1, 5: 0.2, 10: 0.3, 15: 0.4, 20: 0.5}, gradients=10, personal=0)
    write_run(tmp_path, "quick", 0, {0: 0.1, 5: 0.6, 10: 0.7, 15: 0.8, 20: 0.9}, gradients=16, personal=0)
    results = collect(experiment(methods={"slow": {}, "quick": {}}), tmp_path)
    assert limits(results, "gradients").tolist() == [200]
    at = at_equal(results, "gradients").set_index(["label", "what"])["value"]
    assert at["slow", WHAT] == 0.5
    assert at["quick", WHAT] == pytest.approx(0.75)  # half way from 160 to 240
    at = at_equal(results, "rounds").set_index(["label", "what"])["value"]
    assert (at["slow", WHAT], at["quick", WHAT]) == (0.5, 0.9)


def test_the_limit_is_of_each_seed(tmp_path: Path) -> None:
    for seed, cost in ((0, 10), (1, 20)):
        write_run(tmp_path, "slow", seed, curve(0.9), gradients=cost)
        write_run(tmp_path, "quick", seed, curve(0.9), gradients=30)
    results = collect(experiment(methods={"slow": {}, "quick": {}}), tmp_path)
    assert limits(results, "gradients").to_dict() == {("", 0): 200, ("", 1): 400}


@pytest.mark.parametrize("start", [{0: 0.1}, {}])
def test_no_figure_at_equal_gradients_of_a_method_not_evaluated_by_then(
    tmp_path: Path, no_pictures: None, start: dict[int, float]
) -> None:
    """Nor the mean of those of its seeds that were: the other methods' means would be over other seeds."""
    for seed, cost in enumerate((10, 16)):  # "late" reaches 200 gradients after 20 rounds, or after 12 of 20
        write_run(tmp_path / "runs", "early", seed, curve(0.9), gradients=10)
        write_run(tmp_path / "runs", "late", seed, {**start, 20: 0.9}, gradients=cost)
    report = make(tmp_path, methods={"early": {}, "late": {}})
    at = report.both["gradients"]
    assert at.seeds("", "late", WHAT).empty and len(at.seeds("", "early", WHAT)) == 2
    assert report.tables[0].rows[1][3].value == "–"
    assert len(report.both["rounds"].seeds("", "late", WHAT)) == 2
    assert "Not every run of late was evaluated" in (report.folder / "README.md").read_text()
    stated = claim("late:test.personal", "early:test.personal", at="gradients")
    (entry,) = make(tmp_path, methods={"early": {}, "late": {}}, claims=[stated]).entries
    assert entry.judgement.verdict == "undecided" and "late not evaluated near" in entry.judgement.note


def test_a_last_evaluation_below_the_budget_is_withheld(tmp_path: Path) -> None:
    """Quick stops being scored at 190 or at 180 of 200 gradients: 95 % stands for the budget, 90 % does not."""
    for seed in range(5):
        write_run(tmp_path, "slow", seed, curve(0.9), gradients=10)
        folder = write_run(tmp_path, "quick", seed, {0: 0.1, 18: 0.5, 19: 0.6, 20: 0.8}, gradients=10, personal=0)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for number in (20,) if seed else (19, 20):
            del lines[number]["eval"]["test"]["global"], lines[number]["eval"]["train"]
        result = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps({**result, "final": lines[20]["eval"]}))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = collect(experiment(methods={"slow": {}, "quick": {}}), tmp_path)
    at = at_equal(results, "gradients")
    read = at[(at["label"] == "quick") & (at["what"] == "test.global.accuracy")]
    assert read["seed"].tolist() == [1, 2, 3, 4] and (read["value"] == 0.6).all()
    assert Summary(results, "gradients").seeds("", "quick", "test.global.accuracy").empty


@pytest.mark.parametrize(("after", "verdict"), [(0.5, "reproduced"), (0.99, "undecided")])
def test_a_claim_at_equal_gradients_holds_at_both_evaluations(
    tmp_path: Path, no_pictures: None, after: float, verdict: str
) -> None:
    """The evaluation after the budget may say another thing than the one before; then the line decides nothing."""
    for seed in range(5):
        write_run(tmp_path / "runs", "slow", seed, curve(0.9 + 0.001 * seed), gradients=10, personal=0)
        steps = {0: 0.1, 9: 0.2 + 0.001 * seed**2, 20: after}
        write_run(tmp_path / "runs", "quick", seed, steps, gradients=20, personal=0)  # 180 and 400 of 200 gradients
    stated = claim("slow:test.personal", "quick:test.personal", at="gradients")
    report = make(tmp_path, methods={"slow": {}, "quick": {}}, claims=[stated])
    assert report.entries[0].judgement.verdict == verdict
    assert report.both["gradients"].marks("", WHAT)["slow"] == ("best" if verdict == "reproduced" else "tied")
    page = (report.folder / "README.md").read_text()
    assert "### Where equal gradients were read" in page and "| quick | 200 | 90.0 % | 200.0 % |" in page
    assert ("comes out differently" in page) == (verdict == "undecided")


def test_percentiles_and_final_figures_are_not_read_at_equal_gradients(tmp_path: Path, no_pictures: None) -> None:
    five_seeds(tmp_path / "runs")
    report = make(tmp_path)
    whats = report.both["gradients"].whats
    assert WHAT in whats and not {what for what in whats if what.endswith(("worst_tenth", "p10", "light"))}
    with pytest.raises(ValidationError, match="never read at equal gradients"):
        experiment(claims=[claim("actperfl:test.personal.worst_tenth", 0.5, at="gradients")])


def test_equal_rounds_is_the_last_that_all_reached(tmp_path: Path) -> None:
    write_run(tmp_path, "long", 0, {0: 0.1, 10: 0.5, 20: 0.9}, personal=0)
    write_run(tmp_path, "short", 0, {0: 0.1, 10: 0.4}, personal=0)
    short = {"method": "fedavg", "train": {"rounds": 10}}
    results = collect(experiment(methods={"long": {}, "short": short}), tmp_path)
    at = at_equal(results, "rounds").set_index(["label", "what"])["value"]
    assert at["long", WHAT] == 0.5


def test_a_diverged_run_is_named_and_in_no_mean(tmp_path: Path, no_pictures: None) -> None:
    five_seeds(tmp_path / "runs")
    for seed in range(5):
        train = {**experiment().train.model_dump(), "rounds": 4}
        ends = {"status": "finished" if seed else "diverged", "train": train}
        write_run(tmp_path / "runs", "pfedme", seed, {0: 0.1, 4 if seed else 2: 0.2}, **ends)
    report = make(tmp_path, methods={"actperfl": {}, "fedavg": {}, "local": {}, "pfedme": {"train": {"rounds": 4}}})
    assert any("pfedme, seed 0" in note and "round 2" in note for note in report.results.notes)
    row = next(row for row in report.tables[0].rows if row[0].value == "pfedme")
    assert row[1].value == "4 (1 diverged)"
    assert limits(report.results, "rounds")["", 0] == 20  # not the diverged run's 2
    assert limits(report.results, "rounds")["", 1] == 4


# means, intervals, marks


def test_figures_are_means_with_t_intervals(tmp_path: Path, no_pictures: None) -> None:
    five_seeds(tmp_path / "runs")
    report = make(tmp_path)
    frame = pd.read_csv(report.folder / "tables.csv")
    row = frame.query("method == 'fedavg' and figure == @WHAT and equal == 'rounds'").iloc[0]
    values = [0.92, 0.93, 0.94, 0.95, 0.96]
    assert row["mean"] == pytest.approx(0.94)
    assert row["half_width_95"] == pytest.approx(t_interval(values).half)
    assert row["half_width_95"] == pytest.approx(2.776445 * 0.0158114 / 5**0.5, rel=1e-5)
    assert "94.0 ± 2.0" in (report.folder / "README.md").read_text()


def test_best_is_bold_only_when_it_is_apart_from_every_other(tmp_path: Path, no_pictures: None) -> None:
    five_seeds(tmp_path / "runs")
    summary = Summary(collect(experiment(), tmp_path / "runs"), "rounds")
    # unpaired, the seeds' spread of 0.016 would hide the difference of 0.03; paired, it does not
    assert summary.marks("", WHAT) == {"actperfl": "best"}
    for seed in range(5):
        write_run(tmp_path / "runs", "twin", seed, curve(0.93 + 0.01 * seed + (0.002 if seed % 2 else -0.003)))
    methods = {"actperfl": {}, "fedavg": {}, "local": {}, "twin": {}}
    summary = Summary(collect(experiment(methods=methods), tmp_path / "runs"), "rounds")
    assert summary.marks("", WHAT) == {"actperfl": "tied", "twin": "tied"}
    page = (make(tmp_path, methods=methods).folder / "README.md").read_text()
    assert "**9" not in page and "†" in page


@pytest.mark.usefixtures("no_pictures")
def test_lower_is_better_for_errors(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "good", seed, curve(0.5 + 0.1 * seed), metric="squared_error")
        write_run(tmp_path, "bad", seed, curve(0.9 + 0.11 * seed), metric="squared_error")
    results = collect(experiment(methods={"good": {}, "bad": {}}), tmp_path)
    assert results.metric.name == "squared_error"
    summary = Summary(results, "rounds")
    assert summary.marks("", "test.personal.squared_error") == {"good": "best"}
    assert summary.marks("", "test.personal.worst_tenth") == {"good": "best"}
    assert summary.marks("", "test.personal.std") == {}


def test_one_seed_has_no_interval_and_the_page_says_so(tmp_path: Path, no_pictures: None) -> None:
    five_seeds(tmp_path / "runs", seeds=1)
    report = make(tmp_path, claims=[claim("actperfl:test.personal", "fedavg:test.personal")])
    page = (report.folder / "README.md").read_text()
    assert "interval is withheld" in page and "**9" not in page
    table = page[page.index("### Test accuracy") : page.index("### Training")]
    assert "±" not in table
    assert report.entries[0].judgement.verdict == "undecided"
    assert "[" not in report.entries[0].effect(report.results)


# what is written and shown


@pytest.mark.slow
def test_same_runs_same_bytes(tmp_path: Path) -> None:
    five_seeds(tmp_path / "runs")
    stated = [claim("actperfl:test.personal", "fedavg:test.personal", paper="+2")]
    both = []
    for name in ("one", "two"):
        made = build(
            experiment(claims=stated),
            tmp_path / "runs",
            tmp_path / name,
            ["rounds", "bytes"],
            "selffl report made",
        )
        both.append({path.name: path.read_bytes() for path in made.folder.iterdir()})
    assert both[0] == both[1]
    pictures = {"curves-rounds", "curves-bytes", "uncertainty", "clients", "worst-tenth", "fairness", "differences"}
    tables = {"README.md", "report.html", "tables.tex", "tables.csv", "runs.csv", "claims.csv", ".made.json"}
    tables |= {f"table-{name}.tex" for name in ("compact", *(table.name for table in made.tables))}
    assert set(both[0]) == tables | {f"{name}.png" for name in pictures}
    page = both[0]["README.md"].decode()
    assert page.index("## Claims") < page.index("## Results") < page.index("## Pictures") < page.index("## Set-up")
    for words in (
        "0123456789ab",
        "selffl train made --seeds 0-4",
        "our instantiation",
        "A CPU",
        "dirichlet:alpha=0.3",
    ):
        assert words in page
    # an axis that is no longer asked for leaves no old picture behind; what others put there stays
    (tmp_path / "one" / "made" / "notes.md").write_text("mine")
    made = build(experiment(claims=stated), tmp_path / "runs", tmp_path / "one", ["rounds"], "selffl report made")
    assert not (made.folder / "curves-bytes.png").exists() and (made.folder / "notes.md").exists()


def test_sweep_pictures(tmp_path: Path) -> None:
    for clients in (5, 100):
        for seed in range(2):
            for label in ("actperfl", "fedavg", "local"):
                write_run(
                    tmp_path / "runs",
                    label,
                    seed,
                    curve(0.8),
                    key=str(clients),
                    setting={"data.clients": clients, "data.s0": 1.0},
                    s0=0.2 if label == "actperfl" else None,
                )
    stated = experiment(sweep={"data.clients": [5, 100], "data.s0": [1.0]})
    report = build(stated, tmp_path / "runs", tmp_path / "results", ["rounds"], "")
    assert list(report.results.settings) == ["clients=5, s0=1", "clients=100, s0=1"]
    drawn = {path.stem for path in report.folder.glob("*.png")}
    assert drawn == {
        "sweep",
        "sweep-uncertainty",
        "curves-rounds",
        "differences",
    }


def test_terminal_fits_80_columns(tmp_path: Path, no_pictures: None) -> None:
    five_seeds(tmp_path / "runs")
    write_run(tmp_path / "runs", "a-method-with-a-long-name:and=options", 0, curve(0.9), status="diverged")
    report = make(
        tmp_path,
        claims=[
            claim("actperfl:test.personal", "fedavg:test.personal", required=True, paper="+2.0")
            | {"id": "uncertainty-is-recorded"}
        ],
    )
    console = Console(width=80, record=True, file=io.StringIO())
    print_report(report, console)
    console.print(final_table(find_runs(tmp_path / "runs", "made"), {"actperfl"}))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "reproduced" in text and "required" in text and "…" not in text
    assert "uncertainty-is-" in text and "recorded" in text  # a long name breaks at its hyphens
    assert text.index("So it is") < text.index("fedavg")
    table = text[text.index("Finished runs") :]
    row = next(line for line in table.splitlines() if "→ actperfl" in line)
    # personal test mean 0.97, global 0.95, worst tenths 0.1 below, training 0.005 above
    assert re.findall(r"[\d.]+", row) == ["5", "97.0", "95.0", "87.0", "85.0", "97.5", "95.5"]
    assert "1 diverged" in table


def test_final_table_needs_nothing_heavy() -> None:
    code = (
        "import sys; import selffl_cli.cli.final_table; "
        "print([m for m in ('pandas', 'matplotlib', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


TOML = """
name = "made"
seeds = [0, 1, 2, 3, 4]
data = { name = "digits", clients = 20, partition = "dirichlet:alpha=0.3" }
model = { name = "mlp", hidden = [32] }
train = { rounds = 20, participation = 0.5, local_epochs = 1, eval_every = 5 }
[methods.actperfl]
[methods.fedavg]
[[claims]]
id = "it"
text = "So it is"
left = "actperfl:test.personal"
right = "fedavg:test.personal"
relation = "RELATION"
required = true
"""


def test_command(
    tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    five_seeds(tmp_path / "runs")
    for relation, code in (("greater", 0), ("less", 1)):
        Path("made.toml").write_text(TOML.replace("RELATION", relation))
        assert main(["report", "made.toml", "--check"]) == code
        assert main(["report", "made.toml"]) == 0
    assert "1 of 1 required claims not reproduced: it is contradicted" in capsys.readouterr().err
    assert Path("runs/made/report/README.md").is_file() and not Path("results").exists()
    assert main(["report", "made.toml", "--out", "results"]) == 0 and Path("results/made/README.md").is_file()
    Path("made.toml").write_text(TOML.replace("RELATION", "less").replace("required = true", ""))
    assert main(["report", "made.toml"]) == 0 and main(["report", "made.toml", "--check"]) == 2
    assert "states no claim with required = true" in capsys.readouterr().err
    Path("made.toml").write_text(TOML.replace("RELATION", "less"))
    assert main(["report", "made.toml", "--rounds", "7"]) == 1
    assert "15 other runs" in capsys.readouterr().err
    assert main(["report", "made.toml", "--rounds", "7", "--include"]) == 0
    assert "actperfl (rounds 20)" in Path("runs/made/report/README.md").read_text()
    assert main(["report", "made.toml", "--x", "hours"]) == 2
    assert main(["report", "made.toml", "--runs", "nowhere"]) == 1
    assert "selffl train made" in capsys.readouterr().err


def test_page_says_that_uncertainty_never_set_the_steps(tmp_path: Path, no_pictures: None) -> None:
    for seed in range(2):
        write_run(tmp_path / "runs", "actperfl", seed, curve(0.9), s0=0.3, calibrated=16)  # of 20 rounds
        write_run(tmp_path / "runs", "actperfl-hb", seed, curve(0.9), s0=0.3)
        write_run(tmp_path / "runs", "fedavg", seed, curve(0.9))
    made = make(tmp_path, methods={"actperfl": {}, "actperfl-hb": {}})
    notes = [note for note in made.results.notes if "local steps" in note]
    assert len(notes) == 1 and notes[0].startswith("actperfl: local steps were FedAvg's budget in 75 % of the rounds")


def test_page_says_that_fedrep_shared_nothing(tmp_path: Path, no_pictures: None) -> None:
    for seed in range(2):
        write_run(tmp_path / "runs", "fedrep", seed, curve(0.9), sent=0)
        write_run(tmp_path / "runs", "local", seed, curve(0.9), sent=0)
    report = make(tmp_path, methods={"fedrep": {}, "local": {}})
    assert [note.split(":")[0] for note in report.results.notes if "nothing was sent" in note] == ["fedrep"]
    for seed in range(2):
        write_run(tmp_path / "other", "fedrep", seed, curve(0.9))
    other = build(experiment(methods={"fedrep": {}}), tmp_path / "other", tmp_path / "results", [], "")
    assert not any("nothing was sent" in note for note in other.results.notes)


def test_page_says_whose_personalising_is_not_counted(tmp_path: Path, no_pictures: None) -> None:
    for label in ("fedavg", "fedavg-ft"):
        write_run(tmp_path / "runs", label, 0, curve(0.9))
    page = (make(tmp_path, methods={"fedavg": {}, "fedavg-ft": {}}).folder / "README.md").read_text()
    assert "Gradients by which fedavg-ft make personal models" in page
    (tmp_path / "runs" / "made" / "digits-fedavg-ft-s0-00000000").rename(tmp_path / "gone")
    page = (make(tmp_path, methods={"fedavg": {}}).folder / "README.md").read_text()
    assert "make personal models" not in page


def test_page_says_how_often_uncertainty_set_the_steps(tmp_path: Path, no_pictures: None) -> None:
    """Two of four participants are known from round 3 on, and 5 of 20 rounds stood before the contraction."""
    for seed in range(2):
        write_run(
            tmp_path / "runs", "actperfl", seed, curve(0.9), s0=0.3, calibrated=6 + seed,
            known=lambda number: 2 if number > 2 else 0,
        )  # fmt: skip
        write_run(tmp_path / "runs", "actperfl-hb", seed, curve(0.9), s0=0.3, calibrated=99, known=lambda number: 1)
    made = make(tmp_path, methods={"actperfl": {}, "actperfl-hb": {}})
    notes = [note for note in made.results.notes if "local steps" in note]
    assert notes == [
        "actperfl: uncertainty set local steps in 72 % of the rounds; once the contraction was solved (round 6 to 7), "
        "100 % of the participations of clients that had taken part before took them from Eqn 7.",
        "actperfl-hb: uncertainty set local steps in 0 % of the rounds: no round had two participants that had taken "
        "part before.",
    ]


@pytest.mark.usefixtures("no_pictures")
def test_a_report_beside_the_runs_is_no_run(tmp_path: Path) -> None:
    names = ["digits-fedavg-s0-00000000", "report", "tuning", "tuning.json"]
    assert only_runs([tmp_path / name for name in names]) == [tmp_path / names[0]]
    assert only_runs([tmp_path / "report"]) == [tmp_path / "report"]  # the error names it


DIGITS = """
name = "own"
seeds = [0]
data = { name = "digits", clients = 4 }
model = { name = "softmax" }
train = { rounds = 3, eval_every = 3, learning_rate = 0.3 }
[methods.fedavg]
[methods.local]
"""


@pytest.mark.usefixtures("no_pictures")
def test_the_last_table_is_of_what_was_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another run of the same label and seed, trained since, does not take its place."""
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(DIGITS)

    def row(*options: str) -> tuple[str, str]:
        assert main(["train", "own.toml", "--jobs", "1", *options]) == 0
        out = capsys.readouterr().out
        return next(line for line in out.splitlines() if "fedavg" in line and "│" in line).replace("→", " "), out

    first, out = row("-m", "fedavg")
    assert "1 run planned: 0 found finished, 1 trained now" in out and "→ fedavg" in out
    short, out = row("-m", "fedavg", "--rounds", "1")
    assert "next: selffl train own.toml --rounds 1 to compare with local" in " ".join(out.split()) and short != first
    again, out = row("-m", "fedavg")
    assert again == first and "1 found finished, 0 trained now" in out and "→" not in out
    _, out = row("-m", "fedavg", "--label", "quick", "--rounds", "1")
    assert "quick" in out and len(list(Path("runs").glob("own/digits-quick-s0-*/result.json"))) == 1
    assert (
        main(["train", "own.toml", "--label", "quick"])
        == main(["train", "own.toml", "-m", "fedavg", "--label", "local"])
        == 2
    )
    _, out = row()
    assert "next: selffl report own.toml for tables" in " ".join(out.split())
    assert main(["report", "own.toml"]) == 0
    page = Path("runs/own/report/README.md").read_text()
    assert "2 other runs" in page and "fedavg (rounds 1), quick (rounds 1)" in page


@pytest.mark.usefixtures("no_pictures")
def test_given_shards_take_their_setting_of_a_sweep_over_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data dealt at random are never reported as those of a skew."""
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(DIGITS + '[sweep]\n"data.partition" = ["iid", "dirichlet:alpha=0.1"]\n')
    for kind in ("iid", "dirichlet:alpha=0.1", "dirichlet:alpha=7"):
        assert main(["prepare", "digits", "--clients", "4", "--partition", kind]) == 0
    (shards,) = Path("data").glob("digits-iid-*")
    assert main(["train", "own.toml", "--data", str(shards), "--jobs", "1", "--seeds", "0,1", "-m", "fedavg"]) == 0
    records = [tomllib.loads(path.read_text()) for path in Path("runs").glob("own/*/run.toml")]
    assert [record["setting"] for record in records] == [{"data.partition": "iid"}] * 2
    assert main(["report", "own.toml", "--data", str(shards)]) == 0
    page = Path("runs/own/report/README.md").read_text()
    assert "one deal of the data serves several seeds" in page and "alpha=0.1" not in page
    capsys.readouterr()
    (other,) = Path("data").glob("digits-dirichlet-alpha7-*")
    assert main(["train", "own.toml", "--data", str(other)]) == 2
    assert "dirichlet:alpha=7, which is no setting of the sweep of own" in capsys.readouterr().err


def test_a_report_removes_what_it_no_longer_writes(tmp_path: Path, no_pictures: None) -> None:
    """Claims that are gone, and pictures; not a file that somebody has changed or brought."""
    five_seeds(tmp_path / "runs", seeds=2)
    stated = [claim("actperfl:test.personal", "fedavg:test.personal")]
    folder = make(tmp_path, claims=stated).folder
    (folder / "notes.md").write_text("mine")
    assert (folder / "claims.csv").exists()
    make(tmp_path)
    assert not (folder / "claims.csv").exists() and (folder / "notes.md").exists()
    make(tmp_path, claims=stated)
    (folder / "claims.csv").write_text("mine")
    make(tmp_path)
    assert (folder / "claims.csv").read_text() == "mine"
