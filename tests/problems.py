"""Small problems in float64 to try methods on: a cohort in memory, or a whole training on shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selffl_cli import methods, models
from selffl_cli.config.experiment import TrainConfig
from selffl_cli.config.run import ENGINE_VERSION, RunConfig
from selffl_cli.engine.cohort import RoundConfig, State, Truth
from selffl_cli.engine.flat import DevicePart, FlatModel
from selffl_cli.engine.parallel.collective import Collective
from selffl_cli.engine.sequential import SequentialCohort
from selffl_cli.engine.store import ClientStore
from selffl_cli.methods.base import Method
from selffl_cli.models.task import TASKS
from selffl_cli.shards import Part, ShardData, Shards, write_shards
from selffl_cli.training.loop import Controls, Training

CPU = torch.device("cpu")
# clients 0 to 5 in four rounds; client 4 never takes part, client 3 once, late
CHOSEN = [[0, 2, 5], [1, 2], [0, 1, 5], [2, 3, 5]]


class TwoParameters(nn.Module):
    """Logistic regression without bias on two inputs: logit = body x_0 + top x_1; `top` is the head."""

    def __init__(self, body: float, top: float, head: tuple[str, ...] = ("top",)) -> None:
        super().__init__()
        self.body, self.top = nn.Parameter(torch.tensor(body)), nn.Parameter(torch.tensor(top))
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """x [B, 2] → logits [B, 1]."""
        return (self.body * x[:, 0] + self.top * x[:, 1])[:, None]


@dataclass
class Problem:
    """Clients' training data in memory, a model and FedAvg's budget; results are in order of the client."""

    module: nn.Module
    x: list[np.ndarray]  # one array a client [n_m, …]
    y: list[np.ndarray]
    budget: Sequence[int]  # FedAvg's local steps of each client
    learning_rate: float = 0.1
    batch_size: int | None = None  # None = full batches
    seed: int = 0
    task: str = "classification"
    truth: Truth | None = None

    def __post_init__(self) -> None:
        self.model = FlatModel(self.module, TASKS[self.task], CPU, torch.float64)
        arrays = {name: torch.from_numpy(np.concatenate(getattr(self, name))) for name in ("x", "y")}
        offsets = np.concatenate([[0], np.cumsum([len(y) for y in self.y])])
        self.data = DevicePart(Part(arrays, offsets), CPU, torch.float64)

    def method(self, name: str, **options: Any) -> tuple[Method, State]:
        """A method by its registered name (or NAME-w, NAME-e), and its state at the start."""
        method = methods.build(methods.resolve(name, options)[0])
        return method, method.init(self.model.start, ClientStore(len(self.x)))

    def cohort(self, state: State, clients: Sequence[int] | None = None, round_: int = 1) -> SequentialCohort:
        """These clients (all unless told) in one round."""
        ids = np.arange(len(self.x)) if clients is None else np.array(clients, dtype=np.int64)
        return SequentialCohort(
            self.model, self.data, state.clients, Collective(), ids, np.array(self.budget), self.config(round_)
        )

    def config(self, round_: int) -> RoundConfig:
        """What the cohorts of a round have in common."""
        return RoundConfig(self.seed, round_, self.batch_size, self.learning_rate, self.truth)

    @torch.no_grad()
    def round(
        self, method: Method, state: State, round_: int, clients: Sequence[int] | None = None
    ) -> tuple[State, SequentialCohort]:
        """One round as the training loop does it, and the cohort with what was counted."""
        cohort = self.cohort(state, clients, round_)
        return method.round(state, cohort), cohort

    def train(
        self, name: str, rounds: int = 1, chosen: Sequence[Sequence[int]] | None = None, **options: Any
    ) -> tuple[Method, State]:
        """`rounds` rounds of a method; `chosen` are the clients of each round (all unless told)."""
        method, state = self.method(name, **options)
        for round_ in range(1, rounds + 1):
            state, _ = self.round(method, state, round_, None if chosen is None else chosen[round_ - 1])
        return method, state

    @torch.no_grad()
    def personal(self, method: Method, state: State, round_: int = 1) -> np.ndarray:
        """Every client's personal model [M, P]."""
        cohort = self.cohort(state, None, round_)
        rows = method.personal(state, cohort)
        return rows[torch.argsort(cohort.clients)].numpy()


