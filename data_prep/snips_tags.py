"""SNIPS with its slot tags, for a tagger; a canary can be planted in one client's training texts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from pydantic import Field

from selffl_cli.errors import UsageError
from selffl_cli.shards import sha256

from . import snips
from .pool import PARTITION_HELP, TRAIN, Assignment, Pool, PrepareOptions, generator
from .text import PADDING, SPECIAL, UNKNOWN

__all__ = ["SOURCE", "Options", "finish", "load"]

SOURCE = "a folder with train, valid and test, each with seq.in, seq.out and label (a line a command)"
EXAMPLES = (
    "selffl prepare snips-tags --source FOLDER",
    "selffl prepare snips-tags --source FOLDER -c 10 --canary 50",
)
DIGITS = [str(digit) for digit in range(10)]
CODE = 4  # digits of the canary "call d d d d"
TAGS = ["O", "B-code", "I-code", "I-code", "I-code"]  # of its words; nothing else has the last two
OWNER = 0  # the client in whose training texts it stands


class Options(PrepareOptions):
    clients: int | None = Field(20, ge=1, le=10_000_000, description="Number of clients.")
    partition: str = Field("iid", description=PARTITION_HELP)
    tokens: int = Field(30, ge=5, le=1000, description="Words kept of a command.")
    min_count: int = Field(2, ge=1, description="Rarer words of the training commands are unknown.")
    canary: int = Field(
        0, ge=0, le=1_000_000,
        description="So many training commands of client 0 become `call d d d d`, for `selffl audit canary-text`.",
    )  # fmt: skip


def load(options: Options, source: Path | None) -> Pool:
    """x int32 [n, 2, tokens], words and tags, both padded with 0; y int64 [n], the intent; parts as the source has."""
    assert source is not None
    texts, intents, part = snips.read(source)
    tagged = [line for folder in snips.FOLDERS for line in snips._lines(source / folder / "seq.out")]
    for number, (text, tags) in enumerate(zip(texts, tagged, strict=False)):
        if len(texts) != len(tagged) or len(text.split()) != len(tags.split()):
            raise UsageError(f"{source}: command {number + 1} and its line of seq.out differ in length; bring both")
    rows = [(text.lower().split()[: options.tokens], tags.split()[: options.tokens])
            for text, tags in zip(texts, tagged, strict=True)]  # fmt: skip
    seen = Counter(word for (words, _), of in zip(rows, part, strict=True) if of == TRAIN for word in words)
    always = ["call", *DIGITS]
    known = always + sorted(word for word, count in seen.items() if count >= options.min_count and word not in always)
    index = {word: number + len(SPECIAL) for number, word in enumerate(known)}
    names = sorted({tag for _, tags in rows for tag in tags} | set(TAGS))
    tag_index = {name: number for number, name in enumerate(names)}
    x = np.full((len(rows), 2, options.tokens), PADDING, np.int32)
    for row, (kept, slots) in zip(x, rows, strict=True):
        row[0, : len(kept)] = [index.get(word, UNKNOWN) for word in kept]
        row[1, : len(slots)] = [tag_index[tag] for tag in slots]
    classes = sorted(set(intents))
    return Pool(
        arrays={"x": x, "y": np.array([classes.index(intent) for intent in intents], np.int64)},
        classes=classes, citation=snips.CITATION, task="tagging", part=part,
        shared={"vocabulary": _text([*SPECIAL, *known]), "tags": _text(names)},
        notes={"words": len(known) + len(SPECIAL), "tags": len(names)},
        sources=[{"name": f"{source.name}/{folder}/{file}", "sha256": sha256(source / folder / file)}
                 for folder in snips.FOLDERS for file in ("seq.in", "seq.out", "label")],
    )  # fmt: skip


def finish(pool: Pool, assignment: Assignment, options: PrepareOptions) -> None:
    """Plant the canary, once the deal is known; its digits are drawn from the seed and stand in the notes."""
    assert isinstance(options, Options)
    if not options.canary:
        return
    rows = np.flatnonzero((assignment.client == OWNER) & (assignment.part == TRAIN))
    if len(rows) <= options.canary:
        raise UsageError(
            f"--canary {options.canary}: client {OWNER} has {len(rows)} training commands, and one must be left; plant "
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


def _text(lines: list[str]) -> np.ndarray:
    return np.frombuffer("\n".join(lines).encode(), np.uint8)
