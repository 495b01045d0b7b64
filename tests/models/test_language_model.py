"""Next-word models: what is predicted, perplexity by hand, the vocabulary, and the two sources in their layouts."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.prepare import prepare
from data_prep.sets import shakespeare, snips
from selffl_cli.engine.evaluation import summary, units
from selffl_cli.engine.flat import DevicePart, FlatModel
from selffl_cli.errors import SelfflError
from selffl_cli.models.next_word import NextWord
from selffl_cli.models.task import LanguageModel
from selffl_cli.shards import Part, Shards

CPU = torch.device("cpu")
X = torch.tensor([[2, 3, 4, 2, 0, 0], [2, 5, 2, 0, 0, 0], [2, 3, 3, 4, 5, 2]])  # 3, 2 and 5 words to predict


def model(seed: int = 0) -> FlatModel:
    torch.manual_seed(seed)
    return FlatModel(NextWord(6, 4, 5), LanguageModel, CPU, torch.float64)


def test_a_text_is_scored_word_by_word_whatever_stands_beside_it() -> None:
    own = model()
    y = torch.zeros(3, dtype=torch.int64)
    together = LanguageModel.scores(own.outputs(own.start, X), X, y)
    for row in range(3):
        words = X[row][X[row] != 0]
        states, _ = own.module.lstm(own.module.embedding(words[None, :-1]))
        chances = own.module.output(states)[0].log_softmax(-1)
        expected = -sum(chances[t, words[t + 1]] for t in range(len(words) - 1))
        torch.testing.assert_close(together[row], expected.detach())
    assert LanguageModel.units(X, y).tolist() == [3, 2, 5]
    losses = LanguageModel.losses(own.outputs(own.start, X), X, y)
    torch.testing.assert_close(losses, together / torch.tensor([3, 2, 5]))


def test_perplexity_weighs_words_and_one_of_v_equal_words_has_perplexity_v() -> None:
    own = model()
    own.vector.zero_()  # every word equally likely
    zero = own.vector.clone()
    part = DevicePart(Part({"x": X, "y": torch.zeros(3)}, np.array([0, 2, 3])), CPU, torch.float64)
    assert units(LanguageModel, part).tolist() == [[5, 5]]
    scores = LanguageModel.scores(own.outputs(zero, X), X, part.y).numpy()
    sums = np.array([[scores[:2].sum(), scores[2]]] * 2)
    assert summary(sums, units(LanguageModel, part), LanguageModel)["perplexity"] == pytest.approx(6)
    figures = summary(np.array([[5 * np.log(2), 5 * np.log(8)]] * 2), np.array([[5, 5]]), LanguageModel)
    assert figures["perplexity"] == pytest.approx(4) and figures["client_mean"] == pytest.approx(5)
    assert figures["worst_tenth"] == pytest.approx(8) and figures["loss"] == pytest.approx(np.log(4))


def write_snips(folder: Path) -> Path:
    texts = {
        "train": 3 * [("Play it", "Music"), ("play all", "Music"), ("the weather", "Weather"), ("the it", "Weather")],
        "valid": [("play jazz", "Music")],
        "test": [("the weather in jazz jazz", "Weather"), ("play play", "Music")],
    }
    for name, rows in texts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "seq.in").write_text("".join(f"{text} \n" for text, _ in rows))
        (folder / name / "label").write_text("".join(f"{label}\n" for _, label in rows))
    return folder


def test_snips_has_its_parts_and_a_vocabulary_of_training_words(tmp_path: Path) -> None:
    source = write_snips(tmp_path / "snips")
    shards = Shards.open(prepare("snips", {"clients": 2}, tmp_path, source))
    assert shards.manifest.task == "language-model" and shards.manifest.classes == ["Music", "Weather"]
    assert vars(shards.manifest.samples) == {"train": 12, "validation": 1, "test": 2}
    words = bytes(shards.shared["vocabulary"].tolist()).decode().split("\n")
    assert words[:3] == ["<pad>", "<unk>", "<s>"] and "jazz" not in words and {"play", "the", "it"} <= set(words)
    test = shards.part("test").arrays["x"]
    row = test[(test == words.index("weather")).any(1)][0].tolist()
    assert [words[i] for i in row[:7]] == ["<s>", "the", "weather", "<unk>", "<unk>", "<unk>", "<s>"]
    assert set(row[7:]) == {0} and len(row) == 32


def test_snips_says_what_is_missing(tmp_path: Path) -> None:
    source = write_snips(tmp_path / "snips")
    (source / "test" / "label").write_text("Music\n")
    with pytest.raises(SelfflError, match=r"\(seq.in 2, label 1\).*; bring files that belong"):
        snips.read(source)
    (source / "valid" / "seq.in").unlink()
    with pytest.raises(SelfflError, match="valid/seq.in: cannot be read .*; give --source"):
        snips.read(source)


PLAIN = """First Citizen:
Speak,
speak.

