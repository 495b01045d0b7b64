"""What a reader must know of runs before their figures are compared."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..results import Run

WORTH_SAYING = 0.1  # of the rounds


def uncalibrated(points: pd.DataFrame, runs: Sequence[Run]) -> list[str]:
    """A note for each method with calibrated steps (Eqn 7): how often uncertainty, not FedAvg's budget, set them.

    Runs of a method's first version recorded the contraction alone; they are named where it was missing in many rounds.
    """
    kinds = {(run.label, run.setting): run.folder.record["method"] for run in runs if not run.diverged}
    notes = []
    for (label, setting), kind in kinds.items():
        if kind.get("steps") != "calibrated":
            continue
        own = points[(points["label"] == label) & (points["setting"] == setting)]
        where = f" ({setting})" if setting else ""
        if (own["what"] == "method.by_uncertainty").any():
            notes.append(f"{label}{where}: {_set_by_uncertainty(own)}")
            continue
        rounds = own[own["what"] == "method.s0"]
        known = own[own["what"] == "method.contraction"]
        share = 1 - len(known) / max(len(rounds), 1)
        if len(rounds) and share > WORTH_SAYING:
            notes.append(
                f"{label}{where}: local steps were FedAvg's budget in {100 * share:.0f} % of the rounds, as "
                "uncertainty sets them only once every client of a round has taken part before."
            )
    return notes


def _set_by_uncertainty(points: pd.DataFrame) -> str:
    """Shares of rounds and of known clients' participations in which Eqn 7 set the steps, in a sentence."""
    wide = points[points["what"].isin(["method.by_uncertainty", "method.known", "method.contraction"])].pivot_table(
        index=["seed", "round"], columns="what", values="value"
    )
    by_uncertainty = wide["method.by_uncertainty"]
    rounds = f"uncertainty set local steps in {100 * (by_uncertainty > 0).mean():.0f} % of the rounds"
    if "method.contraction" not in wide:
        return f"{rounds}: no round had two participants that had taken part before."
    solved = wide["method.contraction"].notna()
    share = by_uncertainty[solved].sum() / max(wide["method.known"][solved].sum(), 1)
    return (
        f"{rounds}; once the contraction was solved (round {_first(wide[solved])}), "
        f"{100 * share:.0f} % of the participations of clients that had taken part before took them from Eqn 7."
    )


def _first(rows: pd.DataFrame) -> str:
    """The first round of each seed, as a number or a range."""
    first = rows.reset_index().groupby("seed")["round"].min()
    return f"{first.min()}" if first.min() == first.max() else f"{first.min()} to {first.max()}"


def silent(points: pd.DataFrame, runs: Sequence[Run]) -> list[str]:
    """A note for a method that sent nothing where it would send something, such as FedRep on a model all of head."""
    spoken = points.groupby("label")["bytes"].max()
    said = {run.label: run.remark("silent") for run in runs if not run.diverged}
    return [f"{label}: {said[label]}" for label in sorted(said) if said[label] and spoken.get(label) == 0]
