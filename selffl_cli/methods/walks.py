"""Walks of evidence: local training from a family's start, looked at after 1, 2, 4, … steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..engine.cohort import Cohort, Grad, LastIterates, Step
from .folds import Folds, Plan


@dataclass(frozen=True)
class Family:
    """Where walks start, at which rate, and what they move."""

    start: Literal["global", "own", "head"]  # theta; theta^0, never a stored model; theta, and the head alone moves
    rate: float  # in learning rates

    def __str__(self) -> str:
        return self.start if self.rate == 1 else f"{self.start}, rate / {1 / self.rate:g}"


def families(head: Tensor) -> list[Family]:
    """Every family at the learning rate and an eighth of it; `head` where some parameters are the head's, not all."""
    starts: list[Literal["global", "own", "head"]] = ["global", "own"]
    if head.any() and not head.all():
        starts.append("head")
    return [Family(start, rate) for start in starts for rate in (1.0, 0.125)]


def rounded_grid(most: int) -> np.ndarray:
    """0, 1, 2, 4, … up to `most` steps."""
    return np.array([0, *(2**power for power in range(int(most).bit_length()))], np.int64)


def descent(cohort: Cohort, stream: str) -> Step:
    """SGD on batches of `stream` with a rate for each client [C, 1]; where `whole` [C, 1] is 0 the head alone moves."""
    head = cohort.head

    def step(w: Tensor, grad: Grad, rate: Tensor, whole: Tensor) -> Tensor:
        return torch.where(head | (whole > 0), w - rate * grad(w, stream), w)

    return step


def settings(
    cohort: Cohort, options: list[Family], family: Tensor, theta: Tensor, origin: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Starts [C, P], and the rates and whether all parameters move [C, 1], of each client's family [C]."""

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=theta.device)[family][:, None].to(theta.dtype)

    own = column([float(f.start == "own") for f in options])
    rates = column([f.rate * cohort.learning_rate for f in options])
    return torch.where(own > 0, origin, theta), (rates, column([float(f.start != "head") for f in options]))


def walk(cohort: Cohort, step: Step, start: Tensor, context: tuple[Tensor, ...], grid: np.ndarray) -> Iterator[Tensor]:
    """Every client's model after grid[0], grid[1], … steps [C, P], as it would be delivered.

    Between two points of the grid lies the last half of the iterates up to the later one.
    """
    yield start
    rows = start
    for begin, end in pairwise(grid.tolist()):
        cohort.first_step = begin
        steps = torch.full_like(cohort.budget, end - begin)
        average = LastIterates(half=False) if cohort.delivery.average else None
        local = cohort.local(step, rows, steps, context, average=average)
        rows = local.end
        yield rows if local.average is None else local.average


def read(
    cohort: Cohort, folds: Folds, plan: Plan, chosen: list[Family], grid: np.ndarray, theta: Tensor, origin: Tensor
) -> Tensor:
    """Sums of scores and of losses on held-out samples, by reading, family and place on the grid: [C, R, F, G, 2]."""
    out = torch.zeros(len(cohort), len(plan.readings), len(chosen), len(grid), 2, dtype=torch.float64)
    for number, out_folds in enumerate(plan.walks):
        view = cohort.keeping(lambda client, left=out_folds: folds.rest(client, left))  # type: ignore[misc]
        step = descent(view, "evidence-" + "-".join(map(str, out_folds)))
        readings = [(i, reading) for i, reading in enumerate(plan.readings) if reading.walk == number]
        for f in range(len(chosen)):
            family = torch.full_like(cohort.clients, f)
            start, context = settings(view, chosen, family, theta, origin)
            for at, rows in enumerate(walk(view, step, start, context, grid)):
                for i, reading in readings:
                    out[:, i, f, at] = view.scores(
                        rows,
                        lambda client, r=reading: folds.fold(client, r.fold, r.half),  # type: ignore[misc]
                    )
    return out
