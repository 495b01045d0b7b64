"""pfl-research's simulated backend on a workload; two processes by torchrun, clients dealt by their samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from workloads import Job, loss_of, rank

# torch 2.13 dropped this alias of ReduceOp, which pfl 0.6.0 still reads
if not hasattr(torch.distributed, "reduce_op"):
    torch.distributed.reduce_op = torch.distributed.ReduceOp


def main() -> None:
    job = Job.from_command_line()
    network = job.model()
    network.loss = lambda x, y: loss_of(network(x), y)
    network.metrics = lambda x, y: {"loss": Weighted(float(loss_of(network(x), y)) * len(y), len(y))}
    current = {"round": 1}

    def clients() -> Iterator[int]:
        round_ = 1
        while True:
            yield from job.chosen(round_).tolist()
            round_ += 1

    def dataset(client: int) -> Dataset:
        return Dataset(job.shuffled(current["round"], client), user_id=client)

    class Watch(TrainingProcessCallback):
        def after_central_iteration(
            self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
        ) -> tuple[bool, Metrics]:
            current["round"] += 1
            if rank() == 0:
                job.finished(central_iteration + 1)
            return False, Metrics()

    np.random.seed(job.workload.seed)
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(job.trained(network), 1.0))
    weights = {client: int(size) for client, size in enumerate(job.sizes)}
    stream = clients()
    data = FederatedDataset(dataset, lambda: next(stream), weights)
    backend = SimulatedBackend(training_data=data, val_data=data, postprocessors=[WeightByDatapoints()])
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=job.rounds, evaluation_frequency=10**9, train_cohort_size=job.workload.cohort,
            val_cohort_size=None,
        ),
        backend=backend,
        model=model,
        model_train_params=NNTrainHyperParams(
            local_batch_size=job.workload.batch, local_num_epochs=1, local_learning_rate=job.workload.learning_rate
        ),
        callbacks=[Watch()],
        send_metrics_to_platform=False,
    )  # fmt: skip
    if rank() == 0:
        job.save(network)


if __name__ == "__main__":
    main()
