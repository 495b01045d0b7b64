"""The terminal that every command prints to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ..errors import printable


class Terminal(Console):
    """A rich console for text that comes from anywhere.

    Strings are text: square brackets, `:smile:` and numbers mean nothing (styles are given as `style=` or by
    `rich.text.Text`), and whatever would move the cursor, colour or turn text is shown as an escape.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What rich lays out and prints, leaves first, so that widths are those of what is shown."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control or text.isprintable() else Segment(printable(text), style)
