"""The shape of what run folders hold: a checksum says that a file is as it was written, not by whom.

Each check returns its content as it was given, or raises a ValueError that names the first key that does not fit.
Keys that are not named here pass: records of an older and of a younger selffl differ in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..config.validation import ExperimentName, FileName

if TYPE_CHECKING:
    import pyarrow

Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)] | None  # None stands for what was not finite
Figures = dict[str, dict[str, dict[str, Number]]]  # part (or "new"), model, figure


class Open(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class Data(Open):
    name: FileName
    hash: str
    arguments: dict[str, Any] = {}


class Named(Open):
    name: str


class Record(Open):
    """run.toml"""

    experiment: ExperimentName
    label: str
    seed: int
    setting: dict[str, Any] = {}
    data: Data
    model: Named
    train: dict[str, Any]
    method: Named
    init: str = ""


class Traits(Open):
    """What the method of a run says of itself to its readers."""

    trains_when_scored: bool = False
    remarks: dict[str, str] = {}


class MetricFacts(Open):
    """What a metric beside the task's own says of itself to its readers."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,39}$")]
    words: Annotated[str, Field(max_length=100)] = ""
    higher_is_better: bool = True
    percent: bool = False
    form: Annotated[str, Field(pattern=r"^[.][0-9][%efg]$")] = ".3g"
    least: Number = None
    most: Number = None
    sum_column: Annotated[str, Field(max_length=100)] = ""
    count_column: Annotated[str, Field(max_length=100)] = ""


class Result(Open):
    """result.json"""

    status: Literal["finished", "diverged"]
    round: Count
    final: Figures = {}
    seconds: Number = None
    files: dict[FileName, str] = {}
    traits: Traits = Traits()
    metrics: list[MetricFacts] = []
    message: str = ""


class Environment(Open):
    """environment.json"""

    started: str = ""
    command: list[str] = []


Finite = Annotated[float, Field(allow_inf_nan=False)]
Pair = Annotated[list[Number], Field(min_length=2, max_length=2)]


class Curve(Open):
    """Held-out figures at each point of the grid."""

    loss: list[Finite]
    score: list[Finite]


class Belief(Open):
    """r_m of one client by family and point of the grid."""

    client: Count
    samples: Count
    mass: list[list[Finite]]


class Shares(Open):
    """pi by family, and by k."""

    family: dict[str, Finite]
    k: list[Pair]


class Evidence(Open):
    """evidence.json"""

    form: str
    gains: dict[str, Pair]
    families: Annotated[list[str], Field(min_length=1)]
    kept: Annotated[list[str], Field(min_length=1)]
    dropped: dict[str, Pair]
    grid: Annotated[list[Count], Field(min_length=1)]
    family: str
    k: Annotated[Finite, Field(gt=0)]
    L: Annotated[Finite, Field(ge=0)]
    k_between: Pair
    pooled_place: Count
    pi: Shares
    r: list[Belief]
    curves: dict[str, Curve]
    not_finite: Count
    with_evidence: Count
    clients: Count
    samples: list[Count]
    amount_family: list[Count]
    amount_steps: list[Count]

    @model_validator(mode="after")
    def _fits(self) -> Evidence:
        """Lengths and names that belong together."""
        points = len(self.grid)
        whole = all(len(curve.loss) == len(curve.score) == points for curve in self.curves.values())
        whole &= all(len(row) == points for one in self.r for row in one.mass)
        whole &= len(self.samples) == len(self.amount_family) == len(self.amount_steps) == self.clients
        whole &= set(self.curves) == set(self.kept) <= set(self.families) and self.family in self.kept
        whole &= self.pooled_place < points and max(self.amount_family, default=0) < len(self.families)
        if not whole:
            raise ValueError("its parts do not fit each other")
        return self


class Line(Open):
    """A line of metrics.jsonl"""

    round: Count
    clients: Count = 0
    steps: Number = 0.0
    gradients: Number = 0.0
    bytes_up: Number = 0.0
    bytes_down: Number = 0.0
    time: dict[str, Number] = {}
    eval: Figures = {}
    method: dict[str, Number] = {}
    per_client: dict[str, list[Number]] = {}


def check(kind: type[Open], content: Any) -> dict[str, Any]:
    """`content`, when it has the keys and types of `kind`."""
    if not isinstance(content, Mapping):
        raise ValueError("it is no table of keys and values")
    try:
        kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"] if not str(part).startswith("constrained"))
        raise ValueError(f"{key}: {first['msg'].lower()}") from None
    return dict(content)


def check_clients(table: pyarrow.Table) -> pyarrow.Table:
    """clients.parquet: a row a client, numbers in every column but the names."""

    table.validate(full=True)
    for field in table.schema:
        wanted = _words if field.name in ("name", "group") else _number
        if not wanted(field.type):
            raise ValueError(f"column '{field.name}' is of type {field.type}")
    for name in ("client", "name", "group", "n_test"):
        if table.column_names.count(name) != 1 or table[name].null_count:
            raise ValueError(f"it has no whole column '{name}'")
    return table


def _words(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _number(kind: pyarrow.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind)
