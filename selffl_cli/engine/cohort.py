"""The contract between methods and the engine: a cohort of clients as matrices [C, P].

A method is tensor maths on such matrices. `Cohort.local` is the one primitive that trains; `Cohort.sum` (and
`gather`, one entry a client) the only places where machines talk to each other.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from .batches import Batches
from .evaluation import sample_scores
from .flat import DevicePart, FlatModel
from .parallel.collective import Collective, Dealt
from .store import ClientStore

Params = Tensor | tuple[Tensor, ...]
# grad(params [C, P], stream) → gradients [C, P] on this step's batches of that stream ("local" is the main one)
Grad = Callable[..., Tensor]
Positions = Callable[[int], np.ndarray]  # of some of a client's training samples, by the client's id
# step(params, grad, *context) → new params
Step = Callable[..., Any]
# private(model, data, vector [P], client, stream, step) → gradient [P], loss and samples drawn
PrivateGradient = Callable[[FlatModel, DevicePart, Tensor, int, str, int], tuple[Tensor, Tensor, int]]


@dataclass
class State:
    """What a method keeps: `server` tensors, the same on every rank, and rows by client id."""

    server: dict[str, Tensor]
    clients: ClientStore


@dataclass
class Local:
    """What local training returns, row i for the cohort's client i."""

    end: Any  # Tensor [C, P], or a tuple of tensors as `start` was
    mean: Tensor | None = None  # running mean of the iterates, the start included [C, P]
    scatter: Tensor | None = None  # sum of squared distances of the iterates from their mean [C]
    count: Tensor | None = None  # number of iterates, the start included [C]
    average: Tensor | None = None  # mean of the last iterates, the start left out [C, P]


@dataclass(frozen=True)
class LastIterates:
    """Which iterates of a local training are averaged: those of one tensor, after the first `skip` steps."""

    place: int = 0  # of the tensor, where `start` is a tuple
    half: bool = True  # the last half of a client's steps, rounded up; False: all of them

    def skip(self, steps: Tensor) -> Tensor:
        """How many of each client's iterates are left out [C]."""
        return steps // 2 if self.half else torch.zeros_like(steps)


@dataclass
class Delivery:
    """How the models of a cohort are delivered: what `Method.deliver` is told, and what it carries on."""

    average: bool = True  # the mean of the last half of the iterates in place of the last one
    rows: dict[str, Tensor] = field(default_factory=dict)  # carried from one delivery round to the next [C, …]


@dataclass
class Counts:
    """What a round cost and showed; merged over ranks at its end."""

    loss: Tensor  # sum of the losses at the steps' first gradients [C]
    steps: Tensor  # local steps [C]
    each: Tensor  # batch gradients [C]
    gradients: int = 0  # batch gradients
    samples: int = 0  # samples in them
    diverged: int = -1  # a client whose loss or parameters were not finite, the lowest id; -1 = none
    revealed: dict[str, float] = field(default_factory=dict)
    per_client: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Truth:
    """The variances behind simulated data, where the shards carry them (the two-level Gaussian), by coordinate."""

    inter_variance: float  # s0
    intra_variance: Tensor  # s_m of every client [M]


@dataclass(frozen=True)
class RoundConfig:
    """What is the same for every client of a round, and with its seed and number draws the batches."""

    seed: int
    number: int  # of the round, from 1
    batch_size: int | None  # None = full batches
    learning_rate: float
    truth: Truth | None = None


