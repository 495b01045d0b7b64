"""The sequential engine: one client after another in plain PyTorch. The oracle that every other engine must equal."""

from __future__ import annotations

import torch
from torch import Tensor

from .cohort import Cohort, LastIterates, Local, Params, Step, average_update, scatter_update


class ClientGradient:
    """`grad(params [1, P], stream)` of one client: the gradient on its batch of a step, which is counted."""

    def __init__(self, cohort: Cohort, client: int, step: int) -> None:
        self.cohort, self.client, self.step = cohort, client, step
        self.loss: Tensor | None = None  # of the first batch of the main stream since it was None

    def __call__(self, params: Tensor, stream: str = "local") -> Tensor:
        cohort, client = self.cohort, self.client
        if cohort.private is not None:
            gradient, loss, drawn = cohort.private(cohort.model, cohort.data, params[0], client, stream, self.step)
        else:
            x, y = cohort.data.client(client, cohort.batches.indices(stream, client, self.step))
            gradient, loss = cohort.model.gradient(params[0], x, y)
            drawn = len(y)
        cohort.counts.gradients += 1
        cohort.counts.samples += drawn
        if stream == "local" and self.loss is None:
            self.loss = loss
        return gradient[None]


class SequentialCohort(Cohort):
    """Trains its clients in a loop; a row of a matrix [C, P] is handed to the step as a matrix [1, P]."""

    def grad(self, params: Tensor, stream: str = "local", step: int = 0) -> Tensor:
        self.counts.each += 1
        clients = enumerate(self.clients.tolist())
        rows = [ClientGradient(self, client, step)(params[i : i + 1], stream) for i, client in clients]
        return torch.cat(rows) if rows else params.new_empty((0, params.shape[-1]))

    def local(
        self,
        step: Step,
        start: Params,
        steps: Tensor,
        context: tuple[Tensor, ...] = (),
        variance: bool = False,
        average: LastIterates | None = None,
    ) -> Local:
        steps = self.steps_of(steps)
        starts = start if isinstance(start, tuple) else (start,)
        ends = tuple(torch.empty(s.shape, dtype=s.dtype, device=s.device) for s in starts)
        first = starts[0]
        mean = torch.empty(first.shape, dtype=first.dtype, device=first.device) if variance else None
        scatter = torch.zeros(len(self), dtype=first.dtype, device=first.device)
        averages = starts[average.place].clone() if average else None
        skip = average.skip(steps) if average else steps
        losses: list[Tensor] = []

        for i, (client, count) in enumerate(zip(self.clients.tolist(), steps.tolist(), strict=True)):
            rows = tuple(s[i : i + 1] for s in starts)
            extra = tuple(c[i : i + 1] for c in context)
            row_mean, row_scatter = rows[0], scatter[i : i + 1]
            loss_sum = torch.zeros((), dtype=torch.float64, device=first.device)
            before, grad = self.counts.gradients, ClientGradient(self, client, self.first_step)
            for number in range(count):
                grad.step, grad.loss = self.first_step + number, None
                new = step(rows if isinstance(start, tuple) else rows[0], grad, *extra)
                rows = new if isinstance(new, tuple) else (new,)
                if grad.loss is not None:
                    loss_sum += grad.loss
                    self.counts.steps[i] += 1
                if variance:
                    row_mean, row_scatter = scatter_update(row_mean, row_scatter, number + 2, rows[0])
                if average and averages is not None:
                    own = averages[i : i + 1]
                    own.copy_(average_update(own, rows[average.place], number + 1 - skip[i : i + 1]))
            for end, row in zip(ends, rows, strict=True):
                end[i] = row[0]
            if variance and mean is not None:
                mean[i], scatter[i] = row_mean[0], row_scatter[0]
            losses.append(loss_sum)
            self.counts.each[i] += self.counts.gradients - before

        if losses:
            self.counts.loss += torch.stack(losses)
        self._note_divergence(ends, losses)
        return Local(
            ends if isinstance(start, tuple) else ends[0], mean, scatter if variance else None, steps + 1, averages
        )

    def _note_divergence(self, ends: tuple[Tensor, ...], losses: list[Tensor]) -> None:
        """Whether every loss and parameter is finite, asked once a local training."""
        finite = torch.stack([rows.isfinite().flatten(1).all(1) for rows in ends]).all(0)
        if losses:
            finite &= torch.stack(losses).isfinite()
        if not finite.all():
            lost = int(self.clients[~finite].min())
            self.counts.diverged = lost if self.counts.diverged < 0 else min(self.counts.diverged, lost)
