"""The table of `selffl train --list-methods`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ..methods import ALIASES, METHODS, method_class


def print_methods(console: Console) -> None:
    """Every method with its idea, paper, memory per client and options with their defaults."""
    table = Table(title="Methods", show_lines=True)
    for column in ("method", "idea", "each client keeps", "options (default)"):
        table.add_column(column, overflow="fold")
    for name in METHODS:
        cls = method_class(name)
        other = [alias for alias, target in ALIASES.items() if target == name]
        options = [f"{key}={field.default}" for key, field in cls.options_type.model_fields.items()]
        title = "\n".join([f"[bold]{name}[/bold]", *(f"= {alias}" for alias in other)])
        table.add_row(title, f"{cls.idea}\n[dim]{cls.paper}[/dim]", cls.per_client, "\n".join(options) or "–")
    console.print(table)
    console.print("Choose with --method NAME or --method NAME:key=value,…; an ending -w or -e sets the weighting.")
