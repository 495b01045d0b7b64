"""Scores of a run's models: in each evaluation every client's, or those of a fixed sample."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine.evaluation import (
    CHUNK_BYTES,
    CHUNK_CLIENTS,
    Sums,
    chunks,
    evaluate_global,
    evaluate_rows,
    fill_from_global,
    no_sums,
    units,
)
from ..engine.evaluation import summary as over_clients
from ..engine.flat import DevicePart
from ..engine.parallel.collective import Collective, Dealt
from ..engine.score_cache import Unchanged
from ..engine.stacked.engine import LEAST
from ..engine.stacked.evaluation import evaluate_stacked
from .federation import Federation, of_scored


class Judge:
    """Scores the models of a federation as it stands."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.roles = federation.roles
        self.clients = self.roles.scored  # whose models are scored [E]
        self.metrics = (federation.task.metric, *federation.model.metrics)
        self.parts = of_scored(self.roles, federation.scored)
        self.units = {name: units(federation.task, part, federation.model.metrics) for name, part in self.parts.items()}
        self.unchanged = Unchanged(len(self.clients), list(self.parts), federation.model.scored)

    def evaluate(self, round_: int, collective: Collective) -> dict[str, Sums]:
        """Score the global and the personal models on the parts asked for: {"global"|"personal": {part: [2, E]}}."""
        federation, parts = self.federation, self.parts
        last = round_ == federation.rounds
        sums: dict[str, Sums] = {}
        theta = federation.method.global_(federation.state)
        if theta is not None:
            sums["global"] = evaluate_global(federation.model, theta, parts, collective)
        work = sum((part.sizes for part in parts.values()), np.zeros(len(self.clients)))
        own = no_sums(federation.model, parts, len(self.clients))
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
            fitting = CHUNK_BYTES // (model.size * model.vector.element_size())
            return chunks(dealt, size=max(1, min(CHUNK_CLIENTS, fitting)))
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
            part: {kind: self.summary(own[part], self.units[part], counted) for kind, own in sums.items()}
            for part, data in self.parts.items()
            if data.sizes[counted].any()
        }

    def summary(self, sums: np.ndarray, units: np.ndarray, clients: np.ndarray) -> dict[str, float | None]:
        """Figures over these clients, from the sums of each [2 + K, E] and what they count in units [1 + K, E]."""
        figures = over_clients(sums[:, clients], units[:, clients], self.federation.task, self.federation.model.metrics)
        return {name: finite(value) for name, value in figures.items()}


def finite(value: float) -> float | None:
    """JSON has no infinity and no NaN: None stands for both."""
    return value if math.isfinite(value) else None
