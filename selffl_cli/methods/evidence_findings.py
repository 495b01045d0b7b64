"""What the run folder keeps of the evidence: the choice, k, L and pi, some r_m, and the held-out curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine.hearing import Hearing
from .evidence import TIE, Amounts, Candidates, Form, best, choose, em, nested_gains, preferred
from .evidence_table import Table

SHOWN = 3  # clients whose r_m is kept: the smallest, the middle and the largest


@dataclass
class Chosen:
    """The amounts of all clients, and how they came about."""

    form: Form  # the one in use
    gains: dict[Form, tuple[float, float]]  # of the others over `pooled` a client, and standard errors; may be empty
    options: Candidates
    one: int  # the pooled candidate
    tied: np.ndarray  # candidates that say the same as it
    pi: np.ndarray  # [A]
    r: np.ndarray  # [N, A]
    amounts: Amounts  # of every client [M]


def decide(table: Table, choice: str, samples: np.ndarray) -> Chosen:
    """The choice for clients of `samples` training samples [M]; those without evidence take the pooled candidate."""
    options = table.candidates()
    evidence, at = table.evidence(options), options.places(table.samples)
    trials = [([table.column(i) for i in chosen], table.column(scored)) for chosen, scored in table.plan.trials]
    some = len(table.clients) > 0
    form, gains = preferred(nested_gains(trials, options)) if some and trials else ("pooled", {})
    if choice != "evidence":
        form = choice  # type: ignore[assignment]
    sums = evidence.sum(0)
    one = best(sums, options.grid[at].sum(0), options.k)
    everywhere = options.places(samples)[:, one]
    amounts = Amounts(np.full(len(samples), options.family[one]), everywhere)
    if form != "pooled" and some:
        own = choose(form, evidence, at, options)
        amounts.family[table.clients], amounts.place[table.clients] = own.family, own.place
    pi, r = em(evidence) if some else (np.full(len(options), 1 / len(options)), np.zeros_like(evidence))
    return Chosen(form, gains, options, one, np.flatnonzero(sums >= sums.max() - TIE), pi, r, amounts)


def findings(hearing: Hearing, table: Table, chosen: Chosen) -> dict[str, Any]:
    """The figures as JSON takes them."""
    options, one = chosen.options, chosen.one
    read, held = list(table.plan.read), int(table.held[:, list(table.plan.read)].sum())
    curves = {
        str(table.families[f]): {
            "loss": (-table.likelihood[:, read, f].sum((0, 1)) / max(held, 1)).tolist(),
            "score": (table.score[:, read, f].sum((0, 1)) / max(held, 1)).tolist(),
        }
        for f in table.kept
    }
    order = np.argsort(table.samples, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, SHOWN).round().astype(int))] if len(order) else order
    at = options.places(table.samples)
    told = np.zeros(len(hearing.samples), bool)
    told[table.clients] = True
    return {
        "form": chosen.form, "gains": {form: known(pair) for form, pair in chosen.gains.items()},
        "families": [str(family) for family in table.families],
        "kept": [str(table.families[f]) for f in table.kept], "dropped": table.dropped, "grid": table.grid.tolist(),
        "candidates": len(options), "family": str(table.families[options.family[one]]), "k": float(options.k[one]),
        "L": float(options.scale[one]),
        "pooled_place": int(options.places(table.samples.mean())[one]) if len(table.samples) else 0,
        "k_between": [float(options.k[chosen.tied].min()), float(options.k[chosen.tied].max())],
        "pi": {
            "family": {str(table.families[f]): float(chosen.pi[options.family == f].sum()) for f in table.kept},
            "k": [[float(k), float(chosen.pi[options.k == k].sum())] for k in np.unique(options.k)],
        },
        "r": [
            {"client": int(table.clients[m]), "samples": int(table.samples[m]), "mass": mass(table, chosen, m, at[m])}
            for m in shown
        ],
        "curves": curves, "held_out_samples": held, "not_finite": table.not_finite,
        "walks": len(table.plan.walks), "with_evidence": int(told.sum()), "clients": len(hearing.samples),
        "samples": hearing.samples.tolist(), "amount_family": chosen.amounts.family.tolist(),
        "amount_steps": options.grid[chosen.amounts.place].tolist(), "told": told.tolist(),
    }  # fmt: skip


def mass(table: Table, chosen: Chosen, row: int, at: np.ndarray) -> list[list[float]]:
    """r_m of one client by family and steps on the grid: [F, G]."""
    out = np.zeros((len(table.families), len(table.grid)))
    np.add.at(out, (chosen.options.family, at), chosen.r[row])
    return out.tolist()


def known(figures: tuple[float, float]) -> list[float | None]:
    """JSON has no infinity: None stands for the standard error of a single client."""
    return [figure if np.isfinite(figure) else None for figure in figures]
