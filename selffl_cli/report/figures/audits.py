"""Figures that attacks on finished runs have found."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ...runs.audits import read_audits
from ..results import Run


def audit_points(points: pd.DataFrame, runs: Iterable[Run]) -> pd.DataFrame:
    """Figures of audits ("membership.personal.auc") as points of each run's last round."""
    rows = []
    for run in runs:
        found = read_audits(run.folder.path)
        if not found:
            continue
        own = points[(points["label"] == run.label) & (points["seed"] == run.seed) & (points["setting"] == run.setting)]
        last = own.sort_values("round", kind="stable").iloc[-1]
        rows += [{**last, "what": name, "value": value} for name, value in found.items()]
    return pd.DataFrame(rows, columns=points.columns)
