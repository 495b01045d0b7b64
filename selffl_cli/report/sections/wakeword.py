"""The papers' Tables 1 and 2: relative false accepts of global and personal models on each kind of device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table as RichTable

from ...metrics import det
from ..figures.detection import MODELS, RESAMPLES, Clips, Detection, Outcome
from ..paper import write_tables
from ..pictures.style import PAGE, figure, hide_unused, legend_above, looks, save, svg_link
from ..results import Results
from ..safe_text import markdown
from ..tables import Cell, Table, table_markdown, write_csv
from .registry import extra

# Relative FA on devices A to E as the ActPerFL paper prints it (FL4NLP 2022, Tables 1 and 2).
PAPER = {
    "global": {
        "actperfl": (0.92, 0.94, 0.91, 0.91, 1.01),
        "fedavg-w": (8.39, 4.00, 12.80, 8.61, 10.62),
        "fedavg-e": (0.97, 0.96, 1.00, 0.92, 1.00),
        "ditto-w": (8.38, 4.00, 12.75, 8.61, 10.23),
        "ditto-e": (0.97, 0.95, 1.00, 0.93, 0.99),
        "perfedavg": (1.06, 0.98, 1.08, 0.93, 1.01),
    },
    "personal": {
        "actperfl": (0.93, 0.91, 0.90, 0.90, 0.99),
        "fedavg-e": (0.95, 0.95, 0.93, 0.91, 0.98),
        "ditto-e": (0.97, 0.96, 0.93, 0.91, 0.96),
        "perfedavg": (1.02, 1.11, 1.08, 1.00, 0.93),
    },
}
TITLES = {
    "global": "Table 1: relative false accepts, global models",
    "personal": "Table 2: relative false accepts, personal models",
}
SIMULATED_SENTENCE = (
    "These are public recordings heard through simulated devices, not the Alexa recordings of the papers: only the "
    "order of methods can be compared with the papers' numbers, not the numbers."
)
OWN_SENTENCE = "These are the recordings that were brought, not the Alexa recordings of the papers."
COLUMNS = 5  # devices beside each other in a terminal
DRAWN = 7  # curves in a panel beside the baseline's
RATES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # ticks of the DET axes


def sentence(found: Detection) -> str:
    return SIMULATED_SENTENCE if found.simulated else OWN_SENTENCE


def relative_tables(found: Detection) -> list[Table]:
    """Table 1 and Table 2: a row a method, a column a device; the paper's row beneath, where devices are A to E."""
    made = []
    for model in MODELS:
        rows = []
        for label in found.labels:
            outcomes = [o for o in found.outcomes if o.label == label and o.model == model]
            if not outcomes:
                continue
            rows.append([Cell(label), Cell(str(len(outcomes[0].seeds))), *(Cell(words(o)) for o in outcomes)])
            if found.simulated and label in PAPER[model]:
                numbers = (Cell(f"{number:.2f}") for number in PAPER[model][label])
                rows.append([Cell("  in the paper"), Cell(""), *numbers])
        if rows:
            made.append(Table(f"relative-fa-{model}", TITLES[model], ["method", "seeds", *found.devices], rows))
    return made


def words(outcome: Outcome) -> str:
    """ "0.92 [0.85, 1.01]"; the counts where the ratio is withheld."""
    if outcome.ratio is None:
        counts = f"{outcome.accepts:.3g}/{outcome.baseline:.3g}"
        counts += ", 0 rejected" if outcome.baseline and not outcome.rejected else ""
        return f"withheld ({counts})" if outcome.seeds else "–"
    if outcome.interval is None:
        return f"{outcome.ratio:.2f}"
    low, high = ("∞" if math.isinf(end) else f"{end:.2f}" for end in outcome.interval)
    return f"{outcome.ratio:.2f} [{low}, {high}]"


def baseline_table(found: Detection) -> Table:
    """What the ratios are relative to, a row a device."""
    rows = [
        [
            Cell(str(row["device"])), Cell(f"{row['wake words']:,.0f}"), Cell(f"{row['others']:,.0f}"),
            Cell(f"{row['speakers']:,.0f}"),
            Cell(f"{row['false rejects']:.3g} ({100 * row['false rejects'] / row['wake words']:.1f} %)"),
            Cell(f"{row['false accepts']:.3g} ({100 * row['false accepts'] / row['others']:.1f} %)"),
            Cell(f"{100 * row['EER']:.1f}"),
        ]
        for row in found.baselines.to_dict("records")
    ]  # fmt: skip
    heads = ["device", "wake words", "others", "speakers", "false rejects", "false accepts", "EER (%)"]
    return Table("baseline", "The baseline: warm start on test, mean over seeds", heads, rows)


