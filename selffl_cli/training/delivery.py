"""Delivery: after the last round every client makes its personal model once more, from the finished state.

It is what a phone gets when training ends and it downloads the model. The server learns nothing of it, the kept models
and every row of the client store stay as the last round left them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine.cohort import Cohort, Delivery, State
from ..engine.evaluation import Sums, evaluate_global, no_sums, units
from ..engine.hearing import Hearing
from ..engine.parallel.collective import Collective, Dealt
from ..engine.stacked.engine import LEAST
from ..engine.store import ClientStore
from .federation import Federation, of_newcomers
from .judge import Judge


@dataclass
class Delivered:
    """What a delivery found: scores of the judged clients, its cost, and models that were not finite."""

    sums: Sums  # {part: [2, E]}
    gradients: np.ndarray  # batch gradients of each client, 0 for those that were not delivered [M]
    findings: dict[str, Any]  # what the method asked of all clients and learnt, {} of most methods
    evidence: np.ndarray  # batch gradients that its questions cost each client [M]
    lost: int  # clients whose delivered model was not finite and is the global one instead


def handed(federation: Federation) -> State:
    """The finished state as clients meet it: one that never took part has the rows that `init` makes of theta.

    Of a method without a global model these are the rows of the start.
    """
    theta = federation.method.global_(federation.state)
    fresh = ClientStore(federation.shards.num_clients, federation.model.device)
    federation.method.init(federation.model.start if theta is None else theta, fresh)
    return State(dict(federation.state.server), federation.store.handing(fresh.initial))


def heard(federation: Federation, judge: Judge, collective: Collective, spent: int) -> tuple[State, Hearing]:
    """The state that models are delivered from, after the method has asked the clients what it wants to know.

    spent: batch gradients of the training.
    """
    state = handed(federation)
    train, stacked = federation.config.train, federation.stacked is not None

    def cohort(clients: np.ndarray) -> Cohort:
        made = federation.cohort(clients, federation.rounds + 1, Collective(), state.clients)
        made.delivery = Delivery(average=train.delivery_average == "iterates")
        return made

    hearing = Hearing(
        federation.pool, federation.parts["train"].sizes, federation.config.seed, federation.model.head_mask(),
        spent / max(len(federation.pool), 1), collective, cohort, judge.chunks, LEAST if stacked else 1,
    )  # fmt: skip
    return federation.method.hear(state, hearing), hearing


def make(
    federation: Federation, state: State, clients: np.ndarray, rounds: int, average: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Delivered models of `clients`: their ids in the engine's order [C], rows [C, P], and gradients each [C]."""
    method, delivery = federation.method, Delivery()
    spent = torch.zeros(len(clients), dtype=torch.float64)
    rounds = rounds if method.carries else 1
    for number in range(1, rounds + 1):
        cohort = federation.cohort(clients, federation.rounds + number, Collective(), state.clients)
        delivery.average = average and number == rounds
        cohort.delivery = delivery
        rows = method.deliver(state, cohort)
        spent += cohort.counts.each.cpu()
    return cohort.clients, rows, spent


def deliver(federation: Federation, judge: Judge, collective: Collective, spent: int = 0) -> Delivered:
    """Deliver to the judged clients, or to all where models are kept, and score what they got.

    spent: batch gradients of the training.
    """
    train, clients = federation.config.train, judge.clients
    if federation.delivered is not None:
        clients = np.arange(federation.shards.num_clients)
    state, hearing = heard(federation, judge, collective, spent)
    federation.state.server |= state.server  # clients that never trained are delivered to from it too
    theta = federation.method.global_(federation.state)
    instead = federation.model.start if theta is None else theta
    sums: Sums = no_sums(federation.model, judge.parts, len(judge.clients))
    gradients, lost = np.zeros(federation.shards.num_clients, np.int64), 0
    dealt = Dealt(clients, np.ones(len(clients)), collective, LEAST if federation.stacked is not None else 1)
    for chunk in judge.chunks(dealt):
        ids, rows, cost = make(federation, state, chunk, train.delivery_rounds, train.delivery_average == "iterates")
        finite = rows.isfinite().all(1)
        lost += int((~finite).sum())
        rows = torch.where(finite[:, None], rows, instead)
        order = ids.cpu().numpy()
        gradients[order] = cost.numpy()
        if federation.delivered is not None:
            federation.delivered[ids.cpu()] = rows.cpu()
        judged = np.isin(order, judge.clients)
        places = np.searchsorted(judge.clients, order[judged])
        judge.add_scores(rows[torch.as_tensor(judged, device=rows.device)], places, judge.parts, sums)
    if federation.delivered is not None:
        dealt.share_table(federation.delivered)
    added = {name: collective.add_up(torch.from_numpy(values)).numpy() for name, values in sums.items()}
    counts = collective.add_up(torch.from_numpy(gradients)).numpy()
    lost = int(collective.add_up(torch.tensor([lost]))[0])
    return Delivered(added, counts, hearing.findings, hearing.gradients, lost)


def judge_newcomers(federation: Federation, judge: Judge) -> dict[str, Any]:
    """Test figures of clients that never trained: the global model, and models delivered to them from the finished
    state, by one round and its last iterate ("personal") and as `[train]` asks ("delivered")."""
    train, clients = federation.config.train, judge.roles.new_sample
    part, places = of_newcomers(judge.roles, federation.parts["test"])
    times = units(federation.task, part, federation.model.metrics)
    figures: dict[str, Any] = {}
    theta = federation.method.global_(federation.state)
    if theta is not None:
        shared = evaluate_global(federation.model, theta, {"test": part}, Collective())["test"]
        figures["global"] = judge.summary(shared, times, places)
    state, at = handed(federation), np.full(federation.shards.num_clients, -1)
    at[clients] = places
    least = LEAST if federation.stacked is not None else 1
    kinds = {"personal": (1, False)}
    if train.delivery_rounds:
        kinds["delivered"] = (train.delivery_rounds, train.delivery_average == "iterates")
    for kind, (rounds, average) in kinds.items():
        own = no_sums(federation.model, ["test"], len(part.sizes))
        for chunk in judge.chunks(Dealt(clients, np.ones(len(clients)), Collective(), least)):
            ids, rows, _ = make(federation, state, chunk, rounds, average)
            judge.add_scores(rows, at[ids.cpu().numpy()], {"test": part}, own)
        figures[kind] = judge.summary(own["test"], times, places)
    return figures
