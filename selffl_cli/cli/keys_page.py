"""docs/experiment-keys.md, from the types: `python -m selffl_cli.cli.keys_page docs/experiment-keys.md` writes it."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..config.claims import Claim
from ..config.experiment import Experiment, ReportConfig, Tuning, WarmStart
from ..config.train import TrainConfig

TABLES: dict[str, tuple[type[BaseModel], str]] = {
    "": (Experiment, "Keys at the top of the file, before the first table."),
    "train": (TrainConfig, "How long and how hard every method trains. `[methods.LABEL.train]` has the same keys."),
    "warm_start": (WarmStart, "A method that is trained before every other, whose model all of them start from."),
    "tuning": (Tuning, "What `selffl tune` tries, on validation data."),
    "report": (ReportConfig, "What the report reads. These keys change no run."),
    "[claims]": (Claim, "A statement to be judged; `[[claims]]` may stand as often as there are claims."),
}
WORDS = {
    "name": "names the folder of the runs", "title": "the heading of the report",
    "description": "what is said below the heading", "seeds": "a run for each of them",
    "data": "the data set and its options: `name = …` and what `selffl prepare NAME --help` lists",
    "model": "the model and its options: `name = …` and what stands in `selffl_cli/models/`",
    "train": "see the table `[train]`", "warm_start": "see the table `[warm_start]`",
    "methods": "a table for each method, whose label may be free: `method = …`, options (`selffl methods`), `train`",
    "tuning": "see the table `[tuning]`", "sweep": "values of dotted keys; every combination is a setting of its own",
    "report": "see the table `[report]`", "claims": "see the tables `[[claims]]`",
    "warm_start.method": "the method", "warm_start.rounds": "its rounds",
    "warm_start.train": "its own keys of `[train]`",
    "tuning.seed": "the seed of the trials, which is none of the reported ones", "tuning.rounds": "rounds of a trial",
    "tuning.score": "whose validation figure decides",
    "tuning.grids": "for each method, lists of values of its keys; every method has the same number of combinations",
    "train.dtype": "the type of parameters and sums",
    "[claims].id": "a short name", "[claims].text": "the sentence", "[claims].source": "where the paper says it",
    "[claims].paper": "the paper's own figure", "[claims].left": "LABEL:part.model.metric, or a number",
    "[claims].right": "the same; or a list of labels' figures, with each of which the left one is compared",
    "[claims].relation": "what is claimed of left and right",
    "[claims].margin": "how far apart the two may be, or must be",
    "[claims].at": "compared at equal rounds, or at equal gradient evaluations",
    "[claims].where": "the setting of a sweep that is meant",
    "[claims].required": "`selffl report --check` fails without it",
}  # fmt: skip


def page() -> str:
    lines = [
        "# Experiment file: every key",
        "",
        "An experiment is a TOML file. This page lists its keys, as the program reads them.",
        "[Experiments of your own](experiments.md) explains how to write one and how to inherit from another.",
        "`--set KEY=VALUE` sets any of them from the shell, with dots between the tables: `--set train.rounds=20`.",
    ]
    for table, (kind, about) in TABLES.items():
        lines += ["", f"## `[{table}]`" if table else "## At the top", "", about, ""]
        lines += ["| key | may be | default | meaning |", "| --- | --- | --- | --- |"]
        for name, field in kind.model_fields.items():
            key = f"{table}.{name}" if table else name
            lines.append(f"| `{name}` | {_kind(field)} | {_default(field)} | {_about(key, field)} |")
    return "\n".join(lines) + "\n"


def _about(key: str, field: FieldInfo) -> str:
    return (field.description or WORDS[key]).replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.default
    if isinstance(value, BaseModel):
        return "see there"
    if value is None or value == "" or value == {} or value == []:
        return "–"
    text = str(value).lower() if isinstance(value, bool) else str(value).replace("'", '"')
    return f"`{text}`"


def _kind(field: FieldInfo) -> str:
    limits = " ".join(_limits(field))
    return f"{' or '.join(dict.fromkeys(_kinds(field.annotation)))}{f' {limits}' if limits else ''}"


def _kinds(kind: Any) -> Iterator[str]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        yield from (f"`{word}`" for word in inner)
    elif origin in (Union, types.UnionType, typing.Annotated):
        for part in inner[:1] if origin is typing.Annotated else inner:
            yield from _kinds(part)
    elif origin is list:
        yield f"list of {' or '.join(dict.fromkeys(_kinds(inner[0])))}"
    elif origin is dict or kind is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        yield "table"
    elif kind is not type(None):
        yield {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}.get(kind, "any value")


def _limits(field: FieldInfo) -> Iterator[str]:
    for limit in field.metadata:
        for name, word in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below")):
            if hasattr(limit, name):
                yield f"{word} {getattr(limit, name):,}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
