"""A final figure client by client, of all seeds of a method."""

from __future__ import annotations

import pandas as pd

from ..results import Results


def client_figures(results: Results, label: str, setting: str, what: str) -> pd.Series:
    """The main metric of every judged client by (seed, client); empty for any figure that clients do not have.

    what: "part.model.metric".
    """
    part, *rest = what.split(".")
    metric = results.metric
    found: dict[tuple[int, int], float] = {}
    if len(rest) != 2 or rest[1] != metric.name:
        return pd.Series(dtype=float)
    sums = f"{part}_{rest[0]}_{metric.sum_column}"
    count = f"{part}_{metric.count_column}" if metric.count_column else f"n_{part}"
    for run in results.finished:
        if run.label != label or run.setting != setting:
            continue
        clients = run.judged_clients()
        if sums not in clients.columns or count not in clients.columns:
            continue
        clients = clients[clients[count] > 0]
        figures = metric.of(clients[sums], clients[count])
        found |= {(run.seed, client): float(value) for client, value in zip(clients["client"], figures, strict=True)}
    return pd.Series(found, dtype=float)