class Cohort(ABC):
    """The clients of one round (or of one evaluation chunk) that this rank was dealt."""

    least = 1  # clients that a block of the cohort should have (see `Dealt`)

    def __init__(
        self,
        model: FlatModel,
        data: DevicePart,
        store: ClientStore,
        collective: Collective,
        clients: np.ndarray,
        budget: np.ndarray,
        config: RoundConfig,
    ) -> None:
        self.model, self.data, self.store = model, data, store
        self.dealt = Dealt(clients, budget[clients].astype(np.float64), collective, self.least)
        own = self.dealt.clients[self.dealt.local]
        device, dtype = model.device, model.dtype
        self.round, self.learning_rate = config.number, config.learning_rate
        self.num_clients = store.num_clients
        self.size = len(clients)  # clients of the whole cohort, over all ranks
        self.everyone = torch.as_tensor(self.dealt.clients, device=device)  # ids, in the order of `gather`
        self.clients = torch.as_tensor(own, device=device)  # ids of this rank's clients [C]
        self.samples = torch.as_tensor(data.sizes[own], device=device, dtype=dtype)  # n_m [C]
        self.budget = torch.as_tensor(budget[own], device=device)  # FedAvg's local steps [C]
        self.mean_budget = float(budget[clients].mean()) if len(clients) else 0.0
        batch_size = config.batch_size
        per_epoch = np.ones_like(own) if batch_size is None else -(-data.sizes[own] // batch_size)
        self.epoch = torch.as_tensor(np.maximum(per_epoch, 1), device=device)  # batches in one pass [C]
        self.truth = config.truth
        self.aggregation = Aggregation()
        self.private: PrivateGradient | None = None  # takes the place of plain gradients
        self.batches = Batches(config.seed, config.number, data.sizes, batch_size)
        zeros = torch.zeros(len(own), dtype=torch.float64, device=device)
        self.counts = Counts(loss=zeros, steps=zeros.clone(), each=zeros.clone())
        self.delivery = Delivery()
        self.first_step = 0  # of local training: its batches are those of the steps from here on

    def __len__(self) -> int:
        return len(self.clients)

    def spread(self, vector: Tensor) -> Tensor:
        """One row for each client, all of them `vector`: [C, P], without copying."""
        return vector.expand(len(self), *vector.shape)

    @property
    def head(self) -> Tensor:
        """True where a parameter belongs to the model's head: bool [P]."""
        return self.model.head_mask()

    @abstractmethod
    def local(
        self,
        step: Step,
        start: Params,
        steps: Tensor,
        context: tuple[Tensor, ...] = (),
        variance: bool = False,
        average: LastIterates | None = None,
    ) -> Local:
        """Apply `step` `steps[i]` times to client i's rows of `start`.

        step(params, grad, *context) gets the rows it works on: params as `start` was given (one tensor or a tuple),
        `context` sliced alike, and `grad(params, stream="local")`. With `variance` the iterates of the first tensor
        are summarised (mean and scatter, the start counted); with `average` the last ones of a tensor are averaged.
        A client that takes no step has its start as average.
        """

    def keeping(self, positions: Positions) -> Self:
        """The same clients, whose training sees those of their samples alone whose positions are given."""
        own = self.clients.tolist()
        kept = {client: positions(client) for client in own}
        view, sizes, batches = copy.copy(self), self.batches.sizes.copy(), self.batches
        sizes[own] = [len(kept[client]) for client in own]
        view.batches = Batches(batches.seed, batches.round, sizes, batches.batch_size, kept.__getitem__)
        view.samples = torch.as_tensor(sizes[own]).to(self.samples)
        per_epoch = np.ones(len(own), np.int64) if batches.batch_size is None else -(-sizes[own] // batches.batch_size)
        view.epoch = torch.as_tensor(np.maximum(per_epoch, 1)).to(self.epoch)
        return view

    def scores(self, rows: Tensor, positions: Positions) -> Tensor:
        """Sums of scores and of losses of the clients' own models, rows [C, P], on training samples of theirs whose
        positions are given: float64 [C, 2]."""
        out = torch.zeros(len(self), 2, dtype=torch.float64)
        for i, client in enumerate(self.clients.tolist()):
            own = positions(client)
            if len(own):
                out[i] = sample_scores(self.model, rows[i], *self.data.client(client, own))[:2].sum(1)
        return out

    def deliver(
        self, step: Step, start: Params, steps: Tensor, context: tuple[Tensor, ...] = (), place: int = 0
    ) -> tuple[Tensor, Any]:
        """Local training whose tensor number `place` is a personal model: its delivered rows [C, P], and the ends."""
        average = LastIterates(place) if self.delivery.average else None
        local = self.local(step, start, steps, context, average=average)
        last = local.end[place] if isinstance(start, tuple) else local.end
        return last if local.average is None else local.average, local.end

    def own(self, name: str) -> Tensor:
        """The clients' rows of a table as the delivery rounds before left them, or the store [C, …]."""
        rows = self.delivery.rows
        return rows[name] if name in rows else self.store.read(name, self.clients)

    @abstractmethod
    def grad(self, params: Tensor, stream: str = "local", step: int = 0) -> Tensor:
        """Gradients [C, P] at `params` on one batch of `stream`, outside any local loop."""

    def steps_of(self, wanted: Tensor) -> Tensor:
        """Local steps that are taken: none by a client without training samples, which has nothing to descend [C]."""
        return torch.where(self.samples > 0, wanted, 0)

    @property
    def sgd(self) -> Step:
        """The ready-made step: w - eta grad F(w)."""
        eta = self.learning_rate  # all that the step holds, so that rounds whose steps are alike can be seen to be

        def step(params: Tensor, grad: Grad) -> Tensor:
            return params - eta * grad(params)

        return step

    def sum(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """Weighted sum over the clients of all ranks; values [C, …], weights [C]."""
        return self.dealt.sum(values, weights)

    def mean(self, values: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean over the clients of all ranks; equal weights when all are zero."""
        return self.sum(values, self.shares(weights))

    def shares(self, weights: Tensor) -> Tensor:
        """Weights [C] as shares of their sum over all ranks; equal shares when all are zero."""
        total = self.sum(weights)
        if total == 0:
            weights, total = torch.ones_like(weights), self.sum(torch.ones_like(weights))
        return weights / total

    def average(self, theta: Tensor, end: Tensor, weighting: Weighting) -> Tensor:
        """The new global model [P] from the one that was sent [P] and the clients' models [C, P] of all ranks."""
        return self.aggregation(self, theta, end, weighting)

    def gather(self, values: Tensor) -> Tensor:
        """Rows of all ranks' clients [size, …] in the order of `everyone`."""
        return self.dealt.gather(values)

    def reveal(self, **figures: float | Tensor) -> None:
        """Record figures of this round (the same on every rank) in its metrics."""
        self.counts.revealed.update({name: float(value) for name, value in figures.items()})

    def reveal_clients(self, **figures: Tensor) -> None:
        """Record one figure for each client of the round: tensors [C]."""
        self.counts.per_client.update(figures)


def closure_values(step: Step) -> list[Any]:
    """What a step's function has closed over."""
    return [cell.cell_contents for cell in getattr(step, "__closure__", None) or ()]


def scatter_update(mean: Tensor, scatter: Tensor, count: int, value: Tensor) -> tuple[Tensor, Tensor]:
    """Welford's update: mean and sum of squared distances after `value` [C, P] as sample number `count`."""
    delta = value - mean
    mean = mean + delta / count
    return mean, scatter + (delta * (value - mean)).sum(-1)


def average_update(average: Tensor, value: Tensor, count: Tensor) -> Tensor:
    """The running mean [C, P] after `value` as sample number `count` [C]; below 1 it is not one of the samples."""
    count = count[:, None]
    later = average + (value - average) / count.clamp_min(1).to(value.dtype)
    return torch.where(count > 1, later, torch.where(count == 1, value, average))


Weighting = Literal["samples", "equal"]


def average_weights(weighting: Weighting, cohort: Cohort) -> Tensor:
    """Aggregation weights of the cohort's clients [C]: n_m, or all equal."""
    return cohort.samples if weighting == "samples" else torch.ones_like(cohort.samples)


class Aggregation:
    """The weighted mean over the clients that took part. Others replace it; a method need not know which."""

    def __call__(self, cohort: Cohort, theta: Tensor, end: Tensor, weighting: Weighting) -> Tensor:
        """The new global model [P] from the one that was sent, theta [P], and the clients' models `end` [C, P]."""
        return cohort.mean(end, average_weights(weighting, cohort))
