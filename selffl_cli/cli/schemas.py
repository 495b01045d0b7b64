"""What each command prints with --json, as JSON schemas: `python -m selffl_cli.cli.schemas docs/schemas` writes them.

Nothing else imports this module: a command prints plain dictionaries and does not pay for the schemas.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Number = float | None  # None stands for what was not finite, or is withheld


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RunRow(Row):
    """A run: what `selffl ls` knows of it."""

    path: str
    experiment: str
    label: str = Field(description="The method's label; of a damaged run the name of its folder.")
    seed: int | None
    setting: dict[str, Any] = Field(description="The point of the sweep, {key: value}.")
    state: Literal["running", "stopped", "diverged", "finished", "damaged"]
    round: int | None
    rounds: int | None = Field(description="Rounds that were asked for, over all periods.")
    figures: dict[str, dict[str, Number]] = Field(description="Test figures of the last evaluation, by model.")
    seconds: Number = Field(description="Seconds of training so far.")
    seconds_left: Number = Field(description="Of a running run, at its mean speed so far.")
    process: str = Field("", description="Of a running run: the process that holds its lock.")
    why: str = Field("", description="Of a damaged run.")


class Scored(BaseModel):
    """Figures of a run on a part of the data; figures that its task has stand beside these keys."""

    model_config = ConfigDict(extra="allow")
    method: str
    seed: int
    part: Literal["train", "validation", "test"]
    model: Literal["global", "personal", "delivered"]


class Option(Row):
    name: str
    default: str | int | float | bool | list[Any] | None
    about: str
    words: list[str] = Field(description="Words that the option may be; [] for numbers alone.")


class Method(Row):
    name: str
    aliases: list[str]
    idea: str
    paper: str
    per_client: str = Field(description="What each client keeps.")
    options: list[Option]


class Experiment(Row):
    name: str
    data: str
    methods: list[str]
    title: str


class Doctor(Row):
    facts: dict[str, str]
    notes: list[str]
    problems: list[str] = Field(description="The exit code is 1 when there are any.")


class Trial(BaseModel):
    model_config = ConfigDict(extra="allow")
    label: str
    options: dict[str, Any]
    run: str
    score: Number


class Tuning(BaseModel):
    """What stands in RUNS/EXPERIMENT/tuning.json."""

    model_config = ConfigDict(extra="allow")
    seed: int
    rounds: int
    score: Literal["personal", "global"]
    chosen: dict[str, dict[str, Any]]
    trials: list[Trial]


class Claim(Row):
    id: str
    text: str
    verdict: Literal["reproduced", "contradicted", "undecided"]
    required: bool
    left: Number
    right: Number
    rival: str = Field(description="Of a claim against several methods, the one that decided it.")
    difference: Number
    low: Number
    high: Number
    seeds: list[int]
    note: str


class Figure(Row):
    """A row of tables.csv: shares are not in per cent."""

    setting: str
    method: str
    figure: str
    equal: Literal["rounds", "gradients"]
    seeds: int
    mean: Number
    half_width_95: Number
    low_95: Number
    high_95: Number
    mark: str


class Report(Row):
    experiment: str
    folder: str
    summary: list[str]
    claims: list[Claim]
    figures: list[Figure]
    notes: list[str]


class Audited(Row):
    run: str
    model: str
    figures: dict[str, Number]


class Cost(Row):
    """A run that is planned, and what it will cost; a finished one costs nothing."""

    run: str
    finished: bool
    clients: int | None = None
    clients_a_round: int | None = None
    parameters: int | None = None
    local_steps: int | None = None
    bytes_sent: int | None = None
    memory_bytes: int | None = None
    seconds: Number = None


SCHEMAS: dict[str, Any] = {
    "ls": list[RunRow],
    "train": list[RunRow],
    "dry-run": list[Cost],
    "tune": Tuning,
    "eval": list[Scored],
    "audit": list[Audited],
    "report": Report,
    "methods": list[Method],
    "experiments": list[Experiment],
    "doctor": Doctor,
}


def schema(name: str) -> dict[str, Any]:
    """The JSON schema of what a command prints with --json."""
    made = TypeAdapter(SCHEMAS[name]).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"selffl {name} --json", **made}


def write(folder: Path) -> None:
    """One file a command."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS:
        (folder / f"{name}.json").write_text(json.dumps(schema(name), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
