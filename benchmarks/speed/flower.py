"""Flower's simulation engine (Ray, two actors of one core) on a workload."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from workloads import Job, loss_of


@lru_cache(1)
def opened(folder: str) -> tuple[Job, Any]:
    """The data and a network, once in each actor."""
    torch.set_num_threads(1)
    job = Job(Path(folder), 0, Path())
    return job, job.model()


def client_app() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        from flower import opened  # what lives in this module, not a copy that travels with each message

        config = message.content["config"]
        job, model = opened(config["folder"])
        round_, client = int(config["server-round"]), int(config["client"])
        model.load_state_dict(message.content["arrays"].to_torch_state_dict(), strict=False)
        optimizer = torch.optim.SGD(model.parameters(), job.workload.learning_rate)
        for x, y in job.batches(round_, client):
            optimizer.zero_grad()
            loss_of(model(x), y).backward()
            optimizer.step()
        content = {"arrays": ArrayRecord(state(model)),
                   "metrics": MetricRecord({"num-examples": int(job.sizes[client])})}  # fmt: skip
        return Message(RecordDict(content), reply_to=message)

    return app


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What travels: the trained parameters, without the frozen word vectors."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


class Chosen(FedAvg):
    """FedAvg over the common clients: any node plays any client, told by its message."""

    def __init__(self, job: Job) -> None:
        super().__init__(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=job.workload.cohort)
        self.job = job

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        nodes = list(grid.get_node_ids())
        for node, client in zip(nodes, self.job.chosen(server_round).tolist(), strict=False):
            own = ConfigRecord({**config, "server-round": server_round, "client": client,
                                "folder": str(self.job.folder)})  # fmt: skip
            yield Message(RecordDict({"arrays": arrays, "config": own}), node, MessageType.TRAIN)


def server_app(job: Job) -> ServerApp:
    app = ServerApp()

    @app.main()
    def run(grid: Grid, context: Context) -> None:
        model = job.model()

        def watch(round_: int, arrays: ArrayRecord) -> MetricRecord:
            if round_:
                job.finished(round_)
            return MetricRecord()

        result = Chosen(job).start(grid, ArrayRecord(state(model)), num_rounds=job.rounds, evaluate_fn=watch)
        model.load_state_dict(result.arrays.to_torch_state_dict(), strict=False)
        job.save(model)

    return app


def main() -> None:
    job = Job.from_command_line()
    job.folder = job.folder.resolve()
    resources: dict[str, Any] = {"init_args": {"num_cpus": 2, "include_dashboard": False, "logging_level": "error"},
                                 "client_resources": {"num_cpus": 1.0, "num_gpus": 0.0}}  # fmt: skip
    run_simulation(server_app(job), client_app(), job.workload.cohort, backend_config=resources)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
