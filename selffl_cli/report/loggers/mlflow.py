"""MLflow: a run in the experiment of the same name, in a local folder or on a tracking server."""

from __future__ import annotations

import os
import re
from pathlib import Path

os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder is all that looking at runs needs
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from .scalars import About, Round

KEY = "selffl.run"
BATCH = 100  # parameters in a request, the most that a server takes
LONGEST = 500  # characters of a parameter
STATUS = {"finished": "FINISHED", "diverged": "FAILED", "": "RUNNING"}


class MLflow:
    def __init__(self, address: str) -> None:
        self.address = address
        self.client = MlflowClient(tracking_uri=address)

    def begin(self, run: About) -> Run:
        known = self.client.get_experiment_by_name(run.experiment)
        experiment = known.experiment_id if known else self.client.create_experiment(run.experiment)
        for former in self.client.search_runs([experiment], filter_string=f"tags.`{KEY}` = '{run.name}'"):
            self.client.delete_run(former.info.run_id)
        tags = {KEY: run.name, "method": run.label, "seed": str(run.seed)}
        made = self.client.create_run(experiment, round(1000 * run.started), tags, run.name)
        params = [Param(_key(key), str(value)[:LONGEST]) for key, value in run.settings.items()]
        for start in range(0, len(params), BATCH):
            self.client.log_batch(made.info.run_id, params=params[start : start + BATCH])
        return Run(self.client, made.info.run_id)

    def close(self) -> None:
        """Each request was answered."""

    def hint(self) -> str:
        return f"mlflow ui --backend-store-uri {self.address}"


class Run:
    def __init__(self, client: MlflowClient, name: str) -> None:
        self.client, self.name = client, name

    def write(self, round_: Round) -> None:
        time = round(1000 * round_.time)
        metrics = [Metric(_key(name), value, time, round_.number) for name, value in round_.values.items()]
        self.client.log_batch(self.name, metrics=metrics)

    def end(self, status: str) -> None:
        if status:
            self.client.log_batch(self.name, tags=[RunTag("selffl.status", status)])
            self.client.set_terminated(self.name, STATUS[status])


def _key(name: str) -> str:
    return re.sub(r"[^\w\-./ ]", "_", name)


def open_logger(where: str) -> MLflow:
    return MLflow(where if "://" in where else Path(where).resolve().as_uri())
