"""Scores of a run's models: every client's in each evaluation, and at the end those of clients that never trained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .engine.cohort import State
from .engine.collective import Collective, Dealt
from .engine.evaluation import Sums, chunks, evaluate_global, evaluate_rows, summary, units
from .engine.store import ClientStore

if TYPE_CHECKING:
    from .training import Training


class Judge:
    """Scores the models of a training as it stands."""

    def __init__(self, training: Training) -> None:
        self.training = training
        parts = {**training.scored, "test": training.parts["test"]}
        self.units = {name: units(training.task, part) for name, part in parts.items()}

    def evaluate(self, round_: int, collective: Collective) -> dict[str, Sums]:
        """Score the global and every personal model on the parts asked for: {"global"|"personal": {part: [2, M]}}."""
        training, parts = self.training, self.training.scored
        sums: dict[str, Sums] = {}
        theta = training.method.global_(training.state)
        if theta is not None:
            sums["global"] = evaluate_global(training.model, theta, parts, collective)
        clients = training.shards.num_clients
        work = sum((part.sizes for part in parts.values()), np.zeros(clients))
        own: Sums = {name: np.zeros((2, clients)) for name in parts}
        dealt = Dealt(np.arange(clients), work, collective)
        final = training.kept is not None and round_ == training.rounds
        for chunk in chunks(dealt):
            # personalising sees the training part alone, and talks to nobody
            cohort = training.cohort(chunk, round_, Collective())
            rows = training.method.personal(training.state, cohort)
            evaluate_rows(training.model, rows, cohort.clients.cpu().numpy(), parts, own)
            if training.kept is not None and final:
                training.kept[cohort.clients.cpu()] = rows.cpu()
        if training.kept is not None and final:
            dealt.share_table(training.kept)
        sums["personal"] = {name: collective.add_up(torch.from_numpy(value)).numpy() for name, value in own.items()}
        return sums

    def summaries(self, sums: dict[str, Sums]) -> dict[str, Any]:
        """{part: {"global"|"personal": figures}} from per-client sums, over all clients but the new ones."""
        return {
            part: {kind: self._summary(own[part], part, self.training.judged) for kind, own in sums.items()}
            for part, data in self.training.scored.items()
            if data.sizes[self.training.judged].any()
        }

    def _summary(self, sums: np.ndarray, part: str, clients: np.ndarray) -> dict[str, float | None]:
        figures = summary(sums[:, clients], self.units[part][clients], self.training.task)
        return {name: finite(value) for name, value in figures.items()}

    def newcomers(self) -> dict[str, Any]:
        """Test figures of clients that never trained: the global model, and after one round of the method's own
        local training on their training data, from the finished global model; the server learns nothing of it."""
        training, method = self.training, self.training.method
        clients = training.shards.num_clients
        test, theta = {"test": training.parts["test"]}, method.global_(training.state)
        own: Sums = {"test": np.zeros((2, clients))}
        figures: dict[str, Any] = {}
        if theta is not None:
            shared = evaluate_global(training.model, theta, test, Collective())["test"]
            figures["global"] = self._summary(shared, "test", training.newcomers)
        scratch = ClientStore(clients, training.model.device)
        method.init(training.model.start if theta is None else theta, scratch)  # what a newcomer would be handed
        state = State(dict(training.state.server), scratch)
        for client in training.newcomers:
            cohort = training.cohort(np.array([client]), training.config.train.rounds + 1, Collective(), scratch)
            trained = method.round(state, cohort)
            rows = method.personal(State(state.server, trained.clients), cohort)
            evaluate_rows(training.model, rows, np.array([client]), test, own)
        figures["personal"] = self._summary(own["test"], "test", training.newcomers)
        return figures


def finite(value: float) -> float | None:
    """JSON has no infinity and no NaN: None stands for both."""
    return value if math.isfinite(value) else None
