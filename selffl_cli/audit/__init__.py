"""Attacks on finished runs: what a model gives away, measured. Each writes audit-NAME.json into the run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..runs.files import write_whole

NAMES = ("membership", "canary-users", "canary-text", "sensitivity")


def write_audit(folder: Path, name: str, figures: Mapping[str, float]) -> None:
    """Keep an audit's figures, {"global.auc": …}, for reports."""
    write_whole(folder / f"audit-{name}.json", json.dumps(dict(figures), indent=1, sort_keys=True) + "\n")


def read_audits(folder: Path) -> dict[str, float]:
    """Every figure of every audit of a run: {"membership.global.auc": …}."""
    found: dict[str, float] = {}
    for name in NAMES:
        path = folder / f"audit-{name}.json"
        if path.is_file():
            found |= {f"{name}.{key}": value for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    return found
