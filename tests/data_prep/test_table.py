"""Tables of one's own: every layout reads the same, what a column is is said, and nothing is guessed in silence."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pandas
import pytest

from data_prep.prepare import prepare, request
from selffl_cli.cli.main import main
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.shards import PARTS, Shards

ROWS = 240
NEEDED = {"client": "user", "target": "bought"}


def frame(rows: int = ROWS) -> pandas.DataFrame:
    rng = np.random.default_rng(0)
    return pandas.DataFrame(
        {
            "row": np.arange(1, rows + 1),
            "user": [f"u{i % 12}" for i in range(rows)],
            "age": rng.normal(40, 10, rows).round(2),
            "city": rng.choice(["Ålesund", "Rome", "Oslo"], rows),
            "bought": rng.choice(["no", "yes"], rows),
            "note": [f"nothing, said {i}" for i in range(rows)],
            "when": pandas.date_range("2024-01-01", periods=rows).strftime("%Y-%m-%d")[::-1],
        }
    )


def written(folder: Path, name: str, table: pandas.DataFrame) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        table.to_parquet(path)
    elif ".jsonl" in name:
        text = table.to_json(orient="records", lines=True, force_ascii=False)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    elif ".arff" in name:
        head = "@relation t\n" + "".join(f'@attribute "{c}" string\n' for c in table) + "@data\n% a comment\n"
        body = table.to_csv(index=False, header=False, quotechar="'")
        path.write_bytes(lzma.compress((head + body).encode()))
    else:
        separator = {"tsv": "\t", "csv": ","}.get(name.rpartition(".")[2], ";")
        path.write_text(("\ufeff" if name.startswith("mark") else "") + table.to_csv(index=False, sep=separator))
    return path


def made(source: Path, out: Path, **options: object) -> Shards:
    return Shards.open(prepare("table", {**NEEDED, **options}, out, source))


def names(shards: Shards) -> list[str]:
    return bytes(shards.shared["features"].numpy()).decode().split("\n")


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("table"), "t.csv", frame())


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl", "t.jsonl.gz", "t.arff.xz", "t.tsv", "mark.csv", "t.txt"])
def test_every_layout_gives_the_same_samples(name: str, csv: Path, tmp_path: Path) -> None:
    table = frame()
    first = made(csv, tmp_path / "data")
    second = made(written(tmp_path, name, table), tmp_path / "data")
    assert names(first) == names(second)
    for part in PARTS:
        for key in ("x", "y"):
            one, two = (shards.part(part).arrays[key].numpy() for shards in (first, second))
            assert np.array_equal(one, two), (part, key)
    assert first.clients["name"].to_pylist() == second.clients["name"].to_pylist()


def test_numbers_are_scaled_and_categories_known_by_training_samples_alone(tmp_path: Path) -> None:
    table = frame()
    table.loc[table.index[5], "age"] = np.nan
    shards = made(written(tmp_path, "t.csv", table), tmp_path, seed=3)
    parts = {part: shards.part(part).arrays["x"].numpy() for part in PARTS}
    train = parts["train"]
    age, cities = train[:, 0], train[:, 1:]
    assert names(shards)[0] == "age" and sorted(names(shards)[1:]) == ["city=Oslo", "city=Rome", "city=Ålesund"]
    missing = int((age == 0).sum())  # filled by the mean, which scaling takes to 0
    assert abs(age.sum()) < 1e-3 and missing in (0, 1)
    assert np.square(age).sum() / (len(age) - missing) == pytest.approx(1, abs=1e-5)
    assert (cities.sum(1) == 1).all()
    # by hand: the values of client u0's training samples
    raw = table["age"].to_numpy()
    everything = np.concatenate([parts[part][:, 0] for part in PARTS])
    known = np.sort(everything[everything != 0])
    slope = (known[-1] - known[0]) / (np.nanmax(raw) - np.nanmin(raw))
    assert np.allclose(known, np.sort((raw[~np.isnan(raw)] - np.nanmin(raw)) * slope + known[0]), atol=1e-5)


def test_a_category_that_only_a_test_sample_has_is_none_of_the_columns(tmp_path: Path) -> None:
    table = frame()
    table["city"] = "Rome"
    table.loc[table.index[::2], "city"] = "Oslo"
    latest = table.sort_values("when").groupby("user").tail(1).index
    table.loc[latest, "city"] = "Bergen"
    shards = made(written(tmp_path, "t.csv", table), tmp_path, time="when", split="time")
    assert names(shards) == ["age", "city=Rome", "city=Oslo"] or names(shards) == ["age", "city=Oslo", "city=Rome"]
    assert (shards.part("test").arrays["x"].numpy()[:, 1:].sum(1) == 0).sum() == 12


def test_split_by_time_tests_on_each_clients_last_rows(csv: Path, tmp_path: Path) -> None:
    table = frame()
    shards = made(csv, tmp_path, time="when", split="time", features="row")
    row = {part: shards.part(part) for part in PARTS}
    for client in range(12):
        spans = []
        for part in ("test", "validation", "train"):  # the dates fall from row to row
            begin, end = row[part].offsets[client : client + 2]
            spans.append(row[part].arrays["x"].numpy()[begin:end, 0])
        assert spans[0].max() < spans[1].min() and spans[1].max() < spans[2].min()
    assert len(table) == sum(len(part.arrays["y"]) for part in row.values())


def test_what_each_column_is_is_said_before_anything_is_written(csv: Path, tmp_path: Path) -> None:
    asked = request("table", {**NEEDED, "time": "when"}, tmp_path, csv)
    assert asked.describe() == [
        "t.csv: 240 rows, 7 columns",
        "row: left out, it counts the rows",
        "user: the client, 12 values",
        f"age: number, from {frame()['age'].min():g} to {frame()['age'].max():g}",
        "city: category, 3 values",
        "bought: the target, a class, 2 values",
        "note: left out, it has 240 different values, such as 'nothing, said 0'",
        "when: the time",
    ]
    assert not list(tmp_path.iterdir())


def test_texts_become_tokens(csv: Path, tmp_path: Path) -> None:
    shards = made(csv, tmp_path, text="note", embedding_dimensions=4)
    assert shards.manifest.input.dtype == "int32" and shards.manifest.input.shape == [25]
    assert b"nothing" in bytes(shards.shared["vocabulary"].numpy())
    assert shards.shared["embedding"].shape[1] == 4


def test_rows_without_a_client_are_counted_and_bounded(tmp_path: Path) -> None:
    table = frame()
    table.loc[table.index[:10], "user"] = ""
    table.loc[table.index[10:12], "bought"] = "?"
    source = written(tmp_path, "t.csv", table)
    shards = made(source, tmp_path)
    assert shards.manifest.notes["rows_left_out"] == "10 without a client ('user'), 2 without a target ('bought')"
    with pytest.raises(SelfflError, match=r"12 of 240 rows would be left out: .* --max-bad$"):
        made(source, tmp_path, max_bad=0.04)


def test_clients_of_one_row_train_and_are_never_judged(tmp_path: Path) -> None:
    table = frame()
    table.loc[table.index[0], "user"] = "alone"
    shards = made(written(tmp_path, "t.csv", table), tmp_path)
    own = shards.clients["name"].to_pylist().index("alone")
    assert [shards.clients[f"n_{part}"].to_pylist()[own] for part in PARTS] == [1, 0, 0]
    assert shards.manifest.notes["clients_with_one_row"].startswith("1,")
    fewer = made(tmp_path / "t.csv", tmp_path, at_least=2)
    assert "alone" not in fewer.clients["name"].to_pylist() and fewer.num_clients == 12


@pytest.mark.parametrize("partition", ["iid", "dirichlet:alpha=0.5", "shards:classes=1", "kmeans:alpha=0.5,clusters=3"])
def test_every_partitioner_deals_a_table(partition: str, csv: Path, tmp_path: Path) -> None:
    assert made(csv, tmp_path, partition=partition, clients=5).num_clients == 5


@pytest.mark.parametrize(
    ("changed", "options", "said"),
    [
        ({}, {"client": "usr"}, r"--client usr: .*t\.csv has no such column.*user"),
        ({}, {"features": "age,bought"}, "'bought' is the target, which no feature may tell"),
        ({}, {"features": "age,agee"}, r"column 'agee': .* no such column.*age"),
        ({}, {"target": "user"}, "column 'user' cannot be two things at once"),
        ({}, {"target": "note", "task": "regression"}, "holds words, such as 'nothing, said 0'"),
        ({"bought": "yes"}, {}, "target 'bought' has one value"),
        ({"age": "12 kg"}, {"at": 7}, r"column 'age' holds numbers and 1 values that are none, such as '12 kg'"),
        ({"when": "soon"}, {"at": 7, "time": "when"}, r"row 8 has the time 'soon', which is no date as ISO 8601"),
        ({}, {"text": "note", "features": "age"}, "not both"),
        ({}, {"split": "time"}, "--split time needs --time COLUMN"),
        ({}, {"features": "note"}, r"'note' has 240 different values, more than --most-categories 50"),
        ({}, {"client": ""}, "needs --client COLUMN"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(
    changed: dict[str, str], options: dict[str, object], said: str, tmp_path: Path
) -> None:
    table = frame().astype(object)
    at = options.pop("at", slice(None))
    for name, value in changed.items():
        table.loc[table.index[at], name] = value  # type: ignore[call-overload]
    source = written(tmp_path, "t.csv", table)
    with pytest.raises((SelfflError, UsageError), match=said) as error:
        made(source, tmp_path / "data", **options)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").glob("*")) if (tmp_path / "data").exists() else True


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"", "holds no rows"),
        ("t.csv", b"user,bought\n", "holds no rows"),
        ("t.csv", b"user,bought\na,yes,3\n", "cannot be read as a table"),
        ("t.csv", b"user,user\na,yes\n", "two columns 'user'"),
        ("t.csv", "user,bought\nJosé,yes\n".encode("latin-1"), "write it in UTF-8"),
        ("t.csv", "user,bought\na,yes\n".encode("utf-16"), "UTF-16"),
        ("t.parquet", b"PAR1 not", "cannot be read as a table"),
        ("t.jsonl", b'{"user": "a", "bought"', "cannot be read as a table"),
        ("t.jsonl", b'{"user": "a", "bought": "no", "x": [1]}\n{"user": "b", "bought": "yes", "x": []}\n', "lists"),
        ("t.csv.gz", gzip.compress(b"user,bought\na,yes\n", mtime=0)[:-9], "cannot be read as a table"),
        ("t.arff", b"@relation r\n@attribute user string\n", "no line @data"),
        ("t.xlsx", b"PK", "is no table by its name"),
    ],
)
def test_files_that_are_no_tables(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((SelfflError, UsageError), match=said) as error:
        made(tmp_path / name, tmp_path / "data")
    assert "\n" not in str(error.value)


def test_decimal_commas_and_another_form_of_dates(tmp_path: Path) -> None:
    table = frame()
    source = written(tmp_path, "plain.csv", table)
    table["age"] = table["age"].astype(str).str.replace(".", ",")
    table["when"] = pandas.to_datetime(table["when"]).dt.strftime("%d/%m/%Y")
    german = written(tmp_path, "t.txt", table)
    asked = {"time": "when", "split": "time"}
    first = made(source, tmp_path, **asked)
    second = made(german, tmp_path, decimal=",", time_format="%d/%m/%Y", **asked)
    assert np.array_equal(first.part("test").arrays["x"].numpy(), second.part("test").arrays["x"].numpy())


def test_the_command_takes_the_file_as_its_argument(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["prepare", "table", str(csv), "--client", "user", "--target", "bought"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.index("city: category, 3 values") < said.index("table, prepared")
    assert main([*words, "--source", str(csv)]) == 2
    assert "two sources" in capsys.readouterr().err
    (manifest,) = tmp_path.glob("data/*/manifest.json")
    assert json.loads(manifest.read_text())["sources"][0]["name"] == "t.csv"
