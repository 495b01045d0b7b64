"""Scores of a run's models: in each evaluation every client's or those of a fixed sample, and at the end those of
clients that never trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine.evaluation import (
    CHUNK,
    CHUNK_BYTES,
    Sums,
    chunks,
    evaluate_global,
    evaluate_rows,
    fill_from_global,
    summary,
    units,
)
from ..engine.flat import DevicePart
from ..engine.parallel.collective import Collective, Dealt
from ..engine.score_cache import Unchanged
from ..engine.stacked.engine import LEAST
from ..engine.stacked.evaluation import evaluate_stacked
from .delivery import handed, make
from .federation import Federation, of_newcomers, of_scored


class Judge:
    """Scores the models of a federation as it stands."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.roles = federation.roles
        self.clients = self.roles.scored  # whose models are scored [E]
        self.parts = of_scored(self.roles, federation.scored)
        self.units = {name: units(federation.task, part) for name, part in self.parts.items()}
        self.unchanged = Unchanged(len(self.clients), list(self.parts))

    def evaluate(self, round_: int, collective: Collective) -> dict[str, Sums]:
        """Score the global and the personal models on the parts asked for: {"global"|"personal": {part: [2, E]}}."""
        federation, parts = self.federation, self.parts
        last = round_ == federation.rounds
        sums: dict[str, Sums] = {}
        theta = federation.method.global_(federation.state)
        if theta is not None:
            sums["global"] = evaluate_global(federation.model, theta, parts, collective)
        work = sum((part.sizes for part in parts.values()), np.zeros(len(self.clients)))
        own: Sums = {name: np.zeros((2, len(self.clients))) for name in parts}
        least = LEAST if federation.stacked is not None else 1
        dealt = Dealt(self.clients, work, collective, least)
        for chunk in self.chunks(dealt):
            clients, rows = self._personal(chunk, round_, keep=last)
            self._score(rows, np.searchsorted(self.clients, clients), theta, sums.get("global", {}), own)
        if last and federation.kept is not None:
            dealt.share_table(federation.kept)
            others = np.setdiff1d(np.arange(federation.shards.num_clients), self.clients)
            dealt = Dealt(others, np.ones(len(others)), collective, least)
            for chunk in self.chunks(dealt):
                self._personal(chunk, round_, keep=True)
            dealt.share_table(federation.kept)
        sums["personal"] = {name: collective.add_up(torch.from_numpy(value)).numpy() for name, value in own.items()}
        return sums

    def chunks(self, dealt: Dealt) -> Iterator[np.ndarray]:
        """The clients whose personal models are made and scored at once; on a GPU as many as fit."""
        stacked, model = self.federation.stacked, self.federation.model
        if stacked is None:
            return chunks(dealt, size=max(1, min(CHUNK, CHUNK_BYTES // (model.size * model.vector.element_size()))))
        on_gpu = model.device.type == "cuda"
        return chunks(dealt, size=stacked.chunks.most) if on_gpu else chunks(dealt, in_blocks=True)

    def _score(self, rows: Tensor, places: np.ndarray, theta: Tensor | None, shared: Sums, own: Sums) -> None:
        """Add the scores of personal models [C, P] to `own`; those that are the global model, byte for byte, have its
        scores, and those that did not change since the last evaluation the ones they had."""
        if theta is not None:
            others = fill_from_global(rows, places, theta, shared, own)
            self.unchanged.forget(places[~others])
            rows, places = rows[torch.as_tensor(others)], places[others]
        new = self.unchanged.fill(rows, places, own)
        self.add_scores(rows[torch.as_tensor(new)], places[new], self.parts, own)
        self.unchanged.keep(places[new], own)

    def _personal(self, clients: np.ndarray, round_: int, keep: bool) -> tuple[np.ndarray, Tensor]:
        """These clients in the engine's order, and their personal models [C, P]; `keep` puts them with the kept."""
        # personalising sees the training part alone, and talks to nobody
        cohort = self.federation.cohort(clients, round_, Collective())
        rows = self.federation.method.personal(self.federation.state, cohort)
        if keep and self.federation.kept is not None:
            self.federation.kept[cohort.clients.cpu()] = rows.cpu()
        return cohort.clients.cpu().numpy(), rows

    def add_scores(self, rows: Tensor, clients: np.ndarray, parts: dict[str, DevicePart], sums: Sums) -> None:
        """Add the scores of `clients`' own models, rows [C, P], to `sums`; stacked on a GPU alone: on the CPU a
        model's scores must not depend, in any bit, on which others changed and are scored beside it."""
        federation = self.federation
        if federation.stacked is None or not rows.is_cuda:
            evaluate_rows(federation.model, rows, clients, parts, sums)
        else:
            evaluate_stacked(federation.stacked.model, rows, clients, parts, sums)

    def summaries(self, sums: dict[str, Sums]) -> dict[str, Any]:
        """{part: {"global"|"personal": figures}} from per-client sums, over the clients but the new ones."""
        counted = self.roles.counted
        return {
            part: {kind: self._summary(own[part], self.units[part], counted) for kind, own in sums.items()}
            for part, data in self.parts.items()
            if data.sizes[counted].any()
        }

    def _summary(self, sums: np.ndarray, units: np.ndarray, clients: np.ndarray) -> dict[str, float | None]:
        figures = summary(sums[:, clients], units[clients], self.federation.task)
        return {name: finite(value) for name, value in figures.items()}

    def newcomers(self) -> dict[str, Any]:
        """Test figures of clients that never trained: the global model, and models delivered to them from the finished
        state, by one round and its last iterate ("personal") and as `[train]` asks ("delivered")."""
        federation, method = self.federation, self.federation.method
        clients = self.roles.new_sample
        part, places = of_newcomers(self.roles, federation.parts["test"])
        times = units(federation.task, part)
        figures: dict[str, Any] = {}
        theta = method.global_(federation.state)
        if theta is not None:
            shared = evaluate_global(federation.model, theta, {"test": part}, Collective())["test"]
            figures["global"] = self._summary(shared, times, places)
        state, at = handed(federation), np.full(federation.shards.num_clients, -1)
        at[clients] = places
        least = LEAST if federation.stacked is not None else 1
        train = federation.config.train
        kinds = {"personal": (1, False)}
        if train.delivery_rounds:
            kinds["delivered"] = (train.delivery_rounds, train.delivery_average == "iterates")
        for kind, (rounds, average) in kinds.items():
            own: Sums = {"test": np.zeros((2, len(part.sizes)))}
            for chunk in self.chunks(Dealt(clients, np.ones(len(clients)), Collective(), least)):
                ids, rows, _ = make(federation, state, chunk, rounds, average)
                self.add_scores(rows, at[ids.cpu().numpy()], {"test": part}, own)
            figures[kind] = self._summary(own["test"], times, places)
        return figures


def finite(value: float) -> float | None:
    """JSON has no infinity and no NaN: None stands for both."""
    return value if math.isfinite(value) else None
