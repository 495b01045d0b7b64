"""A run as Python code reads it: its record, its figures as data frames, its models as modules."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SelfflError, UsageError
from ..metrics.judged_by import MAIN
from ..metrics.metric import Metric, Recorded
from ..runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from .run import FinishedRun


class Run:
    """A run folder, read when it is asked. Nothing here changes it."""

    def __init__(self, path: Path | str, data: Path | str | None = None) -> None:
        """data: where the run's shards are now, when they are no longer where they were."""
        self.folder = RunFolder.open(Path(path))
        self.data = None if data is None else Path(data)

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def record(self) -> dict[str, Any]:
        """run.toml: everything that changes the numbers."""
        return self.folder.record

    @property
    def label(self) -> str:
        """The method's label in its experiment."""
        return str(self.record["label"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.record["seed"])

    @property
    def result(self) -> dict[str, Any]:
        """result.json; SelfflError while the run is not finished."""
        result = self.folder.result
        if result is None:
            raise SelfflError(f"{self.path}: this run is not finished; train it again to resume it")
        return result

    @property
    def final(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """The figures of the final models: {part: {"global" or "personal": {figure: value}}}."""
        return self.result["final"]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row a round, with what was recorded of it: `gradients`, `time.seconds`, `test.personal.accuracy`, …

        Figures of an evaluation are missing in rounds without one.
        """
        import pandas as pd

        lines = [{key: value for key, value in line.items() if key != "per_client"} for line in self.folder.metrics()]
        frame = pd.json_normalize(lines)
        return frame.rename(columns={name: name.removeprefix("eval.") for name in frame})

    @cached_property
    def clients(self) -> pd.DataFrame:
        """A row a client: the columns of clients.parquet, and the figures that follow from them, such as
        `test.personal.accuracy`. Figures of clients that were not judged, or have no sample, are missing."""
        import pandas as pd

        _ = self.result
        frame = self.folder.clients.to_pandas()
        figures = {}
        for metric in self._metrics():
            for column in frame:
                part, _, rest = str(column).partition("_")
                kind, _, name = rest.partition("_")
                count = f"{part}_{metric.count_column}" if metric.count_column else f"n_{part}"
                if name == metric.sum_column and count in frame:
                    figures[f"{part}.{kind}.{metric}"] = metric.of(frame[column], frame[count].where(frame[count] > 0))
        return pd.concat([frame, pd.DataFrame(figures)], axis=1)

    def _metrics(self) -> list[Metric]:
        return [*MAIN, *(Recorded(facts) for facts in self.result.get("metrics", []))]

    @cached_property
    def scored(self) -> FinishedRun:
        """The run with its data and models at hand; SelfflError when the data are gone."""
        from .run import FinishedRun

        return FinishedRun.open(self.path, self.data)

    def model(self, client: int | None = None) -> nn.Module:
        """The global model, or the personal model of a client (a row of `clients`), as a module of its own.

        SelfflError when such a model was not kept, or the code of the model is another.
        """
        from .. import models

        scored = self.scored
        if client is None:
            vector = scored.global_()
            if vector is None:
                raise SelfflError(f"{self.path}: has no global model; give a client")
        else:
            rows = scored.personal()
            if rows is None:
                raise SelfflError(f'{self.path}: personal models were not kept; train with keep="personal"')
            if not 0 <= client < len(rows):
                raise UsageError(f"client {client}: {self.path.name} has the clients 0 to {len(rows) - 1}")
            vector = rows[client]
        config = scored.config
        module = models.build(models.resolve(config.model)[0], scored.shards, config.seed).to(scored.model.dtype)
        module.load_state_dict(scored.model.named(vector), strict=False)  # constants are built, not saved
        return module.eval()

    def __repr__(self) -> str:
        return f"Run('{self.path}')"
