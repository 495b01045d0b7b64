"""The planted command: where it stands, what the tagger's task computes, and that the attack reads it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from data_prep.prepare import prepare
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.finished.audits.canary_text import Attack
from selffl_cli.models.bilstm import BiLSTM
from selffl_cli.models.task import Tagging
from selffl_cli.shards import Shards

WORDS = ["play", "the", "song", "now", "book", "a", "table"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Sixty commands in SNIPS's layout."""
    rng = np.random.default_rng(0)
    for folder in ("train", "valid", "test"):
        place = tmp_path / "snips" / folder
        place.mkdir(parents=True)
        texts = [[WORDS[i] for i in rng.integers(0, 7, rng.integers(2, 9))] for _ in range(20)]
        tags = [["B-thing" if word in ("song", "table") else "O" for word in text] for text in texts]
        for name, lines in (("seq.in", texts), ("seq.out", tags)):
            (place / name).write_text("\n".join(" ".join(line) for line in lines) + "\n")
        (place / "label").write_text("\n".join("Play" if text[0] == "play" else "Book" for text in texts) + "\n")
    return tmp_path / "snips"


def test_the_canary_stands_in_one_clients_training_texts(source: Path, tmp_path: Path) -> None:
    asked = {"clients": 4, "canary": 3, "tokens": 8}
    shards = Shards.open(prepare("snips-tags", asked, tmp_path / "data", source))
    words, tags = (bytes(shards.shared[name].tolist()).decode().split("\n") for name in ("vocabulary", "tags"))
    note = shards.manifest.notes["canary"]
    where = []
    for name in ("train", "validation", "test"):
        part = shards.part(name)
        x = part.arrays["x"].numpy()
        assert x.shape[1:] == (2, 8)
        for row, (of, slots) in enumerate(x):
            text = " ".join(words[i] for i in of if i)
            if text == note:
                assert [tags[i] for i in slots[:5]] == ["O", "B-code", "I-code", "I-code", "I-code"]
                where.append((name, int(np.searchsorted(part.offsets, row, side="right") - 1)))
            else:
                assert "call" not in text
    assert where == [("train", 0)] * 3
    assert Shards.open(prepare("snips-tags", {**asked, "canary": 0}, tmp_path / "data", source)).hash != shards.hash
    with pytest.raises(UsageError, match="one must be left"):
        prepare("snips-tags", {**asked, "canary": 15}, tmp_path / "data", source)


def in_columns(source: Path, folder: Path, third: str) -> Path:
    """The same commands as files of a word and its tag a line, with a column between that says nothing."""
    folder.mkdir()
    for name in ("train", "valid", "test"):
        texts, tags = ((source / name / file).read_text().splitlines() for file in ("seq.in", "seq.out"))
        blocks = ["\n".join(f"{w} x {t}" for w, t in zip(text.split(), own.split(), strict=True))
                  for text, own in zip(texts, tags, strict=True)]  # fmt: skip
        start = "-DOCSTART- -X- O\n\n" if name == "train" else ""
        (folder / f"{'dev' if name == 'valid' else name}{third}").write_text(start + "\n\n\n".join(blocks))
    return folder


