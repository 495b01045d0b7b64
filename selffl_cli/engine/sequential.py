"""The sequential engine: one client after another in plain PyTorch. The oracle that every other engine must equal."""

from __future__ import annotations

import torch
from torch import Tensor

from .cohort import Cohort, LastIterates, Local, Params, Step, average_update, scatter_update


class SequentialCohort(Cohort):
    """Trains its clients in a loop; a row of a matrix [C, P] is handed to the step as a matrix [1, P]."""

    def _grad_row(self, row: Tensor, client: int, stream: str, step: int) -> tuple[Tensor, Tensor]:
        if self.private is not None:
            gradient, loss, drawn = self.private(self.model, self.data, row[0], client, stream, step)
            self.counts.gradients += 1
            self.counts.samples += drawn
            return gradient[None], loss
        indices = self.batches.indices(stream, client, step)
        x, y = self.data.client(client, indices)
        self.counts.gradients += 1
        self.counts.samples += len(y)
        gradient, loss = self.model.gradient(row[0], x, y)
        return gradient[None], loss

    def grad(self, params: Tensor, stream: str = "local", step: int = 0) -> Tensor:
        self.counts.each += 1
        rows = [
            self._grad_row(params[i : i + 1], client, stream, step)[0] for i, client in enumerate(self.clients.tolist())
        ]
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
            before = self.counts.gradients
            for number in range(count):
                seen: list[Tensor] = []

                def grad(
                    params: Tensor,
                    stream: str = "local",
                    client: int = client,
                    number: int = number,
                    seen: list[Tensor] = seen,
                ) -> Tensor:
                    gradient, loss = self._grad_row(params, client, stream, self.first_step + number)
                    if stream == "local":
                        seen.append(loss)
                    return gradient

                new = step(rows if isinstance(start, tuple) else rows[0], grad, *extra)
                rows = new if isinstance(new, tuple) else (new,)
                if seen:
                    loss_sum += seen[0]
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

        finite = torch.stack([rows.isfinite().flatten(1).all(1) for rows in ends]).all(0)
        if losses:
            totals = torch.stack(losses)
            finite &= totals.isfinite()
            self.counts.loss += totals
        if not finite.all():
            lost = int(self.clients[~finite].min())
            self.counts.diverged = lost if self.counts.diverged < 0 else min(self.counts.diverged, lost)
        return Local(
            ends if isinstance(start, tuple) else ends[0], mean, scatter if variance else None, steps + 1, averages
        )
