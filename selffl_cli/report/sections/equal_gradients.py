"""Between which two evaluations each method's figure at equal gradients lies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..compare import WIDE, at_equal
from ..results import Results
from .registry import extra


@extra
def equal_gradients_section(results: Results, folder: Path) -> str:
    """Markdown: a row a method; "" where every figure was evaluated at the common budget itself."""
    read = at_equal(results, "gradients")
    main = [f"test.{model}.{results.metric}" for model in ("personal", "global")]
    read = read[read["what"].isin(main)].drop_duplicates(["setting", "label", "seed"])
    between = read[read["after"].notna() | (read["before"] < read["limit"])]
    between = between[between["before"] <= between["limit"]]  # a closed form shows its last figures
    if between.empty:
        return ""
    swept = len(results.settings) > 1
    lines = [
        "### Where equal gradients were read",
        "",
        "The common budget lies between two evaluations of a method; the figure is read on the line between them. "
        "Shown are their gradients as a share of the budget, smallest to largest over seeds. A claim whose "
        f"evaluations lie further apart than {WIDE:.0%} of the budget is decided only if it comes out the same at "
        "both.",
        "",
        "| " + ("setting | " if swept else "") + "method | common budget | evaluation before | evaluation after |",
        "|" + "---|" * (swept + 1) + "---:|---:|---:|",
    ]
    for setting in results.settings:
        for label in results.labels:
            own = between[(between["setting"] == setting) & (between["label"] == label)]
            if len(own):
                budget = _range([f"{value:,.0f}" for value in own["limit"].sort_values()])
                before, after = (_percent(own[end] / own["limit"]) for end in ("before", "after"))
                lines.append(f"| {f'{setting} | ' if swept else ''}{label} | {budget} | {before} | {after} |")
    return "\n".join(lines)


def _percent(shares: pd.Series) -> str:
    known = shares.dropna().sort_values()
    return f"{_range([f'{100 * value:.1f}' for value in known])} %" if len(known) else "none"


def _range(texts: list[str]) -> str:
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"