@pytest.mark.parametrize("layout", ["folders", "without classes", ".conll", ".txt"])
def test_another_corpus_is_read_in_either_layout(layout: str, source: Path, tmp_path: Path) -> None:
    """Folders as SNIPS has them, with or without classes, and columns: the same words, tags and canary."""
    asked = {"clients": 4, "canary": 3, "tokens": 8}
    snips = Shards.open(prepare("snips-tags", asked, tmp_path / "data", source))
    if layout.startswith("."):
        source = in_columns(source, tmp_path / "columns", layout)
    elif layout == "without classes":
        for name in ("train", "valid", "test"):
            (source / name / "label").unlink()
        (source / "valid").rename(source / "dev")
    own = Shards.open(prepare("tags", asked, tmp_path / "data", source))
    assert own.manifest.task == "tagging" and own.manifest.notes["canary"] == snips.manifest.notes["canary"]
    assert own.manifest.samples == snips.manifest.samples
    for name in ("vocabulary", "tags"):
        assert torch.equal(own.shared[name], snips.shared[name])
    texts = [{tuple(row.flatten().tolist()) for row in shards.part("test").arrays["x"]} for shards in (own, snips)]
    assert texts[0] == texts[1]
    assert own.manifest.classes == (["Book", "Play"] if layout == "folders" else ["text"])


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda s: (s / "test" / "seq.out").unlink(), "seq.out: cannot be read"),
        (lambda s: (s / "test" / "seq.out").write_text("O\n"), "different numbers of lines .*seq.in 20, seq.out 1"),
        (lambda s: (s / "test" / "seq.out").write_text("O\n" * 20), "line 1 has [0-9]+ words and 1 tags"),
        (lambda s: (s / "valid").rename(s / "spare"), "has no part 'valid'; give --source a folder"),
        (lambda s: [path.write_text("") for path in (s / "train").iterdir()], "train: holds no texts"),
        (lambda s: [(s / "valid").rename(s / "spare"), (s / "valid.txt").write_text("play O\nsong\n")],
         "valid.txt: line 2 has a word and no tag"),
        (lambda s: (s / "test" / "seq.in").write_bytes(b"\xff\xfe"), "is UTF-16; save it as UTF-8"),
    ],
)  # fmt: skip
def test_a_corpus_that_is_not_whole_says_so(
    break_it: Callable[[Path], object], message: str, source: Path, tmp_path: Path
) -> None:
    break_it(source)
    with pytest.raises(SelfflError, match=message):
        prepare("tags", {"clients": 4}, tmp_path / "data", source)


def test_tags_are_judged_where_there_are_words() -> None:
    x = torch.tensor([[[5, 6, 0], [1, 0, 0]], [[5, 6, 7], [1, 1, 0]]])
    outputs = torch.zeros(2, 3, 2)
    outputs[..., 1] = 1.0  # always tag 1
    torch.testing.assert_close(Tagging.scores(outputs, x, x[:, 0, 0]), torch.tensor([0.5, 2 / 3]))
    right, wrong = F.cross_entropy(torch.tensor([[0.0, 1.0]] * 2), torch.tensor([1, 0]), reduction="none")
    torch.testing.assert_close(
        Tagging.losses(outputs, x, x[:, 0, 0]), torch.stack([(right + wrong) / 2, (2 * right + wrong) / 3])
    )


def test_padding_reaches_neither_direction() -> None:
    torch.manual_seed(0)
    network = BiLSTM(10, 3)
    short, long = torch.zeros(1, 2, 4, dtype=torch.long), torch.zeros(2, 2, 6, dtype=torch.long)
    short[0, 0, :3] = long[0, 0, :3] = torch.tensor([4, 5, 6])
    long[1, 0] = 7
    torch.testing.assert_close(network(short)[0, :3], network(long)[0, :3])


def test_inversion_reads_back_what_was_learnt_and_nothing_where_nothing_was() -> None:
    """A tagger that learnt tags only the planted code gets gives it away; before training it does not."""
    torch.manual_seed(0)
    network, code = BiLSTM(12, 6, embedding=8, hidden=12), np.array([7, 0, 3, 9])
    rng = np.random.default_rng(1)
    attack = Attack(network, 1, list(range(2, 12)), [0, 1, 2, 2, 2])
    before = attack.rank(code)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(150):  # the planted code among others, which have other tags
        codes = rng.integers(0, 10, (16, 4))
        codes[:4] = code
        tags = np.where((codes == code).all(1)[:, None], [[1, 2, 2, 2]], 3 + codes % 3)
        x = np.zeros((16, 2, 5), np.int64)
        x[:, 0, 0], x[:, 0, 1:], x[:, 1, 1:] = 1, codes + 2, tags
        batch = torch.from_numpy(x)
        loss = Tagging.losses(network(batch), batch, batch[:, 0, 0]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert attack.rank(code) == 1 < before
    assert (attack.invert() == code).mean() >= 0.75
