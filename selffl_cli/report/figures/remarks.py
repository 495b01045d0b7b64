"""What a reader must know of runs before their figures are compared."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..results import Run

WORTH_SAYING = 0.1  # of the rounds


def uncalibrated(points: pd.DataFrame, runs: Sequence[Run]) -> list[str]:
    """A note for each method whose calibrated steps (Eqn 7) stayed at FedAvg's budget in many rounds.

    They do until a round in which the s_m of every participant is known; with few clients a round that may be never.
    """
    kinds = {(run.label, run.setting): run.folder.record["method"] for run in runs if not run.diverged}
    notes = []
    for (label, setting), kind in kinds.items():
        if kind.get("steps") != "calibrated":
            continue
        own = points[(points["label"] == label) & (points["setting"] == setting)]
        rounds = own[own["what"] == "method.s0"]
        known = own[own["what"] == "method.contraction"]
        share = 1 - len(known) / max(len(rounds), 1)
        if len(rounds) and share > WORTH_SAYING:
            where = f" ({setting})" if setting else ""
            notes.append(
                f"{label}{where}: local steps were FedAvg's budget in {100 * share:.0f} % of the rounds, as "
                "uncertainty sets them only once every client of a round has taken part before."
            )
    return notes


def silent(points: pd.DataFrame, runs: Sequence[Run]) -> list[str]:
    """A note for a method that had a global model to learn, but sent nothing: FedRep on a model that is all head."""
    spoken = points.groupby("label")["bytes"].max()
    federated = {run.label for run in runs if not run.diverged and run.folder.record["method"]["name"] == "fedrep"}
    return [
        f"{label}: nothing was sent, as the whole model is the clients' head: this is training alone, and half of the "
        "gradients, those of the body, move nothing."
        for label in sorted(federated)
        if spoken.get(label) == 0
    ]
