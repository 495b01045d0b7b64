"""Tagged texts of your own, for a tagger; a canary can be planted in one client's training texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.shards import sha256

from ..dataset import DataSet, Stage
from ..dealing.pool import PARTITION_HELP, TEST, TRAIN, VALIDATION, Assignment, Pool, PrepareOptions, generator
from ..texts.columns import SPACES, check_tags, columns_of, order
from ..texts.lines import aligned, nfc
from ..texts.text import PADDING, SPECIAL, UNKNOWN

SOURCE = (
    "a folder with train, valid (or dev) and test: folders with seq.in and seq.out, a line a text (and label, where "
    "texts have classes), or files .txt, .tsv, .conll or .bio, a word and its tag a line and a blank line between texts"
)
EXAMPLES = (
    "selffl prepare tags --source FOLDER",
    "selffl prepare tags --source FOLDER -c 10 --canary 50",
)
PARTS = {"train": TRAIN, "valid": VALIDATION, "dev": VALIDATION, "test": TEST}
ENDINGS = (".txt", ".tsv", ".conll", ".bio")
DIGITS = [str(digit) for digit in range(10)]
CODE = 4  # digits of the canary "call d d d d"
TAGS = ["O", "B-code", "I-code", "I-code", "I-code"]  # of its words; hardly another text has the last two
OWNER = 0  # the client in whose training texts it stands


class Options(PrepareOptions):
    clients: int | None = Field(20, ge=1, le=10_000_000, description="Number of clients.")
    partition: str = Field("iid", description=PARTITION_HELP)
    tokens: int = Field(30, ge=5, le=1000, description="Words kept of a text.")
    min_count: int = Field(2, ge=1, description="Rarer words of the training texts are unknown.")
    canary: int = Field(
        0, ge=0, le=1_000_000,
        description="So many training texts of client 0 become `call d d d d`, for `selffl audit canary-text`.",
    )  # fmt: skip


@dataclass
class Corpus:
    """Texts as words, their tags (as many), the class and the part of each, and the files that they came from."""

    texts: list[list[str]]
    tags: list[list[str]]
    labels: list[str]
    part: list[int]
    files: list[Path]


def read(source: Path) -> Corpus:
    """SelfflError where a part is missing, or a line has no tag."""
    found = Corpus([], [], [], [], [])
    have = set()
    for name, part in PARTS.items():
        folder = source / name
        files = [path for ending in ENDINGS if (path := source / f"{name}{ending}").is_file()]
        if not folder.is_dir() and not files:
            continue
        before = len(found.texts)
        _folder(folder, found) if folder.is_dir() else _lines(files[0], found)
        if len(found.texts) == before:
            raise SelfflError(f"{folder if folder.is_dir() else files[0]}: holds no texts; bring whole files")
        found.part += [part] * (len(found.texts) - before)
        have.add(part)
    for name in ("train", "valid", "test"):
        if PARTS[name] not in have:
            raise SelfflError(f"{source}: has no part '{name}'; give --source {SOURCE}")
    check_tags(source, Counter(tag for tags in found.tags for tag in tags))
    return found


def _folder(folder: Path, found: Corpus) -> None:
    names = [name for name in ("seq.in", "seq.out", "label") if name != "label" or (folder / name).exists()]
    for number, (text, slots, *label) in aligned(folder, names, SOURCE):
        words, tags = text.split(), SPACES.split(slots)
        if len(words) != len(tags):  # a no-break space is no space between words
            words = SPACES.split(text)
        if len(words) != len(tags):
            raise SelfflError(
                f"{folder}: texts and tags do not line up: line {number} has {len(words)} words and {len(tags)} tags; "
                "bring both files as they belong together"
            )
        found.texts.append(words)
        found.tags.append(tags)
        found.labels.append(nfc(label[0]) if label else "text")
    found.files += [folder / name for name in names]


def _lines(path: Path, found: Corpus) -> None:
    texts = columns_of(path, SOURCE)
    word, tag = order(path, texts)
    for rows in texts:
        found.texts.append([columns[word] for columns in rows])
        found.tags.append([columns[tag] for columns in rows])
        found.labels.append("text")
    found.files.append(path)


def encode(corpus: Corpus, options: Options, source: Path, citation: str) -> Pool:
    """The corpus as numbers; the vocabulary comes from its training texts, with the canary's words always in it."""
    rows = [([word.lower() for word in words[: options.tokens]], tags[: options.tokens])
            for words, tags in zip(corpus.texts, corpus.tags, strict=True)]  # fmt: skip
    seen = Counter(word for (words, _), of in zip(rows, corpus.part, strict=True) if of == TRAIN for word in words)
    always = ["call", *DIGITS]
    known = always + sorted(word for word, count in seen.items() if count >= options.min_count and word not in always)
    index = {word: number + len(SPECIAL) for number, word in enumerate(known)}
    names = sorted({tag for _, tags in rows for tag in tags} | set(TAGS))
    tag_index = {name: number for number, name in enumerate(names)}
    x = np.full((len(rows), 2, options.tokens), PADDING, np.int32)
    for row, (kept, slots) in zip(x, rows, strict=True):
        row[0, : len(kept)] = [index.get(word, UNKNOWN) for word in kept]
        row[1, : len(slots)] = [tag_index[tag] for tag in slots]
    classes = sorted(set(corpus.labels))
    of_class = {name: number for number, name in enumerate(classes)}
    return Pool(
        arrays={"x": x, "y": np.array([of_class[label] for label in corpus.labels], np.int64)},
        classes=classes, citation=citation, task="tagging", part=np.array(corpus.part),
        shared={"vocabulary": _array([*SPECIAL, *known]), "tags": _array(names)},
        notes={"words": len(known) + len(SPECIAL), "tags": len(names)},
        sources=[{"name": f"{source.name}/{path.relative_to(source).as_posix()}", "sha256": sha256(path)}
                 for path in corpus.files],
    )  # fmt: skip


def finish(pool: Pool, assignment: Assignment, options: PrepareOptions) -> None:
    """Plant the canary, once the deal is known; its digits are drawn from the seed and stand in the notes."""
    assert isinstance(options, Options)
    if not options.canary:
        return
    rows = np.flatnonzero((assignment.client == OWNER) & (assignment.part == TRAIN))
    if len(rows) <= options.canary:
        raise UsageError(
            f"--canary {options.canary}: client {OWNER} has {len(rows)} training texts, and one must be left; plant "
            "fewer, or ask for fewer clients"
        )
    code = generator(options.seed, "canary").integers(0, 10, CODE)
    text = ["call", *(DIGITS[digit] for digit in code)]
    words, names = ([*bytes(pool.shared[key]).decode().split("\n")] for key in ("vocabulary", "tags"))
    planted = np.zeros(pool.arrays["x"].shape[1:], np.int32)
    planted[0, : len(text)] = [words.index(word) for word in text]
    planted[1, : len(text)] = [names.index(tag) for tag in TAGS]
    pool.arrays["x"][rows[: options.canary]] = planted
    pool.notes |= {"canary": " ".join(text), "canary_repeats": options.canary}


def _array(lines: list[str]) -> np.ndarray:
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


class Tags(DataSet):
    """Your own tagged texts, for a tagger; a canary can be planted."""

    options_type = Options
    source = SOURCE
    examples = EXAMPLES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """x int32 [n, 2, tokens], words and tags, padded with 0; y int64 [n], the class; parts as the source has."""
        assert source is not None
        return encode(read(source), options, source, f"{source.name}, your own texts")

    def finish(self, pool: Pool, assignment: Assignment, options: Any) -> None:
        finish(pool, assignment, options)
