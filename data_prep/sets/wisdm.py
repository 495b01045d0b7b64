"""WISDM: six activities of 36 people, told from the accelerometer of the phone in their pocket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from selffl_cli.errors import SelfflError

from ..dataset import DataSet, Stage
from ..dealing.pool import PARTITION_HELP, Assignment, Pool, PrepareOptions
from ..tables.streams import batches
from . import table

SOURCE = "WISDM_ar_v1.1_transformed.arff, .xz or .gz too"
CITATION = "J. Kwapisz, G. Weiss, S. Moore: Activity Recognition using Cell Phone Accelerometers, SensorKDD 2010"
EXAMPLES = ("selffl prepare wisdm WISDM_ar_v1.1_transformed.arff",)
CLIENT, TARGET, NUMBER = "user", "class", "UNIQUE_ID"


class Options(PrepareOptions):
    partition: str = Field("natural", description=f"Natural clients are people. {PARTITION_HELP}")


def _table(options: PrepareOptions, names: list[str]) -> table.Options:
    features = [name for name in names if name not in (CLIENT, TARGET, NUMBER)]
    return table.Options(client=CLIENT, target=TARGET, features=",".join(features), **options.model_dump())


class WISDM(DataSet):
    """WISDM, six activities of 36 people by the accelerometer of a phone."""

    options_type = Options
    source = SOURCE
    examples = EXAMPLES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """43 features of windows of 10 s as `finish` scales them; y int64 [n], one of six activities."""
        assert source is not None
        names = next(batches(source)).schema.names
        if not {CLIENT, TARGET, NUMBER} <= set(names) or len(names) != 46:
            raise SelfflError(f"{source}: has not the 46 columns of WISDM's transformed data; give {SOURCE}")
        pool = table.Table().load(_table(options, names), source, stage)
        pool.citation = CITATION
        return pool

    def finish(self, pool: Pool, assignment: Assignment, options: Any) -> None:
        table.Table().finish(pool, assignment, options)
