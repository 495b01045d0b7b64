"""Sentiment140 from files of known users and awkward rows to shards, and the real tweets where at hand."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_prep.prepare import prepare
from data_prep.sets.sent140 import Options
from data_prep.texts import text, tweets
from selffl_cli.config.spec import parse_spec
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.shards import Shards

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "sent140" / "trainingandtestdata.zip"
real_tweets = pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/sent140, which is not here")
WORDS = ["good", "bad", "day", "so", "very", "rain", "sun", "love", "it", "not"]


def line(polarity: object, user: str, tweet: str, **changed: str) -> str:
    stream = io.StringIO()
    row = {
        "polarity": polarity,
        "id": "1",
        "date": "Mon Apr 06",
        "query": "NO_QUERY",
        "user": user,
        "text": tweet,
    }
    csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow({**row, **changed}.values())
    return stream.getvalue()


def known_users(path: Path, sizes: dict[str, int], order: int = 0) -> Path:
    """A CSV of users with these numbers of tweets; each tweet names its user and its number."""
    rng = np.random.default_rng(1)
    rows = [
        line(4 * int(rng.integers(2)), user, f"{user} t{i} {' '.join(rng.choice(WORDS, 6))}")
        for user, size in sizes.items()
        for i in range(size)
    ]
    rows = [rows[i] for i in np.random.default_rng(order).permutation(len(rows))]
    path.write_text("".join(rows), encoding="latin-1")
    return path


def tokens(shards: Shards, part: str, client: int) -> list[list[str]]:
    words = bytes(shards.shared["vocabulary"].numpy()).decode().split("\n")
    rows = shards.part(part)
    x = rows.arrays["x"][int(rows.offsets[client]) : int(rows.offsets[client + 1])]
    return [[words[i] for i in row if i] for row in x.tolist()]


SIZES = {"ann": 40, "bob": 31, "cat": 30, "dan": 100, "eve": 3, **{f"thin{i}": 1 for i in range(96)}}


def test_natural_takes_users_with_more_than_thirty(tmp_path: Path) -> None:
    source = known_users(tmp_path / "t.csv", SIZES)
    folder = prepare("sent140", {"fraction": 1.0, "min_count": 1}, tmp_path / "out", source)
    shards = Shards.open(folder)
    table = shards.clients.to_pydict()
    assert sorted(table["name"]) == ["ann", "bob", "dan"]
    assert shards.manifest.partition == "natural" and shards.manifest.classes == ["negative", "positive"]
    for client, name in enumerate(table["name"]):
        n, test = SIZES[name], table["n_test"][client]
        assert test == round(0.2 * n) and table["n_validation"][client] == int(0.1 * (n - test) + 0.5)
        seen = [row for part in ("train", "validation", "test") for row in tokens(shards, part, client)]
        assert len(seen) == n
        assert all(row[0] == name for row in seen)  # every tweet is its user's own
        train = tokens(shards, "train", client)
        assert len({row[1] for row in train}) == len(train)  # and none comes twice
    assert shards.manifest.notes["users"] == len(SIZES)
    embedding = shards.shared["embedding"]
    assert embedding.shape[1] == 100 and not embedding[:2].any()


def test_natural_stops_at_the_fraction_and_ignores_the_order_of_lines(tmp_path: Path) -> None:
    sizes = {f"u{i:03d}": 35 + i % 7 for i in range(100)}
    a = known_users(tmp_path / "a.csv", sizes)
    b = known_users(tmp_path / "b.csv", sizes, order=9)
    chosen = []
    for source, seed in ((a, 0), (b, 0), (a, 1)):
        shards = Shards.open(prepare("sent140", {"seed": seed}, tmp_path / "out", source))
        names = shards.clients["name"].to_pylist()
        total = sum(sizes[name] for name in names)
        assert total >= 0.3 * sum(sizes.values()) > total - max(sizes.values())  # whole users, no more than needed
        chosen.append(names)
    assert chosen[0] == chosen[1] != chosen[2]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    source = known_users(tmp_path / "t.csv", SIZES)
    hashes = {
        Shards.open(prepare("sent140", {"fraction": 1.0}, tmp_path / str(i), source)).manifest.data_hash
        for i in range(2)
    }
    assert len(hashes) == 1


def test_vocabulary_is_that_of_training_tweets(tmp_path: Path) -> None:
    source = known_users(tmp_path / "t.csv", SIZES)
    shards = Shards.open(prepare("sent140", {"fraction": 1.0, "min_count": 1}, tmp_path / "out", source))
    words = set(bytes(shards.shared["vocabulary"].numpy()).decode().split("\n")) - set(text.SPECIAL)
    train = {word for client in range(3) for row in tokens(shards, "train", client) for word in row}
    assert words == train
    unseen = [row for client in range(3) for row in tokens(shards, "test", client) if "<unk>" in row]
    assert unseen  # numbers such as t38 that only test tweets have


def test_tokens_of_tricky_tweets_reach_the_shards(tmp_path: Path) -> None:
    tricky = [
        "@Ann I CAN'T http://t.co/X",
        "&quot;wow&quot;!!",
        "\U0001f600",
        "",
        'say ""hi"", ok?',
        "word " * 40,
    ]
    rows = [line(4, "ann", tweet) for tweet in tricky] + [line(0, "ann", tweet) for tweet in tricky]
    source = tmp_path / "t.csv"
    source.write_text("".join(rows), encoding="utf-8")
    options = {"partition": "iid", "clients": 1, "min_count": 1, "test": 0.0, "validation": 0.0}
    shards = Shards.open(prepare("sent140", options, tmp_path / "out", source))
    assert sorted(tokens(shards, "train", 0)) == sorted(2 * [text.tokenise(tweet) for tweet in tricky])
    assert shards.manifest.notes["tweets_without_tokens"] == 4
    kept = Shards.open(prepare("sent140", {**options, "lower": False}, tmp_path / "out", source))
    assert ["Ann", "I", "CAN'T", "http", "t", ".", "co", "X"] in tokens(kept, "train", 0)


def test_rows_left_out_are_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    content = [
        line(4, "ann", "fine").encode(),
        b'"0","1","d","q","ann"\n',
        line(2, "ann", "neutral").encode(),
        line(7, "ann", "seven").encode(),
        line(0, "", "nobody").encode(),
        b'"0","1","d","q","ann","unclosed\n',
        line(0, "ann", "nul \0 byte").encode(),
        b'"0","1","d","q","ann","' + b"x" * (1 << 20) + b'"\n',
        line(0, "bob", "caf\xe9").encode("latin-1"),
        line(0, "bob", "café \U0001f600").encode(),
        line(0, "bob", "one,two").encode().replace(b"\n", b',"extra"\n'),
        b"\n",
        line(0, "bob", "last \x83").encode("latin-1").rstrip(b"\n"),
    ]
    path.write_bytes(b"".join(content))
    with pytest.raises(SelfflError, match=r"8 of 12 rows would be left out .*more than 5.0%.*--max-bad"):
        tweets.read(path)
    read = tweets.read(path, max_bad=0.7)
    assert read.texts == ["fine", "café", "café \U0001f600", "last \x83"]
    assert read.label.tolist() == [1, 0, 0, 0] and [read.users[u] for u in read.user] == ["ann"] + ["bob"] * 3
    assert read.notes["rows"] == 12
    assert read.notes["left_out_rows"] == {
        "with missing columns": 1,
        "neutral (polarity 2)": 1,
        "of a polarity other than 0, 2 and 4": 1,
        "without a user": 1,
        "with broken quotes": 1,
        "with NUL bytes": 1,
        "longer than 65,536 bytes": 1,
        "with too many columns": 1,
    }
    told = read.notes["left_out"]
    assert told.startswith("8 rows: 1 with missing columns (line 2); 1 neutral (polarity 2) (line 3)")
    assert "bytes (line 8)" in told and "too many columns (line 11)" in told
    assert read.notes["encoding"] == "1 in UTF-8 (line 10); 1 in neither latin-1 nor UTF-8 (line 13)"
    assert tweets.read(path, "latin-1", max_bad=0.7).texts[2] == "café \U0001f600".encode().decode("latin-1")


def test_lines_beyond_the_first_are_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(line(4, "a", "x") + line(2, "a", "x") * 1234 + line(0, "a", "x"))
    read = tweets.read(path, max_bad=1)
    assert read.notes["left_out"] == "1,234 rows: 1,234 neutral (polarity 2) (lines 2, 3, 4, 5, 6, …)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"just,three,columns\n", "1 with missing columns"),
        (line(2, "a", "x").encode(), "no two of its labels are negative and positive .'2' 1 times"),
        ("\ufeff".encode("utf-16") + "x".encode("utf-16"), "UTF-16"),
        (bytes(range(256)) * 50, "no row is in the official layout"),
        (b"PK\x03\x04 cut off", "not a whole archive"),
    ],
)
def test_sources_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "source"
    path.write_bytes(content)
    with pytest.raises(SelfflError, match=message) as caught:
        prepare("sent140", {}, tmp_path / "out", path)
    assert "\n" not in str(caught.value) and not list((tmp_path / "out").glob("*"))


def test_zip_of_another_kind_and_cut_zip(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "nothing here")
    with pytest.raises(SelfflError, match=r"holds no training CSV .* \(but readme.txt\)"):
        tweets.read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("testdata.manual.2009.06.14.csv", line(0, "x", "test"))
        archive.writestr(f"folder/{tweets.MEMBER}", line(4, "ann", "hello") + line(0, "bob", "bye"))
    assert tweets.read(path).texts == ["hello", "bye"]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SelfflError, match="not a whole archive"):
        tweets.read(path)


def test_too_thin_for_natural_names_the_command(tmp_path: Path) -> None:
    source = known_users(tmp_path / "t.csv", {f"u{i}": 2 for i in range(300)})
    with pytest.raises(SelfflError, match="would give 0 clients") as caught:
        prepare("sent140", {}, tmp_path / "out", source)
    command = str(caught.value).split("selffl prepare ")[1].split()
    given = dict(zip(command[1::2], command[2::2], strict=True))
    options = {"clients": int(given["--clients"]), "partition": given["--partition"]}
    folder = prepare("sent140", options, tmp_path / "out", given["--source"])  # and the command works
    assert Shards.open(folder).num_clients == 60


def test_embeddings_file(tmp_path: Path) -> None:
    source = known_users(tmp_path / "t.csv", SIZES)
    glove = tmp_path / "glove.txt"
    glove.write_text("good 1 2 3\nrain 4 5 6\nnowhere 7 8 9\n")
    options = {"fraction": 1.0, "embeddings": str(glove), "embedding_dimensions": 3}
    shards = Shards.open(prepare("sent140", options, tmp_path / "out", source))
    words = bytes(shards.shared["vocabulary"].numpy()).decode().split("\n")
    vectors = dict(zip(words, shards.shared["embedding"].tolist(), strict=True))
    assert vectors == {"<pad>": [0] * 3, "<unk>": [0] * 3, "good": [1, 2, 3], "rain": [4, 5, 6]}
    assert {s.name for s in shards.manifest.sources} == {"t.csv", "glove.txt"}
    with pytest.raises(SelfflError, match="line 1 has 3 numbers where 100 are expected"):
        prepare("sent140", {"fraction": 1.0, "embeddings": str(glove)}, tmp_path / "out", source)
    with pytest.raises(UsageError, match="no such file"):
        prepare("sent140", {"embeddings": "nowhere.txt"}, tmp_path / "out", source)


def test_user_names_by_hash(tmp_path: Path) -> None:
    source = known_users(tmp_path / "t.csv", SIZES)
    shards = Shards.open(prepare("sent140", {"fraction": 1.0, "user_hash": True}, tmp_path / "out", source))
    names = shards.clients["name"].to_pylist()
    assert len(set(names)) == 3 and all(len(name) == 16 and name not in SIZES for name in names)


def test_hub_set_becomes_the_official_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = {
        "text": ['she said "hi", ok', "two\nlines", "café \U0001f600"],
        "date": ["d"] * 3,
        "user": ["ann", "bob", "ann"],
        "sentiment": [4, 0, 2],
        "query": ["NO_QUERY"] * 3,
    }
    asked = []

    def load_dataset(name: str, split: str) -> datasets.Dataset:
        asked.append((name, split))
        return datasets.Dataset.from_dict(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setenv("SELFFL_CACHE", str(tmp_path / "cache"))
    options = {"partition": "iid", "clients": 1, "min_count": 1, "test": 0.0, "validation": 0.0, "max_bad": 0.5}
    shards = Shards.open(prepare("sent140", options, tmp_path / "out", "hub"))
    assert asked == [("stanfordnlp/sentiment140", "train")]
    assert sorted(tokens(shards, "train", 0)) == [["she", "said", "hi", ",", "ok"], ["two", "lines"]]
    assert shards.manifest.notes["left_out_rows"] == {"neutral (polarity 2)": 1}

    def fails(name: str, split: str) -> None:
        raise RuntimeError("Dataset scripts are no longer supported\nand more")

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(SelfflError, match="no longer supported.*--source FILE"):
        prepare("sent140", options, tmp_path / "out", "hub")


def test_only_the_text_is_a_feature(tmp_path: Path) -> None:
    """Dates and ids differ, x and y do not."""
    rows = [("4", "ann", "good day"), ("0", "bob", "bad day")] * 20
    for name, date in (("a.csv", "Mon Apr 06"), ("b.csv", "Tue Jun 16")):
        content = "".join(line(p, u, t, date=date, id=f"{date}{i}") for i, (p, u, t) in enumerate(rows))
        (tmp_path / name).write_text(content)
    options = {"partition": "iid", "clients": 2}
    found = [Shards.open(prepare("sent140", options, tmp_path / f"out-{n}", tmp_path / f"{n}.csv")) for n in "ab"]
    assert found[0].manifest.data_hash == found[1].manifest.data_hash


@real_tweets
@pytest.mark.parametrize(
    ("clients", "partition"),
    [(772, "dirichlet:alpha=2,spread=0.6,min=26"), (61, "kmeans:alpha=1,spread=0.6,clusters=8")],
)
def test_real_tweets_dealt_out(tmp_path: Path, clients: int, partition: str) -> None:
    options = {"clients": clients, "partition": partition, "seed": 3}
    shards = Shards.open(prepare("sent140", options, tmp_path / "out", REAL))
    table = shards.clients
    sizes = sum(table[f"n_{part}"].to_numpy() for part in ("train", "validation", "test"))
    assert sizes.sum() == 34836 and sizes.std() / sizes.mean() == pytest.approx(0.6, abs=0.01)
    assert shards.manifest.notes["left_out"] == "0 rows" and shards.manifest.notes["encoding_rows"]["in UTF-8"] == 392
    x = shards.part("train").arrays["x"]
    embedding = shards.shared["embedding"]
    assert 5_000 < len(embedding) < 15_000 and int(x.max()) == len(embedding) - 1
    assert (x == 1).sum() < 0.1 * (x > 0).sum()  # few tokens are unknown


@real_tweets
def test_real_users_are_too_thin_for_natural(tmp_path: Path) -> None:
    with pytest.raises(SelfflError, match=r"would give 0 clients .* busiest 17.*--clients 772 --partition dirichlet"):
        prepare("sent140", {}, tmp_path / "out", REAL)


@pytest.mark.parametrize("name", ["dirichlet", "kmeans"])
def test_dealt_tweets_are_like_the_published_clients_unless_told_otherwise(name: str) -> None:
    plain = Options(partition=name)
    assert plain.clients == 772
    assert parse_spec(plain.partition) == (name, {"alpha": 2, "spread": 0.6})
    told = Options(partition=f"{name}:alpha=0.5,spread=0", clients=61)
    assert told.clients == 61
    assert parse_spec(told.partition)[1]["alpha"] == 0.5
    assert Options(partition="natural").clients is None


OFFICIAL = [(0, "ann", "bad, day"), (4, "bob", "good day"), (0, "cy", "sad"), (4, "ann", "glad")]


def rows(polarities: tuple[str, str] = ("0", "4"), order: str = "pidqut", separator: str = ",", end: str = "\n") -> str:
    texts = []
    for polarity, user, tweet in OFFICIAL:
        values = {"p": polarities[polarity > 0], "i": "1", "d": "day", "q": "NO", "u": user, "t": tweet}
        texts.append(separator.join(f'"{values[key]}"' for key in order) + end)
    return "".join(texts)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (rows(), None),
        ("\ufeff" + rows(), None),
        (rows(end="\r"), None),
        (rows(end="\r\n"), None),
        (rows(("0.0", "4.0")), "0.0 is read as negative, 4.0 as positive"),
        (rows(("0", "4.0")), "0 is read as negative, 4.0 as positive"),
        (rows(("0", "1")), "0 is read as negative, 1 as positive"),
        (rows(("-1", "1")), "-1 is read as negative, 1 as positive"),
        (rows(("Negative", "positive")), "Negative is read as negative, positive as positive"),
        ('"target","ids","date","flag","user","text"\n' + rows(), None),
        ('"text","user","target"\n' + rows(order="tup"), None),
        ('"","target","ids","date","flag","user","text"\n' + rows(order="ipidqut"), None),
    ],
)
def test_one_set_saved_in_many_ways(tmp_path: Path, text: str, labels: str | None) -> None:
    (tmp_path / "t.csv").write_text(text.replace("bad, day", "bad, day"), newline="")
    read = tweets.read(tmp_path / "t.csv")
    assert [(4 * label, read.users[user], text)
            for label, user, text in zip(read.label, read.user, read.texts, strict=True)] == OFFICIAL  # fmt: skip
    assert read.notes["rows"] == 4 and read.notes.get("labels") == labels


def test_quotes_and_line_breaks_within_a_tweet(tmp_path: Path) -> None:
    text = rows().replace("bad, day", 'two\nlines, ""quoted""').replace("sad", "sad \\")
    (tmp_path / "t.csv").write_text(text)
    assert tweets.read(tmp_path / "t.csv").texts == ['two\nlines, "quoted"', "good day", "sad \\", "glad"]
    (tmp_path / "t.csv").write_text(rows().replace("good day", r"a \"good\" day"))
    assert tweets.read(tmp_path / "t.csv").texts[1] == 'a "good" day'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rows(separator=";"), "separated by ';': add --separator ';'"),
        (rows(separator="\t"), r"add --separator '\\t'"),
        (rows(order="pidqtu"), "names with spaces, such as 'bad, day'.*--columns polarity,id,date,query,text,user"),
        (rows(order="put"), "--columns polarity,user,text"),
        (rows(("0", "0")), "no two of its labels are negative and positive .'0' 4 times"),
        (rows(("0", "1")) + rows(("2", "2")), "no two of its labels"),
        (rows() + rows(("2", "2")), "4 of 8 rows would be left out"),
    ],
)
def test_another_layout_is_named_with_what_to_type(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SelfflError, match=message):
        tweets.read(tmp_path / "t.csv")


def test_other_separators_and_orders_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(rows(order="tpu", separator=";"))
    asked = {"partition": "iid", "clients": 1, "columns": "text,polarity,user", "separator": ";"}
    shards = Shards.open(prepare("sent140", asked, tmp_path / "out", tmp_path / "t.csv"))
    assert sum(len(shards.part(part).arrays["y"]) for part in ("train", "validation", "test")) == 4
    with pytest.raises(UsageError, match="among them polarity, user and text"):
        prepare("sent140", {"columns": "a,b"}, tmp_path / "out", tmp_path / "t.csv")


def test_options_of_today_leave_yesterdays_names_and_records(tmp_path: Path) -> None:
    from data_prep.prepare import arguments, read_options

    assert not {"max_bad", "columns", "separator"} & set(arguments(read_options("sent140", {})))
    assert arguments(read_options("sent140", {"max_bad": 0.2}))["max_bad"] == 0.2
