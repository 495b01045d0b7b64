"""SNIPS: 14,484 commands to a voice assistant in seven intents, as texts for a next-word language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from selffl_cli.errors import SelfflError
from selffl_cli.shards import sha256

from ..dataset import DataSet, Stage
from ..dealing.pool import PARTITION_HELP, TEST, TRAIN, VALIDATION, Assignment, Pool
from ..texts.lines import aligned, nfc
from ..texts.words import WordOptions, WordPool, finish, pieces

SOURCE = "a folder with train, valid and test, each with seq.in and label (a line a command)"
SOURCE_URL = "github"
ADDRESS = "https://raw.githubusercontent.com/MiuLab/SlotGated-SLU/master/data/snips"
CITATION = (
    "A. Coucke et al.: Snips Voice Platform: an embedded Spoken Language Understanding system for "
    "private-by-design voice interfaces, arXiv:1805.10190, 2018 (CC0)"
)
FOLDERS = {"train": TRAIN, "valid": VALIDATION, "test": TEST}
FILES = ("seq.in", "label")
EXAMPLES = (
    "selffl prepare snips --source FOLDER --clients 20",
    "selffl prepare snips --source FOLDER -c 20 -p dirichlet:alpha=3 --periods 5 --drift intent",
)


class Options(WordOptions):
    clients: int | None = Field(20, ge=1, le=10_000_000, description="Number of clients.")
    partition: str = Field("iid", description=PARTITION_HELP)


def read(source: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Commands, their intents, and their part [n], in the order of the files."""
    texts: list[str] = []
    intents: list[str] = []
    part: list[int] = []
    for folder, number in FOLDERS.items():
        rows = aligned(source / folder, FILES, SOURCE)
        if not rows:
            raise SelfflError(f"{source / folder}: holds no commands; bring whole files")
        texts += [command for _, (command, _) in rows]
        intents += [nfc(label) for _, (_, label) in rows]
        part += [number] * len(rows)
    return texts, intents, np.array(part)


def download(stage: Callable[[str], None]) -> Path:
    """The six files from their public repository, one folder in the cache; checksums hold from the first download."""
    from ..reading.download import default_cache, fetch

    place = default_cache() / "snips"
    for folder in FOLDERS:
        for file in FILES:
            stage(f"downloading {folder}/{file}")
            kept = fetch(f"{ADDRESS}/{folder}/{file}", cache=default_cache() / "snips-files" / folder)
            target = place / folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(kept.read_bytes())
    return place


NAMED_SOURCES = {"github": download}


class SNIPS(DataSet):
    """SNIPS, 14,484 voice commands in seven intents, for a language model."""

    options_type = Options
    source = SOURCE
    source_url = SOURCE_URL
    named_sources = NAMED_SOURCES
    examples = EXAMPLES

    def load(self, options: Options, source: Path | None, stage: Stage) -> WordPool:
        """x int32 [n, tokens], provisional word indices; y int64 [n], the intent; parts as the source has them."""
        assert source is not None
        texts, intents, part = read(source)
        classes = sorted(set(intents))
        index = {name: number for number, name in enumerate(classes)}
        x, of, ends, words = pieces(texts, options.tokens)
        y = np.array([index[name] for name in intents], np.int64)[of]
        return WordPool(
            arrays={"x": x, "y": y}, classes=classes, citation=CITATION, task="language-model",
            part=part[of], orders={"intent": y}, words=words, ends=ends,
            sources=[{"name": f"{source.name}/{folder}/{file}", "sha256": sha256(source / folder / file)}
                     for folder in FOLDERS for file in FILES],
        )  # fmt: skip

    def finish(self, pool: Pool, assignment: Assignment, options: Any) -> None:
        finish(pool, assignment, options)
