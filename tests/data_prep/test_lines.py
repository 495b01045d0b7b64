"""One reader for text: marks, encodings, ends of lines, files that belong together, and columns of tags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep.prepare import prepare
from data_prep.sets import shakespeare, snips, tags
from data_prep.texts.lines import decode_text, nfc, split_lines
from selffl_cli.config.experiment import load_experiment
from selffl_cli.errors import SelfflError
from selffl_cli.shards import Shards

TEXTS = ["play a song now", "book the table", "play it", "book a table"]
LABELS = ["Play", "Book", "Play", "Book"]
SLOTS = ["O O B-song O", "O O B-place", "O O", "O O B-place"]


def corpus(folder: Path, texts: list[str] = TEXTS, labels: list[str] = LABELS, end: str = "\n", mark: str = "") -> Path:
    for part in ("train", "valid", "test"):
        (folder / part).mkdir(parents=True)
        for name, lines in (("seq.in", texts), ("seq.out", SLOTS), ("label", labels)):
            (folder / part / name).write_bytes((mark + "".join(line + end for line in lines)).encode())
    return folder


def test_only_three_things_end_a_line() -> None:
    assert split_lines("a\nb\r\nc\rd") == ["a", "b", "c", "d"]
    assert split_lines("a\u2028b\x0bc\x0cd\x1ce\x85f\n") == ["a\u2028b\x0bc\x0cd\x1ce\x85f"]
    assert split_lines("a\n\nb\n\n") == ["a", "", "b", ""]
    assert split_lines("") == []


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ("über\n".encode("utf-16"), "UTF-16"),
        ("über".encode("utf-16-be"), "NUL|latin-1"),
        ("a\nübel\n".encode("latin-1"), r"byte 0xfc in line 2.*latin-1"),
    ],
)
def test_other_encodings_are_named(data: bytes, word: str) -> None:
    with pytest.raises(SelfflError, match=word):
        decode_text(data, "x")


@pytest.mark.parametrize(("end", "mark"), [("\n", "\ufeff"), ("\r\n", ""), ("\r", ""), ("\r\n", "\ufeff")])
def test_marks_and_ends_change_nothing(tmp_path: Path, end: str, mark: str) -> None:
    plain = snips.read(corpus(tmp_path / "plain"))
    other = snips.read(corpus(tmp_path / "other", end=end, mark=mark))
    assert plain[:2] == other[:2]
    assert tags.read(tmp_path / "other").tags == tags.read(tmp_path / "plain").tags


def test_a_line_separator_within_a_text(tmp_path: Path) -> None:
    texts, intents, _ = snips.read(corpus(tmp_path, ["play a\u2028 song now", *TEXTS[1:]]))
    assert len(texts) == 12 and intents[:4] == LABELS
    assert tags.read(tmp_path).texts[0] == ["play", "a", "song", "now"]


@pytest.mark.parametrize("read", [snips.read, tags.read])
def test_an_empty_line_in_one_file_alone_is_refused(tmp_path: Path, read: object) -> None:
    corpus(tmp_path, [TEXTS[0], "", *TEXTS[2:]])
    with pytest.raises(SelfflError, match="line 2 of seq.in is empty, but (label has 'Book'|seq.out has 'O O)"):
        read(tmp_path)  # type: ignore[operator]


def test_lines_that_are_empty_in_every_file_are_left_out(tmp_path: Path) -> None:
    corpus(tmp_path, ["", *TEXTS], ["", *LABELS])
    for part in ("train", "valid", "test"):
        (tmp_path / part / "seq.out").write_text("\n".join(["", *SLOTS, "", ""]))
    assert snips.read(tmp_path)[1][:4] == LABELS
    assert tags.read(tmp_path).labels[:4] == LABELS


def test_names_of_classes_are_composed(tmp_path: Path) -> None:
    labels = ["Cafe\u0301", "Book", "Caf\u00e9", "Book"]
    assert set(snips.read(corpus(tmp_path, labels=labels))[1]) == {"Caf\u00e9", "Book"}
    assert nfc("e\u0301") == "\u00e9"


def columns(folder: Path, text: str, ending: str = "conll") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "dev", "test"):
        (folder / f"{part}.{ending}").write_bytes(text.encode())
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "play\tO\nsong\tB-x\n\n#now\tO\nbook\tO\n",
        "\ufeffplay\tO\nsong\tB-x\n\n#now\tO\nbook\tO\n",
        "# id = 0\n# text = play song\nplay\tO\nsong\tB-x\n\n# newdoc\n#now\tO\nbook\tO\n",
        "# text = O\nplay _ _ O\nsong _ _ B-x\n\n# id 12\tdomain=train\n#now _ _ O\nbook _ _ O\n",
        "-DOCSTART- -X- O\n\nplay N O\nsong N B-x\n\n#now N O\nbook N O\n",
        "O\tplay\nB-x\tsong\n\nO\t#now\nO\tbook\n",
        "play\tO\r\nsong\tB-x\r\n\r\n#now\tO\r\nbook\tO\r\n",
    ],
)
def test_columns_of_words_and_tags(tmp_path: Path, text: str) -> None:
    found = tags.read(columns(tmp_path, text))
    assert found.texts[:2] == [["play", "song"], ["#now", "book"]]
    assert found.tags[:2] == [["O", "B-x"], ["O", "O"]]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("play\tVERB\nsong\tNOUN\n", "2 of 2 tags are in no BIO scheme.*VERB"),
        ("O\tx\tplay\nB-x\tx\tsong\n", "more than two columns"),
        ("".join(f"w\tB-{n}\n" for n in range(201)), "201 tags"),
        ("play O\nsong\n", "line 2 has a word and no tag"),
    ],
)
def test_what_is_no_tag_is_refused(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(SelfflError, match=word):
        tags.read(columns(tmp_path, text))


def test_a_no_break_space_is_part_of_a_word(tmp_path: Path) -> None:
    assert tags.read(columns(tmp_path, "New\u00a0York\tB-loc\nnow\tO\n")).texts[0] == ["New\u00a0York", "now"]


def test_plays_with_line_separators(tmp_path: Path) -> None:
    lines = [json.dumps({"play": "P", "role": f"R{n}", "speeches": ["to\u2028be"]}, ensure_ascii=False) for n in (1, 2)]
    (tmp_path / "plays.jsonl").write_text("\n\n".join(lines))
    assert [role.speeches for role in shakespeare.read(tmp_path / "plays.jsonl")] == [["to\u2028be"]] * 2


def test_an_experiment_with_a_byte_order_mark(tmp_path: Path) -> None:
    text = '\ufeffname = "mine"\nseeds = [0]\n[data]\nname = "digits"\nclients = 4\n[model]\nname = "mlp"\n[train]\n'
    text += "rounds = 1\nbatch_size = 8\nlearning_rate = 0.1\nlocal_epochs = 1\n[methods.fedavg]\n"
    (tmp_path / "mine.toml").write_text(text)
    assert load_experiment(str(tmp_path / "mine.toml")).name == "mine"
    (tmp_path / "wide.toml").write_text(text, encoding="utf-16")
    with pytest.raises(SelfflError, match="UTF-16"):
        load_experiment(str(tmp_path / "wide.toml"))
    (tmp_path / "page.toml").write_bytes(text[1:].replace("mine", "m\u00fcne").encode("latin-1"))
    with pytest.raises(SelfflError, match="0xfc in line 1.*latin-1"):
        load_experiment(str(tmp_path / "page.toml"))


def test_nothing_is_left_of_a_corpus_that_was_refused(tmp_path: Path) -> None:
    corpus(tmp_path / "source", [TEXTS[0], "", *TEXTS[2:]])
    with pytest.raises(SelfflError):
        prepare("snips", {"clients": 2}, tmp_path / "out", tmp_path / "source")
    assert not (tmp_path / "out").exists()


def test_the_mark_makes_no_class(tmp_path: Path) -> None:
    made = prepare("snips", {"clients": 2}, tmp_path / "out", corpus(tmp_path / "source", mark="\ufeff"))
    assert Shards.open(made).manifest.classes == ["Book", "Play"]