All:
Resolved.

First Citizen:
You know

and so on.

All:

ALL:
No.
"""


def test_both_layouts_of_the_plays_give_roles_and_speeches_in_order(tmp_path: Path) -> None:
    plain = tmp_path / "plays.txt"
    plain.write_text(PLAIN)
    roles = shakespeare.read(plain)
    assert [(role.name, role.speeches) for role in roles] == [
        ("First Citizen", ["Speak, speak.", "You know and so on."]), ("All", ["Resolved."]), ("ALL", ["No."]),
    ]  # fmt: skip
    packed = tmp_path / "roles.jsonl.xz"
    with lzma.open(packed, "wt") as stream:
        stream.write('{"play": "p", "role": "r", "speeches": ["It’s one.", "two"]}\n\n')
        stream.write('{"play": "q", "role": "s", "speeches": []}\n')
    assert shakespeare.read(packed) == [shakespeare.Role("p", "r", ["It’s one.", "two"])]
    for content, message in (("{nonsense", "line 1 is no object"), ("no speaker", "holds no speeches")):
        plain.write_text(content)
        with pytest.raises(SelfflError, match=message):
            shakespeare.read(plain)


def test_long_speeches_go_on_in_the_next_sample_and_roles_are_clients(tmp_path: Path) -> None:
    source = tmp_path / "plays.txt"
    source.write_text("\n\n".join(f"{name}:\n" + "one two three four five" for name in ("A", "B") for _ in range(4)))
    options = {"at_least": 4, "tokens": 3, "min_count": 1, "periods": 2, "drift": "time", "validation": 0, "test": 0.25}
    shards = Shards.open(prepare("shakespeare", options, tmp_path, source))
    assert shards.clients["name"].to_pylist() == ["A", "B"] and shards.periods == 2
    rows = np.concatenate([shards.part(name).arrays["x"].numpy() for name in ("train", "test")])
    assert len(rows) == 16 and rows.shape[1] == 5
    ends = rows[:, -1]  # a first piece is full and goes on; a second one ends with <s> and padding
    assert (rows[:, 0] == 2).all() and (ends == 0).all() and ((rows == 2).sum(1) == 2).sum() == 8
    with pytest.raises(SelfflError, match="no role has 9 speeches .most: 4.; lower --at-least"):
        prepare("shakespeare", {"at_least": 9}, tmp_path, source)


def test_real_plays_and_commands(shared_data: Path, tmp_path: Path) -> None:
    roles = shakespeare.read(shared_data / "shakespeare" / "tinyshakespeare.txt.xz")
    # 309 names stand before 7,222 speeches, 125 of which are empty in this file, as are all those of 10 names
    assert len(roles) == 298 and sum(len(role.speeches) for role in roles) == 7097
    texts, intents, part = snips.read(shared_data / "snips")
    assert len(texts) == 14_484 and len(set(intents)) == 7 and np.bincount(part).tolist() == [13_084, 700, 700]
