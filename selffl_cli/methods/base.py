"""The contract of a method: pure functions over explicit state. The loop over clients belongs to the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from ..config.validation import Strict
from ..engine.cohort import Cohort, State, Weighting
from ..engine.hearing import Hearing
from ..engine.store import ClientStore

StepCount = Annotated[int, Field(ge=1)] | Literal["budget"]  # local steps; "budget" = as many as FedAvg takes


OptionsT = TypeVar("OptionsT", bound=Strict)


class Options(Strict):
    """A method without options."""


class Weighted(Strict):
    """Options of a method that averages models."""

    weighting: Weighting = Field("samples", description="average by samples (-w) or equally (-e)")


class Method(ABC, Generic[OptionsT]):
    """One way to train global and personal models."""

    idea: ClassVar[str] = ""  # one line
    paper: ClassVar[str] = ""
    per_client: ClassVar[str] = ""  # what each client keeps between rounds
    version: ClassVar[int] = 1  # raised when the same options give other numbers
    options_type: ClassVar[type[Strict]] = Options
    carries: ClassVar[bool] = False  # whether one delivery round goes on from the one before
    # what the rest of the package asks of a method
    has_global: ClassVar[bool] = True
    sends: ClassVar[bool] = True  # whether anything leaves a client at all
    averages: ClassVar[bool] = False  # all that leaves clients is an average of models: user-level privacy covers it
    gradients_per_step: ClassVar[int | None] = None  # of a local step, and none outside; None = not known beforehand
    trains_when_scored: ClassVar[bool] = False  # makes personal models by steps that no count has
    hears: ClassVar[bool] = False  # asks all clients something after the last round (`hear`): needs a delivery
    remarks: ClassVar[Mapping[str, str]] = {}  # {section of the report: what a reader must know of this method there}

    @classmethod
    def traits(cls) -> dict[str, Any]:
        """What a run's result keeps of the above for its report."""
        return {"trains_when_scored": cls.trains_when_scored, "remarks": dict(cls.remarks)}

    def __init__(self, options: OptionsT) -> None:
        self.options = options

    @abstractmethod
    def init(self, theta: Tensor, clients: ClientStore) -> State:
        """State before the first round, from the shared start theta [P]. Adds the tables the method needs."""

    @abstractmethod
    def round(self, state: State, cohort: Cohort) -> State:
        """Train the cohort and form the new state."""

    @abstractmethod
    def personal(self, state: State, cohort: Cohort) -> Tensor:
        """Personal models of the cohort's clients [C, P]; may train on their training data, changes no state."""

    def hear(self, state: State, hearing: Hearing) -> State:
        """The state that models are delivered from, once the last round is over; what the server learns of all clients.

        Called before a delivery alone, the same on every rank. A method whose class says `hears` asks here.
        """
        return state

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        """Models that the clients get when training has ended [C, P], by the client's own rule once more.

        It reads `state` and writes nothing of it, and calls neither `cohort.sum` nor `cohort.gather`, so that a
        client's model does not depend on who is delivered with it. What the next delivery round goes on from stands
        in `cohort.delivery.rows`. A method that says nothing else delivers its personal models.
        """
        return self.personal(state, cohort)

    @abstractmethod
    def global_(self, state: State) -> Tensor | None:
        """The global model [P], or None for a method that has none."""

    def traffic(self, size: int, head: int) -> tuple[int, int]:
        """Numbers sent down to and up from each participant of a round; of `size` parameters `head` are the head's."""
        return size, size


class Federated(Method[OptionsT]):
    """A method with a global model; its clients keep their models after their last local training."""

    def init(self, theta: Tensor, clients: ClientStore) -> State:
        clients.add("theta", theta)
        return State({"theta": theta.clone()}, clients)

    def personal(self, state: State, cohort: Cohort) -> Tensor:
        return last_personal(state, cohort)

    def global_(self, state: State) -> Tensor:
        return state.server["theta"]


def step_count(wanted: int | Literal["budget"], cohort: Cohort) -> Tensor:
    """Local steps of the cohort's clients [C]: the same for all, or each client's own budget."""
    return cohort.budget if wanted == "budget" else torch.full_like(cohort.budget, wanted)


def last_personal(state: State, cohort: Cohort) -> Tensor:
    """Each client's model after its last local training; the global model for one that never took part [C, P]."""
    seen = state.clients.has("theta", cohort.clients)[:, None]
    return torch.where(seen, state.clients.read("theta", cohort.clients), state.server["theta"])
