"""`selffl methods`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import complete
from . import options as opt
from .choices import choices


def methods(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only these; file.py:Class works too.",
            metavar="[METHOD]...",
            show_default=False,
            autocompletion=complete.methods,
        ),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Print every method: its idea, its paper, what each client keeps, and its options."""
    from .terminal import Terminal

    if as_json:
        from .as_json import print_json

        print_json(described(names or ()))
        return
    print_methods(Terminal(), names or ())


def print_methods(console: Console, names: Collection[str] = ()) -> None:
    """Every method (or those named) with its idea, paper, memory per client, and each option with its default and what
    it may be."""
    from ..methods import ALIASES, METHODS, method_class

    wanted = [ALIASES.get(name, name) for name in names]
    for name in wanted or METHODS.names():
        cls = method_class(name)
        other = [alias for alias, target in ALIASES.items() if target == name]
        console.print(Text.assemble((name, "bold"), *(f" = {alias}" for alias in other)))
        about = Table.grid(padding=(0, 1))
        about.add_column(width=3)
        about.add_column(overflow="fold")
        about.add_row("", cls.idea)
        about.add_row("", Text(cls.paper, "dim"))
        about.add_row("", f"each client keeps: {cls.per_client}")
        console.print(about)
        options = Table.grid(padding=(0, 1))
        options.add_column(width=3)
        options.add_column(no_wrap=True)
        options.add_column(overflow="fold")
        for key, field in cls.options_type.model_fields.items():
            default = str(field.default).lower() if isinstance(field.default, bool) else field.default
            words = " | ".join(choices(field))
            options.add_row("", f"{key}={default}", f"{field.description}" + (f" ({words})" if words else ""))
        if cls.options_type.model_fields:
            console.print(options)
        console.print()
    console.print("Choose with --method NAME or --method NAME:key=value,…; an ending -w or -e sets the weighting.")


def described(names: Collection[str] = ()) -> list[dict[str, Any]]:
    """What `print_methods` prints, as data."""
    from ..methods import ALIASES, METHODS, method_class

    made = []
    for name in [ALIASES.get(name, name) for name in names] or METHODS.names():
        cls = method_class(name)
        options = [
            {"name": key, "default": field.default, "about": field.description or "", "words": choices(field)}
            for key, field in cls.options_type.model_fields.items()
        ]
        aliases = [alias for alias, target in ALIASES.items() if target == name]
        about = {"idea": str(cls.idea), "paper": cls.paper, "per_client": cls.per_client}
        made.append({"name": name, "aliases": aliases, **about, "options": options})
    return made
