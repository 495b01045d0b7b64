"""The contract of a metric: what people and files call it, which way is better, and how it is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

FACTS = (
    "name", "words", "higher_is_better", "percent", "form", "least", "most", "sum_column", "count_column",
)  # fmt: skip


class Metric:
    """A figure of how good models are: over samples a sum of scores, divided by how often each was judged.

    A metric of one's own says `name` and writes `scores`; the rest has defaults.
    """

    name: str = ""  # in records, claims and tables: letters, digits and _
    words: str = ""  # for people, as the head of a column; the name without one
    higher_is_better: bool = True
    percent: bool = False  # a share, which tables show in per cent
    form: str = ""  # how one figure is shown where it stands alone; ".1%" of a share, else ".3g"
    least: float | None = None  # no figure is below this; a run that says so is left out of reports
    most: float | None = None
    sum_column: str = ""  # of clients.parquet, after PART_MODEL_: the sum of a client's scores; the name without one
    count_column: str = ""  # after PART_: what that sum is divided by; "" for the number of samples

    def __init_subclass__(cls) -> None:
        counted = f"{cls.name}_of" if cls.units is not Metric.units else ""
        defaults = {
            "words": cls.name.replace("_", " "),
            "form": ".1%" if cls.percent else ".3g",
            "sum_column": cls.name,
            "count_column": counted,
        }
        for key, value in defaults.items():
            if key not in vars(cls):
                setattr(cls, key, value)

    def scores(self, outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The score of each sample, summed over its units: outputs [B, …] of the model, x [B, …], y [B] → [B]."""
        raise NotImplementedError

    def units(self, x: Tensor, y: Tensor) -> Tensor:
        """How often each sample is judged [B]: once, unless this says otherwise (0 leaves a sample out)."""
        return y.new_ones(len(y)).long()

    def figure(self, mean: np.ndarray) -> np.ndarray:
        """The figure from the mean score over units, of any shape."""
        return mean

    @property
    def head(self) -> str:
        """The words as the head of a column or an axis."""
        return f"{self.words} (%)" if self.percent else self.words

    @property
    def scale(self) -> int:
        """What a figure is multiplied by to be shown under `head`."""
        return 100 if self.percent else 1

    @property
    def unit(self) -> str:
        """The unit of a difference of two figures."""
        return "points" if self.percent else self.words

    def show(self, value: float) -> str:
        """A figure that stands alone."""
        return format(value, self.form)

    def may_be(self, value: float) -> bool:
        """Whether a run can have this figure, to rounding."""
        high = self.most is None or value <= self.most + 1e-9
        return high and (self.least is None or value >= self.least - 1e-9)

    def of(self, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The figure of each client from its sum of scores and its units."""
        return self.figure(sums / counts)

    def facts(self) -> dict[str, Any]:
        """What a run's record keeps, so that a report needs no code from outside."""
        return {name: getattr(self, name) for name in FACTS}

    def __str__(self) -> str:
        return self.name


class Recorded(Metric):
    """A metric as a run's record describes it."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        for name in FACTS:
            setattr(self, name, facts.get(name, getattr(Metric, name)))
