"""The table of evidence: which families are walked how far, and what every client's held-out samples say of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..engine.cohort import Cohort, State
from ..engine.hearing import Hearing
from .evidence import STANDARD_ERRORS, Candidates, Column, candidates, evidence_of
from .folds import Folds, Plan
from .walks import Family, families, read, rounded_grid

STRENGTHS = np.geomspace(1 / 3, 3000, 25)  # k, in samples
FIRST_END = 64  # steps of the first grid; it is doubled while the best amount for all stands at its end
TIMES_BASE = 20  # gradients of the base, which no walk exceeds
TRIAL = 10  # clients that try every family first: a tenth, and no fewer


class Limits(Protocol):
    """The options that bound what is walked."""

    @property
    def folds(self) -> int: ...
    @property
    def max_steps(self) -> int: ...


@dataclass
class Table:
    """Log likelihoods of held-out samples, and what they were read from."""

    clients: np.ndarray  # ids of the clients with evidence [N]
    samples: np.ndarray  # their training samples n_m [N]
    plan: Plan
    families: list[Family]
    kept: np.ndarray  # families that were walked by all
    grid: np.ndarray  # steps [G]
    likelihood: np.ndarray  # [N, R, F, G]; families that were dropped have 0
    score: np.ndarray  # sums of the task's scores of the same samples [N, R, F, G]
    rest: np.ndarray  # n' of the walk behind each reading [N, R]
    held: np.ndarray  # held-out samples of each reading [N, R]
    not_finite: int  # entries that took the least finite one of their client
    dropped: dict[str, tuple[float, float]] = field(default_factory=dict)  # family → behind by, standard error

    def column(self, reading: int) -> Column:
        """What one reading says."""
        return self.likelihood[:, reading], self.rest[:, reading]

    def candidates(self) -> Candidates:
        """Every (family, k, L) over the families that were kept."""
        mean = float(self.samples.mean()) if len(self.samples) else 1.0
        options = candidates(len(self.kept), STRENGTHS, self.grid, mean)
        return Candidates(self.kept[options.family], options.k, options.scale, options.grid)

    def evidence(self, options: Candidates) -> np.ndarray:
        """E_m[a] [N, A]."""
        none = np.zeros((len(self.clients), len(options)))
        return sum((evidence_of(self.column(i), options) for i in self.plan.read), none)

    def sums(self) -> np.ndarray:
        """Log likelihood of each client's evidence with one amount for all [N, F, G]."""
        return self.likelihood[:, list(self.plan.read)].sum(1)


def gather(state: State, hearing: Hearing, plan: Plan, limits: Limits) -> Table:
    """Ask the clients: first a tenth of them try every family, then all walk those that are not behind."""
    clients = hearing.clients[hearing.samples[hearing.clients] > 1]
    asking = Asking(state, hearing, plan, Folds(hearing.seed, hearing.samples, limits.folds))
    most = int(max(1, min(limits.max_steps, TIMES_BASE * hearing.spent)))
    end = min(FIRST_END, most)
    trial = clients[:: max(1, min(10, len(clients) // TRIAL))]
    table = asking.table(trial, np.arange(len(asking.families)), end)
    while grows(table, most):
        table = asking.table(trial, table.kept, 2 * int(table.grid[-1]))
    kept, dropped = front(table)
    if len(trial) < len(clients) or dropped:
        table = asking.table(clients, kept, int(table.grid[-1]))
        while grows(table, most):
            table = asking.table(clients, kept, 2 * int(table.grid[-1]))
    table.dropped = dropped
    return table


def grows(table: Table, most: int) -> bool:
    """Whether the best amount for all stands at the end of the grid, and the grid may be doubled."""
    if not len(table.clients) or 2 * int(table.grid[-1]) > most:
        return False
    sums = table.sums().sum(0)[table.kept]
    return bool(np.unravel_index(sums.argmax(), sums.shape)[1] == len(table.grid) - 1)


def front(table: Table) -> tuple[np.ndarray, dict[str, tuple[float, float]]]:
    """The families whose best amount is not two standard errors behind the best of all, and by how much others are."""
    sums = table.sums()
    if len(sums) < TRIAL:  # too few to tell
        return table.kept, {}
    best = {int(f): sums[:, f, sums[:, f].sum(0).argmax()] for f in table.kept}
    first = max(best, key=lambda f: best[f].sum())
    dropped = {}
    for family, own in best.items():
        behind = best[first] - own
        error = float(behind.std(ddof=1) / len(behind) ** 0.5)
        if family != first and behind.mean() > STANDARD_ERRORS * error:
            dropped[family] = float(behind.mean()), error
    names = {str(table.families[f]): figures for f, figures in dropped.items()}
    return np.array([f for f in table.kept if f not in dropped]), names


class Asking:
    """Asks clients to walk families and to score their held-out samples."""

    def __init__(self, state: State, hearing: Hearing, plan: Plan, folds: Folds) -> None:
        self.state, self.hearing, self.plan, self.folds = state, hearing, plan, folds
        self.families = families(hearing.head)
        tokens = hearing.ask(hearing.clients, units, (1,)).sum()  # a text counts as its words over the mean words
        self.scale = max(tokens, 1.0) / max(int(hearing.samples[hearing.clients].sum()), 1)

    def table(self, clients: np.ndarray, kept: np.ndarray, end: int) -> Table:
        """What these clients say of these families, up to `end` steps."""
        grid, plan, server = rounded_grid(end), self.plan, self.state.server
        chosen = [self.families[f] for f in kept]
        shape = (len(plan.readings), len(chosen), len(grid), 2)

        def question(cohort: Cohort) -> Tensor:
            return read(cohort, self.folds, plan, chosen, grid, server["theta"], server["origin"])

        answers = self.hearing.ask(clients, question, shape)
        wide = np.zeros((len(clients), shape[0], len(self.families), len(grid), 2))
        wide[:, :, kept] = answers
        likelihood, lost = finite(-wide[..., 1] / self.scale)
        left = [[len(self.folds.rest(m, plan.walks[r.walk])) for r in plan.readings] for m in clients.tolist()]
        held = [[len(self.folds.fold(m, r.fold, r.half)) for r in plan.readings] for m in clients.tolist()]
        rest, counted = (
            np.array(values, np.int64).reshape(len(clients), len(plan.readings)) for values in (left, held)
        )
        return Table(
            clients, self.hearing.samples[clients], plan, self.families, kept, grid, likelihood,
            np.nan_to_num(wide[..., 0]), rest, counted, lost,
        )  # fmt: skip


def units(cohort: Cohort) -> Tensor:
    """How often each client's training samples are judged: words of texts, else samples [C, 1]."""
    task = cohort.model.task
    return torch.tensor(
        [[float(task.units(*cohort.data.client(client)).sum())] for client in cohort.clients.tolist()],
        dtype=torch.float64,
    ).reshape(-1, 1)


def finite(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Log likelihoods [N, R, F, G] with the least finite one of its client and reading where one is not finite (0 where
    none is), and how many were not."""
    bad = ~np.isfinite(values)
    least = np.where(bad, np.inf, values).min((2, 3), keepdims=True) if values.size else np.zeros((1, 1, 1, 1))
    return np.where(bad, np.where(np.isfinite(least), least, 0.0), values), int(bad.sum())
