"""`selffl prepare NAME`: a command a data set, built from the data set's own options.

`app` is a typer.Typer, to be added as a group: `app.add_typer(prepare.app, name="prepare")`, or by
`typer.main.get_command(prepare.app)`. Listing the data sets imports none of them.
"""

from __future__ import annotations

import inspect
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.core import TyperGroup

from data_prep import ABOUT, DATASETS

from ..errors import UsageError, nearest
from ..registry import reference

if TYPE_CHECKING:
    from rich.console import Console

    from ..shards import Shards

CONTEXT = {"help_option_names": ["-h", "--help"]}
SHORT = {"clients": "-c", "partition": "-p", "seed": "-s"}
SPINNER_SECONDS = 2.0  # seconds before a spinner shows


class DataSets(TyperGroup):
    """Lists placeholders; imports the one data set that is named."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in DATASETS:
            return args[0], _command(args[0]), args[1:]
        if args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        raise UsageError(f"unknown data set '{args[0]}'{nearest(args[0], DATASETS.names())}")


app = typer.Typer(cls=DataSets, add_completion=False, context_settings=CONTEXT, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Split a data set into one shard a client.

    Every data set has options of its own: selffl prepare digits --help.
    """


def _placeholder() -> None:
    """Never called: `DataSets` puts the command in its place."""


for _name, _help in ABOUT.items():
    app.command(_name, help=_help)(_placeholder)


def _command(name: str) -> Any:
    """The command of one data set: pydantic fields become options, and only those given are passed on."""
    from data_prep.reading.sources import dataset

    data = dataset(name)
    fields = {
        key: info
        for key, info in data.options_type.model_fields.items()
        if not (isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("hidden"))
    }
    parameters = []
    if data.source:
        place = typer.Argument(metavar="[SOURCE]", help=f"File, folder or URL: {data.source}", show_default=False)
        option = typer.Option("--source", help="The same as the argument SOURCE.", show_default=False)
        parameters += [_parameter("place", str | None, place), _parameter("source", str | None, option)]
    for key, info in fields.items():
        default = str(info.default).lower() if isinstance(info.default, bool) else info.default
        shown = f" [dim]\\[default: {default}][/dim]" if default is not None else ""
        text = f"{info.description}{shown}"
        option = typer.Option(*_flags(key, info.annotation), help=text, show_default=False)
        parameters.append(_parameter(key, _typed(info.annotation) | None, option))
    out = typer.Option("--data", "-d", file_okay=False, help="The folder to keep shards in.")
    force = typer.Option("--force", "-f", help="Make it again, in the place of the one that is there.")
    parameters += [_parameter("out", Path, out, Path("data")), _parameter("force", bool, force, False)]

    def run(**values: Any) -> None:
        out, force, source = values.pop("out"), values.pop("force"), values.pop("source", None)
        if (place := values.pop("place", None)) is not None:
            if source is not None:
                raise UsageError(f"two sources, {place} and --source {source}; give one")
            source = place
        given = {key: value for key, value in values.items() if value is not None}
        _prepare(name, given, out, source, force)

    run.__doc__ = data.about()
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    holder = typer.Typer(add_completion=False, context_settings=CONTEXT)
    holder.command(name, epilog=_examples(name, fields, data.examples))(run)
    return typer.main.get_command(holder)


def _examples(name: str, fields: dict[str, Any], own: Sequence[str]) -> str:
    """A data set's own examples, or the ones that its options allow."""
    examples = list(own) or [f"selffl prepare {name}", f"selffl prepare {name} --clients 50 --seed 1"]
    if "partition" in fields and not own:
        examples.append(f"selffl prepare {name} -c 50 -p dirichlet:alpha=0.1,spread=0.6")
    return "\n".join(["[bold]Examples[/bold]", *(f"  [cyan]{example}[/cyan]" for example in examples)])


