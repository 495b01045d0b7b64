"""A report as data, for programs: the claims, every figure with its interval, and what the page notes."""

from __future__ import annotations

from typing import Any

from .build import Report
from .ledger import Entry
from .summary import summary_lines
from .tables import long_frame


def as_data(report: Report) -> dict[str, Any]:
    """Figures as in tables.csv: shares are not in per cent, and what is withheld is not a number."""
    results = report.results
    return {
        "experiment": results.experiment.name,
        "folder": str(report.folder),
        "summary": summary_lines(results, report.both, report.entries),
        "claims": [_claim(entry) for entry in report.entries],
        "figures": long_frame(results, report.both).to_dict("records"),
        "notes": list(results.notes),
    }


def _claim(entry: Entry) -> dict[str, Any]:
    claim, judgement = entry.claim, entry.judgement
    interval = judgement.interval
    shown = interval is not None and not interval.withheld
    return {
        "id": claim.id, "text": claim.text, "verdict": judgement.verdict, "required": claim.required,
        "left": entry.left, "right": entry.right, "rival": entry.rival,
        "difference": None if interval is None else interval.mean,
        "low": interval.low if shown and interval else None, "high": interval.high if shown and interval else None,
        "seeds": [int(seed) for seed in entry.seeds], "note": judgement.note,
    }  # fmt: skip