def logistic(clients: int = 4, seed: int = 0, budget: Sequence[int] | None = None, **options: Any) -> Problem:
    """Two-parameter logistic regression, different for each client; 5 to 12 samples a client."""
    rng = np.random.default_rng(seed)
    x = [rng.normal(size=(int(rng.integers(5, 13)), 2)) for _ in range(clients)]
    y = [(rows @ rng.normal(size=2) + 0.5 * rng.normal(size=len(rows)) > 0).astype(np.int64) for rows in x]
    head = options.pop("head", ("top",))
    return Problem(TwoParameters(0.3, -0.2, head), x, y, budget or [2, 3, 1, 4, 2, 3][:clients], **options)


def mlp(clients: int = 6, seed: int = 0, budget: Sequence[int] | None = None, **options: Any) -> Problem:
    """4 inputs, 5 hidden units and 3 classes (P = 43), with label skew; 6 to 15 samples a client."""
    from selffl_cli.models.mlp import MLP

    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(3, 4))
    y = [rng.choice(3, int(rng.integers(6, 16)), p=rng.dirichlet([0.5] * 3)) for _ in range(clients)]
    x = [centres[labels] + rng.normal(size=(len(labels), 4)) for labels in y]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = MLP(4, [5], 3).double()
    return Problem(module, x, y, budget or [2, 3, 1, 4, 2, 3][:clients], **options)


def class_shards(folder: Path, clients: int = 6, seed: int = 0, samples: int = 12) -> Shards:
    """Shards of 4 inputs and 3 classes; a client has `samples` to train on, 4 to validate, 5 to test."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(3, 4))
    each = samples + 9
    client = np.repeat(np.arange(clients), each)
    part = np.tile([0] * samples + [1] * 4 + [2] * 5, clients)
    y = np.concatenate([rng.choice(3, each, p=rng.dirichlet([0.5] * 3)) for _ in range(clients)])
    x = centres[y] + rng.normal(size=(len(y), 4))
    names = [f"client {index}" for index in range(clients)]
    arrays, classes = {"x": x, "y": y}, ["a", "b", "c"]
    data = ShardData("blobs", "natural", "classification", arrays, client, part, names, classes)
    write_shards(folder, data)
    return Shards.open(folder)


def gaussian_shards(
    folder: Path, clients: int = 8, dimension: int = 3, s0: float = 1.0, s: Sequence[float] | float = 1.0,
    seed: int = 0,
) -> Shards:  # fmt: skip
    """The two-level Gaussian as `prepare gaussian` writes it: z_m to train on, theta_m as test."""
    rng = np.random.default_rng(seed)
    variance = np.broadcast_to(np.asarray(s, dtype=np.float64), (clients,)).copy()
    centre = rng.normal(size=dimension)
    theta = centre + np.sqrt(s0) * rng.normal(size=(clients, dimension))
    z = theta + np.sqrt(variance)[:, None] * rng.normal(size=theta.shape)
    data = ShardData(
        "gaussian", "natural", "gaussian", {"x": np.concatenate([z, theta]), "y": np.tile(variance, 2)},
        np.tile(np.arange(clients), 2), np.repeat([0, 2], clients), [str(index) for index in range(clients)],
        shared={"theta_0": centre}, client_columns={"variance": variance}, notes={"s0": s0},
    )  # fmt: skip
    write_shards(folder, data)
    return Shards.open(folder)


def training(
    folder: Path, shards: Shards, method: str, options: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None, seed: int = 0, controls: Controls | None = None, **train: Any,
) -> Training:  # fmt: skip
    """A whole run on shards, float64 and full batches unless `train` says otherwise."""
    resolved, version = methods.resolve(method, options or {})
    default = {"name": "location"} if shards.manifest.task == "gaussian" else {"name": "mlp", "hidden": [5]}
    architecture, model_version = models.resolve(model or default)
    settings = {"dtype": "float64", "batch_size": "full", "rounds": 3, "eval_every": 1, **train}
    config = RunConfig(
        experiment="test", label=method, seed=seed, data={"name": shards.manifest.name, "hash": shards.hash},
        model=architecture, train=TrainConfig(**settings), method=resolved,
        versions={"engine": ENGINE_VERSION, "model": model_version, "method": version},
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    return Training(config, shards, folder, None, controls or Controls())
