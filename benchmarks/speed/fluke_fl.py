"""fluke on a workload: its own clients, server and Ditto, handed our clients, batches and models."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch

# torchvision's wheel is built for CUDA and its operators do not load beside a CPU build of torch; fluke imports it for
# networks and data sets that are not used here, so that naming the two operators it annotates at import is enough.
_operators = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from fluke import DDict, FlukeENV  # noqa: E402
from fluke.algorithms import CentralizedFL  # noqa: E402
from fluke.algorithms.ditto import Ditto, DittoClient  # noqa: E402
from fluke.client import Client  # noqa: E402
from fluke.config import OptimizerConfigurator  # noqa: E402
from fluke.data import FastDataLoader  # noqa: E402
from fluke.evaluation import ClassificationEval  # noqa: E402
from fluke.server import Server  # noqa: E402
from fluke.utils import FederationObserver  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torchmetrics import Accuracy  # noqa: E402
from workloads import LAMBDA, Job, loss_of  # noqa: E402

current = {"round": 1}


class Loader(FastDataLoader):
    """A client's batches in the common order."""

    def __init__(self, job: Job, client: int) -> None:
        x, y = job.part("train", client)
        super().__init__(x, y, num_labels=10, batch_size=job.workload.batch, skip_singleton=False)
        self.job, self.client = job, client

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.job.batches(current["round"], self.client)

    def __len__(self) -> int:
        return self.n_batches


class Chosen(Server):
    """The server, with the common clients of each round."""

    job: Job

    def get_eligible_clients(self, eligible_perc: float) -> Any:
        return [self.clients[client] for client in self.job.chosen(current["round"])]


class Loss(nn.Module):
    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        return loss_of(outputs, y)


class Watch(FederationObserver):
    """Tells of rounds; for a personalised method it has every client's two models scored first."""

    def __init__(self, job: Job, algorithm: CentralizedFL) -> None:
        self.job, self.algorithm = job, algorithm
        self.loaders: list[list[FastDataLoader]] = []

    def end_round(self, round: int) -> None:
        if self.job.workload.method == "ditto":
            self._score()
        current["round"] += 1
        self.job.finished(round)

    def _score(self) -> None:
        evaluator, server = FlukeENV().get_evaluator(), self.algorithm.server
        if not self.loaders:
            self.loaders = [
                [FastDataLoader(*self.job.part(part, c), num_labels=10, batch_size=512, skip_singleton=False)
                 for part in ("train", "test")]
                for c in range(self.job.workload.clients)
            ]  # fmt: skip
        for client, loaders in zip(self.algorithm.clients, self.loaders, strict=True):
            for loader in loaders:
                evaluator.evaluate(1, server.model, loader)
                client.evaluate(evaluator, loader)


def main() -> None:
    job = Job.from_command_line()
    model, rate = job.model(), job.workload.learning_rate
    environment = FlukeENV()
    environment.set_device("cpu")
    environment.set_inmemory(True)
    environment.set_seed(job.workload.seed)
    environment.set_eval_cfg(pre_fit=False, post_fit=False, locals=False, server=False)
    environment.set_evaluator(ClassificationEval(1, 10, accuracy=Accuracy(task="multiclass", num_classes=10)))
    configurator = OptimizerConfigurator(DDict(name="SGD", lr=rate), DDict(name="StepLR", step_size=1, gamma=1))
    ditto = job.workload.method == "ditto"
    own: dict[str, Any] = {"lam": LAMBDA, "tau": 1} if ditto else {}
    loaders = [Loader(job, client) for client in range(job.workload.clients)]
    clients = [
        DittoClient(c, copy.deepcopy(model), loader, None, configurator, Loss(), local_epochs=1, **own)
        if ditto
        else Client(c, loader, None, configurator, Loss(), local_epochs=1)
        for c, loader in enumerate(loaders)
    ]
    server = Chosen(model, None, clients, weighted=True)
    server.job = job
    kind = Ditto if ditto else CentralizedFL
    algorithm = kind(len(clients), None, DDict(), clients=clients, server=server)
    algorithm.set_callbacks(Watch(job, algorithm))
    algorithm.finalize = lambda: None  # it would hand the model to every client once more
    algorithm.run(job.rounds, job.workload.cohort / job.workload.clients)
    job.save(server.model)


if __name__ == "__main__":
    main()
