"""The wake-word tables: from a corpus to Tables 1 and 2 through the commands, and from scores that a test chooses."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from rich.console import Console
from run_folders import write_run

from selffl_cli.cli.main import main
from selffl_cli.cli.running import print_results
from selffl_cli.cli.start import Asked
from selffl_cli.config.experiment import Experiment
from selffl_cli.errors import UsageError
from selffl_cli.metrics import det
from selffl_cli.planning.plan import Request
from selffl_cli.report.build import build
from selffl_cli.report.collect import collect
from selffl_cli.report.figures.detection import SIMULATED, Detection
from selffl_cli.report.sections.wakeword import PAPER, beside, hourly_table, wake_word_section, words
from selffl_cli.report.tables import Cell, Table

pytestmark = pytest.mark.usefixtures("any_run_is_stated")

DEVICES = list("ABCDE")


def scores(seed: int, shift: float, kinds: tuple[str, ...] = ("global", "personal")) -> pa.Table:
    """40 wake words and 120 others on each device by 20 speakers; the larger the shift, the better told apart."""
    frames = []
    for part, rows in (("validation", 80), ("test", 160)):
        for client in range(5):
            rng = np.random.default_rng([seed, client, rows])  # the same clips for every model
            label = (np.arange(rows) % 4 == 0).astype(np.int8)
            base = rng.normal(0, 1, rows)
            for kind in kinds:
                score = base + (shift + 0.3 * (kind == "personal") - 0.1 * client) * label
                frames.append(pd.DataFrame({
                    "part": part, "client": np.int32(client), "model": kind, "label": label,
                    "speaker": (np.arange(rows) % 20).astype(np.int32), "score": score.astype(np.float32),
                }))  # fmt: skip
    return pa.Table.from_pandas(pd.concat(frames), preserve_index=False)


def write(root: Path, label: str, seed: int, shift: float, names: list[str] = DEVICES, groups: str = "") -> Path:
    """A finished run with scores, started from the warm start of its seed."""
    key = f"{seed:08x}"
    warm = label == "warm-start"
    folder = write_run(
        root, label, seed, {0: 0.5, 4: 0.8}, clients=5, key=key if warm else "00000000", data_hash=f"d{seed}",
        init="" if warm else f"run-{key}",
    )  # fmt: skip
    table = parquet.read_table(folder / "clients.parquet").to_pandas()
    table["name"], table["group"] = names, [groups[i] if groups else SIMULATED[name] for i, name in enumerate(names)]
    parquet.write_table(pa.Table.from_pandas(table, preserve_index=False), folder / "clients.parquet")
    if label != "pfedme":
        parquet.write_table(scores(seed, shift), folder / "scores.parquet")
    return folder


def experiment(**more: object) -> Experiment:
    methods: dict[str, dict[str, str]] = {"actperfl": {}, "fedavg-e": {}, "local": {}, "pfedme": {}}
    return Experiment.model_validate(
        {"name": "made", "data": {"name": "digits"}, "model": {"name": "mlp"}, "methods": methods, **more}
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in range(3):
        write(tmp_path, "warm-start", seed, 1.5)
        for label, shift in (("actperfl", 2.0), ("fedavg-e", 1.5), ("pfedme", 0.0)):
            write(tmp_path, label, seed, shift)
    return tmp_path


def rows_of(frame: pd.DataFrame, kind: str, device: str) -> pd.DataFrame:
    return frame[(frame["part"] == "test") & (frame["model"] == kind) & (frame["client"] == DEVICES.index(device))]


def test_tables_hold_the_metric(runs: Path) -> None:
    found = collect(experiment(), runs).extra(Detection)
    assert found is not None and found.devices == DEVICES and found.labels == ["actperfl", "fedavg-e"]
    for outcome in found.outcomes:
        own = theirs = 0.0
        for seed in range(3):
            model, base = (
                scores(seed, s).to_pandas() for s in ({"actperfl": 2.0, "fedavg-e": 1.5}[outcome.label], 1.5)
            )
            tau = base[(base["part"] == "validation") & (base["model"] == "global")]
            threshold = det.threshold_near(tau["label"].to_numpy(), tau["score"].to_numpy(np.float64), 0.05)
            x, b = (rows_of(f, kind, outcome.device) for f, kind in ((model, outcome.model), (base, "global")))
            at = det.relative(
                x["label"].to_numpy(), b["score"].to_numpy(np.float64), x["score"].to_numpy(np.float64), threshold
            )
            own, theirs = own + at.accepts, theirs + at.baseline
        assert outcome.accepts == pytest.approx(own) and outcome.baseline == pytest.approx(theirs)
        assert outcome.ratio is not None and outcome.interval is not None
        low, high = outcome.interval
        assert low <= outcome.ratio <= high
        if (outcome.label, outcome.model) == ("fedavg-e", "global"):  # the baseline's own scores
            assert outcome.ratio == low == high == 1.0
        if outcome.label == "actperfl":
            assert outcome.ratio < 1


def test_what_the_page_shows(runs: Path, tmp_path: Path) -> None:
    claims = [
        {"id": "lower", "text": "x", "left": "actperfl:test.global.relative_fa_A",
         "right": "fedavg-e:test.global.relative_fa_A", "relation": "less"},
        {"id": "mean", "text": "x", "left": "fedavg-e:test.global.relative_fa", "right": 1.0, "relation": "equal",
         "margin": 0.01},
    ]  # fmt: skip
    made = build(experiment(claims=claims), runs, tmp_path / "out", [], "selffl report made")
    page = (made.folder / "README.md").read_text()
    assert "public recordings heard through simulated devices, not the Alexa recordings" in page
    assert "| method | seeds | A | B | C | D | E |" in page and "Table 2: relative false accepts, personal" in page
    assert "| in the paper |  | 0.92 | 0.94 | 0.91 | 0.91 | 1.01 |" in page
    assert "| fedavg-e | 3 | 1.00 [1.00, 1.00] |" in page
    assert "pfedme (seed 0), pfedme (seed 1)" in page  # no scores, and said so
    assert "here it diverged in 0 of 3 runs" in page
    for name in ("det-global.png", "det-personal.png", "wakeword.tex"):
        assert (made.folder / name).stat().st_size > 1000
    frame = pd.read_csv(made.folder / "wakeword.csv")
    assert len(frame) == 2 * 2 * 5 and set(frame["device"]) == set(DEVICES)
    assert frame.loc[(frame["method"] == "actperfl") & (frame["model"] == "personal"), "paper"].tolist() == list(
        PAPER["personal"]["actperfl"]
    )
    tex = (made.folder / "wakeword.tex").read_text()
    assert tex.count(r"\toprule") == tex.count("through simulated devices") == tex.count(r"\caption")
    assert frame["fr_at_one_false_accept_an_hour"].isna().all()  # two minutes of others
    assert made.entries[0].left < made.entries[0].right == 1.0
    assert made.entries[1].left == pytest.approx(1.0)
    (tmp_path / "again").mkdir()
    section = wake_word_section(collect(experiment(), runs), tmp_path / "again")
    assert section in page
    for name in ("wakeword.csv", "det-global.png"):
        assert (tmp_path / "again" / name).read_bytes() == (made.folder / name).read_bytes()


def test_the_threshold_is_an_option(runs: Path) -> None:
    few, many = (collect(experiment(report={"false_rejects": rate}), runs).extra(Detection) for rate in (0.05, 0.3))
    assert few is not None and many is not None
    assert few.baselines["false rejects"].mean() < many.baselines["false rejects"].mean()
    assert few.baselines["false accepts"].mean() > many.baselines["false accepts"].mean()


@pytest.mark.usefixtures("no_pictures")
def test_devices_are_groups_where_clients_share_them(tmp_path: Path) -> None:
    names = ["kitchen", "hall", "car", "phone", "desk"]
    for label in ("warm-start", "local"):
        write(tmp_path, label, 0, 1.5, names, "NNFFF")
    found = collect(experiment(), tmp_path).extra(Detection)
    assert found is not None and found.devices == ["N", "F"]
    assert found.baselines.loc[0, "wake words"] == 80 and found.baselines.loc[1, "wake words"] == 120


@pytest.mark.usefixtures("no_pictures")
def test_real_devices_called_a_to_e_are_not_the_simulated_ones(tmp_path: Path) -> None:
    for label in ("warm-start", "actperfl"):
        write(tmp_path, label, 0, 1.5, ["p1", "p2", "p3", "p4", "p5"], "ABCDE")
    found = collect(experiment(), tmp_path).extra(Detection)
    assert found is not None and found.devices == DEVICES and not found.simulated
    text = wake_word_section(collect(experiment(), tmp_path), tmp_path)
    assert "recordings that were brought" in text and "simulated" not in text and "in the paper" not in text


CLAIMS = [
    {"id": "strange", "text": "x", "left": "actperfl:test.global.relative_fa_Q", "right": 1.0, "relation": "less"},
    {"id": "withheld", "text": "x", "left": "actperfl:test.global.relative_fa_B", "right": 1.0, "relation": "less"},
    {"id": "mean", "text": "x", "left": "actperfl:test.personal.relative_fa", "right": 1.0, "relation": "less"},
]


@pytest.mark.usefixtures("no_pictures")
def test_claims_of_devices_that_are_not_there_or_withheld_are_undecided(tmp_path: Path) -> None:
    for seed in range(5):
        write(tmp_path, "warm-start", seed, 50.0)  # no false accept
        write(tmp_path, "actperfl", seed, 1.0)
    made = build(experiment(claims=CLAIMS), tmp_path, tmp_path / "out", [], "selffl report made")
    assert [entry.judgement.verdict for entry in made.entries] == ["undecided"] * 3
    notes = [entry.judgement.note for entry in made.entries]
    assert notes == ["no device Q in these data", *["the ratio is withheld in every seed"] * 2]
    for what, message in (("relative_faq", "recorded no"), ("accuracyy", "recorded no")):
        wrong = [{**CLAIMS[0], "left": f"actperfl:test.global.{what}"}]
        with pytest.raises(UsageError, match=message):
            build(experiment(claims=wrong), tmp_path, tmp_path / "out", [], "selffl report made")


@pytest.mark.usefixtures("no_pictures")
def test_a_device_without_wake_words_in_test_stands_aside(tmp_path: Path) -> None:
    """It has no ratio and no cross; the mean over devices is that of the others, and the page is made."""
    for label, shift in (("warm-start", 1.0), ("actperfl", 1.5)):
        folder = write(tmp_path, label, 0, shift, ["p1", "p2", "p3", "p4", "p5"], "NNOPQ")
        table = parquet.read_table(folder / "scores.parquet").to_pandas()
        table.loc[(table["part"] == "test") & (table["client"] == 2), "label"] = 0
        parquet.write_table(pa.Table.from_pandas(table, preserve_index=False), folder / "scores.parquet")
    results = collect(experiment(), tmp_path)
    found = results.extra(Detection)
    assert found is not None and found.devices == ["N", "O", "P", "Q"]
    assert found.baselines["device"].tolist() == ["N", "P", "Q"]
    figures = found.figures(*found.runs[0][2:])
    each = [figures[f"test.global.relative_fa_{device}"] for device in "NPQ"]
    assert "test.global.relative_fa_O" not in figures
    assert figures["test.global.relative_fa"] == pytest.approx(np.mean(each))
    assert "withheld (0/0)" in wake_word_section(results, tmp_path)


def test_many_devices_stand_below_each_other(tmp_path: Path) -> None:
    cells = [[Cell("fedavg"), Cell("5"), *(Cell(f"0.9{i} [0.85, 1.01]") for i in range(7))]]
    parts = list(beside(Table("t", "Table 1", ["method", "seeds", *"ABCDEFG"], cells)))
    assert [part.title for part in parts] == ["Table 1 (1 to 5)", "Table 1 (6 to 7)"]
    assert [part.heads for part in parts] == [["method", "seeds", *"ABCDE"], ["method", "seeds", *"FG"]]
    assert [cell.value[:4] for cell in parts[1].rows[0][2:]] == ["0.95", "0.96"]


@pytest.mark.usefixtures("no_pictures")
def test_a_withheld_ratio_shows_its_counts(tmp_path: Path) -> None:
    write(tmp_path, "warm-start", 0, 50.0)
    write(tmp_path, "local", 0, 1.0)
    found = collect(experiment(), tmp_path).extra(Detection)
    assert found is not None
    outcome = next(o for o in found.outcomes if o.model == "global")
    assert outcome.ratio is None and outcome.baseline == 0 and outcome.accepts > 0
    assert words(outcome) == f"withheld ({outcome.accepts:.3g}/0)"
    assert "withheld (" in wake_word_section(collect(experiment(), tmp_path), tmp_path)


def test_other_tasks_have_no_such_section(tmp_path: Path) -> None:
    write_run(tmp_path, "local", 0, {0: 0.5, 4: 0.8})
    assert collect(experiment(), tmp_path).extra(Detection) is None
    assert wake_word_section(collect(experiment(), tmp_path), tmp_path) == ""
    assert not list(tmp_path.glob("wakeword*"))


@pytest.mark.usefixtures("no_pictures")
def test_one_false_accept_an_hour(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """120 others of a minute are two hours, so two false accepts of 120: counted here by moving the threshold."""
    found = collect(experiment(), runs).extra(Detection)
    assert found is not None and hourly_table(found) == []
    monkeypatch.setattr("selffl_cli.report.figures.detection.CLIP_SECONDS", 60.0)
    found = collect(experiment(), runs).extra(Detection)
    assert found is not None
    expected = []
    for seed in range(3):
        rows = rows_of(scores(seed, 2.0).to_pandas(), "global", "B")
        wake, others = (np.sort(rows.loc[rows["label"] == y, "score"]) for y in (1, 0))
        lowest = wake[wake > others[-3]].min()  # the lowest threshold, among wake words, that accepts two others
        expected.append((wake < lowest).mean() if (others >= lowest).sum() == 2 else np.nan)
    shown = next(o for o in found.outcomes if (o.label, o.model, o.device) == ("actperfl", "global", "B"))
    assert shown.an_hour == pytest.approx(np.mean(expected), abs=0.025)  # half a wake word of 40
    page = wake_word_section(collect(experiment(), runs), tmp_path)
    assert "False rejects (%) at one false accept an hour" in page and f"| {100 * shown.an_hour:.1f} |" in page


@pytest.mark.usefixtures("no_pictures")
def test_a_threshold_of_the_test_part_is_said_to_be_one(runs: Path, tmp_path: Path) -> None:
    for path in runs.glob("*/*/scores.parquet"):
        table = parquet.read_table(path).to_pandas()
        table.loc[table["part"] == "validation", "label"] = 0
        parquet.write_table(pa.Table.from_pandas(table, preserve_index=False), path)
    results = collect(experiment(), runs)
    assert any("fixed on the TEST part" in note for note in results.notes)
    assert "of the test part's (see the notes) wake words" in wake_word_section(results, tmp_path)


@pytest.mark.usefixtures("no_pictures")
def test_what_to_type_next_names_the_data_that_were_given(tmp_path: Path) -> None:
    given = Request(experiment(), data=Path("data/my words"), runs=tmp_path)
    console = Console(file=io.StringIO(), width=80)
    print_results(given, [], console, Asked("made", [], ["data/my words"], [], tmp_path))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"next: selffl train made --data 'data/my words' --runs {tmp_path}  to compare with" in said


TOML = """
name = "words"
seeds = [0, 1]
[data]
name = "audio"
wake_word = "happy"
split = "50/20/30"
frames = 16
[model]
name = "mlp"
hidden = [8]
[train]
rounds = 2
local_steps = 3
batch_size = 8
learning_rate = 0.02
eval_every = 2
[warm_start]
method = "fedavg-w"
rounds = 3
[methods.actperfl]
[methods.fedavg-e]
[methods.local]
[[claims]]
id = "eer"
text = "the equal error rate is a figure"
left = "actperfl:test.global.eer_A"
right = 1.0
relation = "less"
"""


@pytest.mark.slow
def test_from_recordings_to_both_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("soundfile", reason="needs the extra 'audio': pip install 'selffl[audio]'")
    from test_audio import as_zip, recordings

    source = as_zip(recordings(), tmp_path / "words.zip")
    (tmp_path / "words.toml").write_text(TOML)
    place = ["--runs", str(tmp_path / "runs")]
    train = [
        "train",
        str(tmp_path / "words.toml"),
        "--source",
        str(source),
        "--data",
        f"{tmp_path}/data/",
        *place,
    ]
    assert main(train) == 0, capsys.readouterr().err
    table = parquet.read_table(next((tmp_path / "runs").glob("words/*-actperfl-s0-*/scores.parquet"))).to_pandas()
    assert set(table["part"]) == {"validation", "test"} and set(table["model"]) == {"global", "personal"}
    assert table["score"].nunique() > 100
    capsys.readouterr()
    assert main(["report", str(tmp_path / "words.toml"), *place, "--out", str(tmp_path / "results")]) == 0
    out = capsys.readouterr().out
    flat = " ".join(out.split())
    assert "Table 1: relative false accepts, global models" in flat and "not the Alexa recordings" in flat
    assert all(len(line) <= 80 for line in out.splitlines() if "page:" not in line)
    page = (tmp_path / "results" / "words" / "README.md").read_text()
    local = next(line for line in page.split("Table 2")[1].splitlines() if line.startswith("| local"))
    assert local.count("[") + local.count("withheld") == 5