def _parameter(name: str, kind: Any, option: Any, default: Any = None) -> inspect.Parameter:
    annotation = Annotated[kind, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _flags(key: str, annotation: Any) -> list[str]:
    flag = "--" + key.replace("_", "-")
    if _typed(annotation) is bool:
        return [f"{flag}/--no-{flag[2:]}"]
    return [flag, SHORT[key]] if key in SHORT else [flag]


def _typed(annotation: Any) -> Any:
    """The type typer reads for a field: without None; what it does not know is text, read by pydantic."""
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        annotation = kinds[0] if len(kinds) == 1 else str
    known = annotation in (int, float, bool, str, Path) or get_origin(annotation) is Literal
    return annotation if known else str


def _prepare(name: str, given: dict[str, Any], out: Path, source: str | None, force: bool) -> None:
    from data_prep.prepare import request

    from ..shards import Shards
    from .terminal import Terminal

    console = Terminal()
    with _spinner(console) as stage:
        asked = request(name, given, out, source, stage)
        there, picture = asked.made and not force, asked.folder / "summary.png"
        if not there or not picture.exists():
            with asked.alone(lambda text: Terminal(stderr=True).print(text, soft_wrap=True)):
                there = asked.made and not force
                if not there:
                    stage("looking at what the source holds")
                    for line in asked.describe():
                        console.print(line, soft_wrap=True)
                    asked.make(force, stage)
                if not picture.exists():
                    from data_prep.pictures import divergence, summary

                    stage("drawing the summary")
                    drawn = Shards.open(asked.folder)
                    divergence.draw(drawn)
                    summary.draw(drawn)
        stage("checking what is there")
        shards = Shards.open(asked.folder)
    if there:
        console.print(f"{name} is prepared already: nothing to do (--force makes it again)")
    else:
        _table(console, shards)
    lines = [f"folder:  {shards.path}", f"picture: {picture}"]
    if (shards.path / "divergence.png").exists():
        lines.append(f"         {shards.path / 'divergence.png'}")
    if command := _next_command(shards):
        lines.append(f"next:    {command}")
    console.print("\n".join(lines), soft_wrap=True)


@contextmanager
def _spinner(console: Console) -> Iterator[Callable[[str], None]]:
    """In a terminal, what is being done, once it takes longer than `SPINNER_SECONDS`."""
    from rich.text import Text

    status = console.status("starting …")
    timer = threading.Timer(SPINNER_SECONDS, status.start)
    timer.daemon = True
    if console.is_terminal:
        timer.start()
    try:
        yield lambda stage: status.update(Text(f"{stage} …"))
    finally:
        timer.cancel()
        status.stop()


def _table(console: Console, shards: Shards) -> None:
    import numpy as np
    from rich.table import Table

    from data_prep.pictures.divergence import chosen_clients, divergences, label_counts
    from data_prep.pictures.summary import label_table

    manifest = shards.manifest
    samples = manifest.samples
    sizes = sum(shards.clients[f"n_{part}"].to_numpy() for part in ("train", "validation", "test"))
    table = Table(title=f"{manifest.name}, prepared", title_justify="left", show_header=False)
    table.add_row("clients", f"{manifest.clients:,}")
    if manifest.classes:
        table.add_row("partition", _dealt(manifest.partition))
    table.add_row(
        "samples",
        f"{sizes.sum():,}: {samples.train:,} train, {samples.validation:,} validation, {samples.test:,} test",
    )
    table.add_row(
        "samples a client",
        f"{sizes.min():,} smallest, {np.median(sizes):,.0f} median, {sizes.max():,} largest; "
        f"mean {sizes.mean():,.1f}, standard deviation {sizes.std():,.1f}",
    )
    if manifest.classes:
        held = (label_table(shards) > 0).sum(axis=1)
        table.add_row(
            "labels a client",
            f"{held.min()} fewest, {np.median(held):.0f} median, {held.max()} most, of {len(manifest.classes)}",
        )
    if manifest.periods > 1:
        table.add_row("periods", f"{manifest.periods}, drifting by {manifest.arguments['drift']}")
    if (labels := label_counts(shards)) is not None:
        apart = divergences(labels[chosen_clients(labels)])
        count = len(apart)
        table.add_row(
            "labels apart",
            f"Jensen-Shannon divergence between clients: mean {apart.sum() / (count * count - count):.2f}, "
            f"largest {apart.max():.2f} bits" + (f" (of {count} clients)" if count < len(labels) else ""),
        )
    table.add_row("seed", str(manifest.arguments.get("seed", "")))
    for key, value in manifest.notes.items():
        if isinstance(value, (int, float, str)):
            table.add_row(key.replace("_", " "), str(value))
    console.print(table)


def _dealt(partition: str) -> str:
    """The partition in a few words; of one from outside the package its name, as its file may lie anywhere."""
    from data_prep.dealing.partition import partitioner

    return partition if reference(partition) else partitioner(partition).words()


def _next_command(shards: Shards) -> str | None:
    """Training on these shards with the first shipped experiment that uses this data set."""
    from ..config.inherit import experiment_names, experiment_path, read_experiment

    for name in sorted(experiment_names(), key=lambda name: (name != shards.manifest.name, name)):
        content = read_experiment(experiment_path(name))
        if content.get("data", {}).get("name") == shards.manifest.name:
            return shlex.join(["selffl", "train", name, "--data", str(shards.path)])
    return None
