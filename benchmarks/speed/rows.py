"""TODO-DOC"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from contenders import Contender, final_model
from workloads import Job, loss_of


@dataclass
class Row:
    """One run of one contender: a line of runs.csv."""

    workload: str
    repeat: int
    contender: str
    seconds_a_round: float
    cpu_seconds_a_round: float
    peak_mb: float
    first_round_seconds: float
    whole_seconds: float
    final_loss: float
    others: float  # cores that other programs kept busy meanwhile


def final_loss(contender: Contender, folder: Path, out: Path) -> float:
    """Mean loss of the final global model over the test parts, in float64."""
    job = Job(folder, 0, out)
    model = job.model().double()
    with torch.no_grad():
        for parameter, value in zip(job.trained(model), final_model(contender, folder, out), strict=True):
            parameter.copy_(value)
        x = job.tensors["test_x"]
        return float(loss_of(model(x.double() if x.is_floating_point() else x), job.tensors["test_y"]))
