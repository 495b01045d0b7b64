"""SNIPS with its slot tags, for a tagger; a canary can be planted in one client's training texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..dataset import DataSet, Stage
from ..dealing.pool import Assignment, Pool
from . import snips, tags
from .tags import Options, finish

SOURCE = "a folder with train, valid and test, each with seq.in, seq.out and label (a line a command)"
EXAMPLES = (
    "selffl prepare snips-tags --source FOLDER",
    "selffl prepare snips-tags --source FOLDER -c 10 --canary 50",
)


class SNIPSTags(DataSet):
    """SNIPS with slot tags, for a tagger; a canary can be planted."""

    options_type = Options
    source = SOURCE
    examples = EXAMPLES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """x int32 [n, 2, tokens], words and tags, padded with 0; y int64 [n], the intent; parts as the source has."""
        assert source is not None
        return tags.encode(tags.read(source), options, source, snips.CITATION)

    def finish(self, pool: Pool, assignment: Assignment, options: Any) -> None:
        finish(pool, assignment, options)