def error_table(found: Detection) -> Table:
    """Equal error rates in per cent, global and personal, a column a device."""
    rows = [
        [Cell(label), Cell(model), *(Cell(f"{100 * o.equal_error_rate:.1f}") for o in outcomes)]
        for model in MODELS
        for label in found.labels
        if (outcomes := [o for o in found.outcomes if o.label == label and o.model == model])
    ]
    return Table("eer", "Equal error rate (%), mean over seeds", ["method", "models", *found.devices], rows)


def hourly_table(found: Detection) -> list[Table]:
    """False rejects at one false accept an hour; none where no device's test part has an hour of others."""
    rows = [
        [Cell(label), Cell(model), *(Cell("–" if o.an_hour is None else f"{100 * o.an_hour:.1f}") for o in outcomes)]
        for model in MODELS
        for label in found.labels
        if (outcomes := [o for o in found.outcomes if o.label == label and o.model == model])
    ]
    if all(outcome.an_hour is None for outcome in found.outcomes):
        return []
    title = "False rejects (%) at one false accept an hour, mean over seeds; – with less than an hour of others"
    return [Table("an-hour", title, ["method", "models", *found.devices], rows)]


def frame(found: Detection) -> pd.DataFrame:
    """Every outcome unrounded, with the counts behind it and each seed's own ratio."""
    rows = []
    for o in found.outcomes:
        low, high = o.interval or (math.nan, math.nan)
        paper = PAPER[o.model].get(o.label) if found.simulated else None
        by_seed = (
            f"{seed}:withheld" if r is None else f"{seed}:{r:.4f}" for seed, r in zip(o.seeds, o.ratios, strict=True)
        )
        rows.append({
            "model": o.model, "method": o.label, "device": o.device, "relative_fa": o.ratio,
            "low_95": low, "high_95": high, "false_accepts": o.accepts, "baseline_false_accepts": o.baseline,
            "seeds": len(o.seeds), "by_seed": " ".join(by_seed), "eer": o.equal_error_rate,
            "fr_at_one_false_accept_an_hour": o.an_hour,
            "paper": paper[found.devices.index(o.device)] if paper else None,
        })  # fmt: skip
    return pd.DataFrame(rows)


@extra
def wake_word_section(results: Results, folder: Path) -> str:
    """Markdown, with wakeword.csv, wakeword.tex and the DET pictures in `folder`; "" for other tasks."""
    found = results.extra(Detection)
    if found is None or not found.runs:
        return ""
    made = [*relative_tables(found), baseline_table(found), error_table(found), *hourly_table(found)]
    write_csv(frame(found), folder / "wakeword.csv")
    write_tables(made, results.experiment.name, folder, "wakeword.tex", sentence(found))
    pictures = [name for model in MODELS if (name := draw(found, folder, model))]
    text = [f"### Wake words\n\n**{sentence(found)}**", how_to_read(found), *remarks(results)]
    for table in made:
        text += [f"#### {markdown(table.title)}", table_markdown(table)]
    text.append("The same by seed, unrounded: [wakeword.csv](wakeword.csv); as LaTeX: [wakeword.tex](wakeword.tex).")
    for name in pictures:
        text.append(
            f"![{name}]({name}.png)\n\nDetection error trade-off of the {name.removeprefix('det-')} models, axes in "
            "normal deviates; false rejects are means over seeds at equal false accepts. The cross marks where the "
            f"baseline is compared. {sentence(found)}{svg_link(name)}"
        )
    return "\n\n".join(text)


def remarks(results: Results) -> list[str]:
    """What methods have to say in place of a row of the paper, and how often they diverged here."""
    if not (found := results.extra(Detection)) or not found.simulated:
        return []
    said: dict[str, list[bool]] = {}
    for run in results.runs:
        if text := run.remark("wakeword"):
            said.setdefault(text, []).append(run.diverged)
    return [text.replace("{diverged}", str(sum(gone))).replace("{runs}", str(len(gone))) for text, gone in said.items()]


def how_to_read(found: Detection) -> str:
    part = "test part's (see the notes)" if found.without_validation else "validation part's"
    return (
        "A model's false accepts, divided by the baseline's, at the threshold at which it rejects as many of the "
        "device's wake words as the baseline does. Baseline: the warm start that every method began with; its one "
        f"threshold rejects about {found.false_rejects:.0%} of the {part} wake words. Below 1 is better. "
        f"Counts are summed over seeds; in brackets the 95 % interval of {RESAMPLES:,} bootstrap draws of speakers "
        "(the same in every seed; it does not hold the spread between seeds, which the claims are judged by). "
        "*Withheld*: the baseline accepts nothing falsely there, or rejects no wake word, so that there is no false "
        "reject to be equal to; the counts are shown. No brackets: the ratio is "
        "undefined in more than a twentieth of the draws."
    )


