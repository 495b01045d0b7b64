"""Panels of the help of `train` that show keys of the experiment, which --set sets, beside the options."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


def panels() -> dict[str, list[tuple[str, str]]]:
    """{title: [(key, what it is)]}, read from where each key is defined."""
    from ..config.memory import MEMORIES
    from ..config.privacy import KINDS
    from ..config.sampler import SAMPLERS
    from ..config.spec import spec_help

    return {
        "Training (by --set)": [
            ("train.learning_rate", "and local_epochs, local_steps, batch_size, participation, eval_every"),
            ("train.sampler", f"Who takes part in a round: {spec_help(SAMPLERS)}."),
            ("train.weighting", "How models are averaged: samples, equal or unbiased."),
            ("train.new_clients", "Share of clients held out, and judged at the end."),
            ("train.precision", "float32, tf32 or bf16; each makes a run of its own."),
        ],
        "Privacy (by --set)": [
            ("train.privacy", f"One of noise and target-epsilon is needed: {spec_help(KINDS)}."),
            ("train.sampler", "Privacy of users needs poisson:q=…."),
        ],
        "Periods (by --set)": [
            ("train.periods", "true: train on the data's periods one after another (prepare --periods)."),
            ("train.memory", f"What clients keep of earlier periods: {spec_help(MEMORIES)}."),
            ("train.memory_size", "Samples each client keeps."),
        ],
    }


class KeysCommand(TyperCommand):
    """A command whose help shows, after its options, the keys that --set knows best."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        from .terminal import Terminal

        epilog, self.epilog = self.epilog, None
        try:
            super().format_help(ctx, formatter)
        finally:
            self.epilog = epilog
        console = Terminal(markup=True)  # the package's own words alone
        for title, rows in panels().items():
            table = Table.grid(padding=(0, 2, 0, 0), expand=True)
            table.add_column(no_wrap=True, style="bold cyan")
            table.add_column(ratio=1)
            for key, text in rows:
                table.add_row(Text(key), Text(text))
            console.print(Panel(table, title=title, title_align="left", border_style="dim"), highlight=False)
        _print_epilog(console, epilog)


def _print_epilog(console: Any, epilog: str | None) -> None:
    if epilog:
        console.print(f"\n{epilog}\n", highlight=False, soft_wrap=True)
