"""How every picture looks: colours, line styles, sizes, and files that are the same bytes each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ...errors import printable

# Okabe & Ito, "Color Universal Design" (2008), the yellow left out: it is too faint for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (8, 2)),
    (0, (3, 1)),
    (0, (1, 1)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

COLUMN = 3.5  # inches: a column of a two-column paper
PAGE = 7.16
LEGEND = 1.45  # of a legend: a line sample and a label of some fifteen letters

_RC: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "selffl",  # identifiers inside the SVG depend on its content alone
    "svg.fonttype": "path",
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # a dollar in a label is a dollar
}


@dataclass(frozen=True)
class Look:
    """One method's appearance, the same in every picture of an experiment."""

    color: str
    linestyle: Any
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        return {"color": self.color, "linestyle": self.linestyle}


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """A colour, line style and marker for each label; no two labels share all three for up to 56 labels."""
    return {
        label: Look(
            COLOURS[i % len(COLOURS)],
            DASHES[i % len(DASHES)],
            MARKERS[i % len(MARKERS)],
        )
        for i, label in enumerate(labels)
    }


@contextmanager
def figure(rows: int, columns: int, width: float, height: float, **options: Any) -> Iterator[tuple[Any, Any]]:
    """A figure in the house style with its axes [rows, columns]; closed at the end."""
    with plt.rc_context(_RC):
        fig, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)
        try:
            yield fig, axes
        finally:
            plt.close(fig)


_svg: ContextVar[bool] = ContextVar("svg", default=False)


@contextmanager
def with_svg(wanted: bool) -> Iterator[None]:
    """Whether `save` writes each picture a second time, as SVG, which doubles the time that pictures take."""
    before = _svg.set(wanted)
    try:
        yield
    finally:
        _svg.reset(before)


def svg_link(name: str) -> str:
    """ " ([SVG](NAME.svg))" where pictures are written as SVG too, else ""."""
    return f" ([SVG]({name}.svg))" if _svg.get() else ""


def save(fig: Any, out: Path, name: str) -> str:
    """Write OUT/NAME.png, free of dates, versions and characters that cannot be drawn, and return NAME."""
    for text in fig.findobj(Text):
        text.set_text(printable(text.get_text()))
    fig.savefig(out / f"{name}.png", metadata={"Software": None})
    if _svg.get():
        fig.savefig(out / f"{name}.svg", metadata={"Date": None, "Creator": None})
    return name


def legend_columns(width: float, labels: int, most: int = 4) -> int:
    """How many labels fit beside each other above a figure of `width` inches."""
    return max(1, min(most, labels, int(width / LEGEND)))


def legend_above(fig: Any, axes: Any, columns: int = 4) -> None:
    """One legend for all panels, above them, each label once, in as many columns as fit."""
    seen: dict[str, Any] = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            seen.setdefault(label, handle)
    if seen:
        fig.legend(
            seen.values(),
            seen.keys(),
            loc="outside upper center",
            ncols=legend_columns(fig.get_figwidth(), len(seen), columns),
            columnspacing=1.2,
            handletextpad=0.5,
        )


def hide_unused(axes: Any, used: int) -> None:
    for ax in list(axes.flat)[used:]:
        ax.set_visible(False)


def lowest(axes: Any, used: int) -> list[Any]:
    """The lowest visible panel of each column, of `used` panels filled row by row."""
    rows, columns = axes.shape
    return [axes[max(r for r in range(rows) if r * columns + c < used), c] for c in range(columns) if c < used]


def plain_log(axis: Any) -> None:
    """Ticks of a logarithmic axis as plain numbers, few enough to stand apart: 20, 50, 100."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