def terminal_tables(results: Results) -> list[RichTable]:
    """Tables 1 and 2 at 80 columns, intervals under their ratios; nothing for other tasks."""
    found = results.extra(Detection)
    if found is None or not found.runs:
        return []
    return [_terminal_table(part, sentence(found)) for made in relative_tables(found) for part in beside(made)]


def beside(table: Table) -> Iterator[Table]:
    """The table with at most COLUMNS devices beside each other, as several where it has more."""
    devices = len(table.heads) - 2
    for first in range(0, devices, COLUMNS):
        of = slice(first + 2, first + 2 + COLUMNS)
        title = table.title + (f" ({first + 1} to {min(first + COLUMNS, devices)})" if devices > COLUMNS else "")
        yield Table(table.name, title, table.heads[:2] + table.heads[of], [row[:2] + row[of] for row in table.rows])


def _terminal_table(made: Table, caption: str) -> RichTable:
    table = RichTable(title=made.title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column(made.heads[0], overflow="fold", min_width=10)
    for head in made.heads[2:]:
        table.add_column(head, justify="right", overflow="fold")
    for cells in made.rows:
        paper = cells[0].value.startswith(" ")
        shown = [c.value.replace(" [", "\n[").replace(" (", "\n(").replace(", ", "–") for c in cells[2:]]
        table.add_row(cells[0].value.strip(), *shown, style="dim" if paper else None)
    return table


def draw(found: Detection, folder: Path, model: str) -> str | None:
    """DET curves of the paper's methods (or the first few) and of the baseline, a panel a device."""
    labels = [label for label in found.labels if any(o.label == label and o.model == model for o in found.outcomes)]
    labels = ([label for label in labels if label in PAPER["global"]] or labels)[:DRAWN]
    if not labels:
        return None
    look = looks(labels)
    bases = list({id(base): base for *_, base in found.runs}.values())
    columns = min(3, len(found.devices))
    references = {row["device"]: row for row in found.baselines.to_dict("records")}
    rows = -(-len(found.devices) // columns)
    with figure(rows, columns, PAGE, 0.6 + 2.3 * rows, sharex=True, sharey=True) as (fig, axes):
        for ax, device in zip(axes.flat, found.devices, strict=False):
            base = [scored.clips("test", "global", device) for scored in bases]
            _curve(ax, base, label="baseline (warm start)", color="black", linewidth=2.2, alpha=0.35)
            for label in labels:
                own = [scored.clips("test", model, device) for name, _, scored, _ in found.runs if name == label]
                _curve(ax, own, label=label, **look[label].line)
            ax.set_title(f"device {device}")
            _axes(ax)
        for ax, device in zip(axes.flat, found.devices, strict=False):
            if (row := references.get(device)) is None:  # its test clips are of one kind
                continue
            rates = row["false accepts"] / row["others"], row["false rejects"] / row["wake words"]
            ax.plot(*deviates(np.array([rates]).T), "x", color="black", markersize=6)
        hide_unused(axes, len(found.devices))
        for ax in axes[:, 0]:
            ax.set_ylabel("false rejects (%)")
        for number, ax in enumerate(axes.flat):
            if number < len(found.devices) <= number + columns:  # the lowest panel of its column
                ax.set_xlabel("false accepts (%)")
                ax.tick_params(labelbottom=True)
        legend_above(fig, axes)
        return save(fig, folder, f"det-{model}")


def deviates(rates: np.ndarray) -> np.ndarray:
    """Normal deviates of rates, held inside the axes."""
    from scipy.stats import norm

    return norm.ppf(np.clip(rates, RATES[0], RATES[-1]))


def _curve(ax: Any, runs: list[Clips], **style: Any) -> None:
    """Mean FR over seeds at equal FA; runs without one of the two kinds are left out."""
    from scipy.stats import norm

    accepts = np.linspace(norm.ppf(RATES[0]), norm.ppf(RATES[-1]), 300)
    curves = [det.curve(clips.label, clips.score) for clips in runs if clips.both_kinds]
    if curves:
        rejects = np.mean([[curve.fr_at(fa) for fa in norm.cdf(accepts)] for curve in curves], axis=0)
        rejects[(rejects < RATES[0]) | (rejects > RATES[-1])] = np.nan  # outside the axes, rather than along them
        ax.plot(accepts, deviates(rejects), **style)


def _axes(ax: Any) -> None:
    ticks = deviates(np.array(RATES))
    percent = [f"{100 * rate:g}" for rate in RATES]
    ax.set_xticks(ticks, percent, rotation=60)
    ax.set_yticks(ticks, percent)
    ax.set_xlim(ticks[0], ticks[-1])
    ax.set_ylim(ticks[0], ticks[-1])
