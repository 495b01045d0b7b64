"""What the run folders of an experiment say, as data frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd

from ..config.experiment import Experiment
from ..methods import METHODS
from ..metrics.judged_by import ENDS, SPREAD, main_metric
from ..metrics.metric import Metric, Recorded
from ..runs.folder import RunFolder

OF_THE_MAIN = (*SPREAD, *ENDS)  # figures in the unit of the main metric
Extra = TypeVar("Extra")
SIZE = "train.memory_size"  # of memories of periods


@dataclass(frozen=True)
class Run:
    """One finished run: its place in the tables, and its folder."""

    label: str
    setting: str
    seed: int
    folder: RunFolder
    result: dict[str, Any]

    @property
    def diverged(self) -> bool:
        return self.result.get("status") == "diverged"

    def judged_clients(self) -> pd.DataFrame:
        """The final figures of the clients behind the run's figures (rows of clients.parquet): those that were scored,
        without the ones held out of training."""
        return self.folder.clients.to_pandas().iloc[self.folder.roles.sample]

    @cached_property
    def traits(self) -> dict[str, Any]:
        """What its method says of itself to a reader; runs of an older selffl have it from the package's own class."""
        if "traits" in self.result:
            return self.result["traits"]
        name = self.folder.record["method"]["name"]
        return METHODS[name].traits() if name in METHODS.own else {}

    def remark(self, section: str) -> str | None:
        """What its method has to say in a section of the report."""
        return self.traits.get("remarks", {}).get(section)


@dataclass(frozen=True)
class Results:
    """The chosen runs of one experiment.

    points: one row a recorded figure: label, setting, seed, round, gradients, bytes, seconds (cumulative),
    what, value. `what` is "part.model.metric" ("test.personal.accuracy") or "method.scalar" ("method.s0");
    accuracies are shares. spread: one row a round of a run: label, setting, seed, round and quantiles over
    its participants.
    """

    experiment: Experiment
    runs: list[Run]
    labels: list[str]
    settings: dict[str, dict[str, Any]]  # name → {sweep key: value}; one name "" without a sweep
    points: pd.DataFrame
    spread: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    included: frozenset[str] = frozenset()  # labels of runs that the TOML does not state
    found: list[Any] = field(default_factory=list)  # what figures computed beside points, one object a kind

    @cached_property
    def metric(self) -> Metric:
        """The main metric: accuracy, squared_error where the truth is a vector, perplexity of words."""
        return main_metric(set(self.points["what"].str.rpartition(".")[2]))

    @cached_property
    def further(self) -> tuple[Metric, ...]:
        """What runs recorded beside the main metric, each name once, as the runs' results describe it."""
        found = {facts["name"]: Recorded(facts) for run in self.runs for facts in run.result.get("metrics", [])}
        return tuple(found.values())

    def extra(self, kind: type[Extra]) -> Extra | None:
        """What a figure computed of all runs together, such as figures.detection.Detection."""
        return next((item for item in self.found if isinstance(item, kind)), None)

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if not run.diverged]

    @property
    def rivals(self) -> list[str]:
        """Labels that may be called best: those that the TOML states, where it states any that was run."""
        return [label for label in self.labels if label not in self.included] or self.labels

    def percent(self, what: str) -> bool:
        """Whether a figure is a share."""
        name = what.rpartition(".")[2]
        if name in OF_THE_MAIN:
            return self.metric.percent
        return any(metric.percent for metric in (self.metric, *self.further) if metric.name == name)

    def show(self, value: float, what: str, sign: str = "") -> str:
        """A figure as it stands in tables: per cent with one decimal, else three significant digits."""
        if math.isnan(value):
            return "–"
        text = f"{100 * value:{sign}.1f}" if self.percent(what) else f"{value:{sign}.3g}"
        return text.replace("-", sign) if not text.strip("+-0.") else text  # no "-0.0"

    def show_half(self, half: float, mean: float, what: str) -> str:
        """A half-width with as many decimals as its mean; one digit when that would leave none."""
        if self.percent(what):
            return f"{100 * half:.1f}"
        decimals = 2 - math.floor(math.log10(abs(mean))) if mean else 2
        rounded = f"{half:.{max(decimals, 0)}f}"
        return rounded if rounded.strip("0.") or half == 0 else f"{half:.1g}"


def short_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
