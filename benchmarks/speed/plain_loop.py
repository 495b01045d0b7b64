"""The plain PyTorch loop: one thread, a copy of the model for each client, torch's own SGD."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from workloads import LAMBDA, Job, loss_of


def train(model: nn.Module, job: Job, round_: int, client: int, anchor: list[Tensor] | None = None) -> None:
    """One epoch of SGD; with an anchor, pulled to it (Ditto's personal model)."""
    optimizer = torch.optim.SGD(model.parameters(), job.workload.learning_rate)
    for x, y in job.batches(round_, client):
        optimizer.zero_grad()
        loss_of(model(x), y).backward()
        if anchor is not None:
            with torch.no_grad():
                for parameter, centre in zip(job.trained(model), anchor, strict=True):
                    parameter.grad += LAMBDA * (parameter - centre)
        optimizer.step()


@torch.no_grad()
def score(model: nn.Module, job: Job, client: int) -> float:
    """Share of a client's samples, training and test, that are right."""
    right, total = 0, 0
    for part in ("train", "test"):
        x, y = job.part(part, client)
        right, total = right + int((model(x).argmax(1) == y).sum()), total + len(y)
    return right / total


def main() -> None:
    job = Job.from_command_line()
    model, ditto = job.model(), job.workload.method == "ditto"
    personal = {client: copy.deepcopy(model) for client in range(job.workload.clients)} if ditto else {}
    for round_ in range(1, job.rounds + 1):
        clients = job.chosen(round_).tolist()
        total = sum(int(job.sizes[client]) for client in clients)
        average = [torch.zeros_like(p) for p in job.trained(model)]
        received = [p.detach().clone() for p in job.trained(model)]
        for client in clients:
            local = copy.deepcopy(model)
            train(local, job, round_, client)
            if ditto:
                train(personal[client], job, round_, client, received)
            for part, parameter in zip(average, job.trained(local), strict=True):
                part += int(job.sizes[client]) / total * parameter.detach()
        with torch.no_grad():
            for parameter, value in zip(job.trained(model), average, strict=True):
                parameter.copy_(value)
        if ditto:
            scores = [(score(model, job, c), score(personal[c], job, c)) for c in range(job.workload.clients)]
            assert len(scores) == job.workload.clients
        job.finished(round_)
    job.save(model)


if __name__ == "__main__":
    main()
