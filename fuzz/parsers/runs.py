"""Run folders: record, metrics, result, tables, models and checkpoints, as `report`, `eval` and `train` read them."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selffl_cli import methods, models
from selffl_cli.config.experiment import Experiment, TrainConfig
from selffl_cli.config.run import ENGINE_VERSION, RunConfig
from selffl_cli.files.checksums import seal
from selffl_cli.finished.run import FinishedRun
from selffl_cli.planning.tuning import FILE as TUNING
from selffl_cli.planning.tuning import tuned
from selffl_cli.report.collect import collect
from selffl_cli.runs.checkpoint import Checkpoints, Saved
from selffl_cli.runs.folder import FILES as VOUCHED
from selffl_cli.runs.folder import RunFolder
from selffl_cli.runs.models import global_model
from selffl_cli.shards import Shards, sha256
from selffl_cli.training.loop import Controls, Training

from ..parser import Parser
from . import shards

RUN = "runs/toy/run"
EXPERIMENT = Experiment(
    name="toy",
    data={"name": "toy"},
    model={"name": "softmax"},
    methods={"actperfl": {}},
    tuning={"seed": 9, "rounds": 1, "grids": {"actperfl": {"max_steps": [1.0, 2.0]}}},
)


def _training(folder: Path) -> Training:
    data = Shards.open(folder / "shards")
    method, version = methods.resolve("actperfl", {"intra": "across-rounds"})
    model, model_version = models.resolve({"name": "softmax"})
    record = {
        "name": "toy",
        "hash": data.hash,
        "path": str(folder / "shards"),
        "partition": "natural",
        "clients": 5,
        "arguments": {},
    }
    config = RunConfig(
        experiment="toy",
        label="actperfl",
        seed=0,
        data=record,
        model=model,
        train=TrainConfig(rounds=2, eval_every=1),
        method=method,
        versions={"engine": ENGINE_VERSION, "model": model_version, "method": version},
    )
    torch.set_num_threads(1)
    return Training(config, data, folder / RUN, None, Controls())


@lru_cache(maxsize=1)
def _made() -> Path:
    """A finished run, and beside it the checkpoint of one that was stopped; made once."""
    folder = Path(tempfile.mkdtemp(prefix="selffl-fuzz-"))
    shards.make(folder)
    run = _training(folder)
    run.run()
    saved = Saved(2, 0, vars(run.totals), hashlib.sha256(b"").hexdigest())
    Checkpoints(folder / RUN / "checkpoint").save(run.state, np.arange(run.shards.num_clients), saved)
    tried = {
        "seed": 9,
        "rounds": 1,
        "score": "personal",
        "part": "validation",
        "chosen": {"actperfl": {"max_steps": 2.0}},
        "trials": [{"label": "actperfl", "options": {"max_steps": 2.0}, "run": "x", "score": 0.5}],
    }
    (folder / "runs" / "toy" / TUNING).write_text(json.dumps(tried))
    return folder


def make(folder: Path) -> None:
    shutil.copytree(_made(), folder, dirs_exist_ok=True)


def mend(folder: Path) -> None:
    """A result that vouches for the files as they are now."""
    result = folder / RUN / "result.json"
    try:
        content = json.loads(result.read_text())
        content["files"] = {name: sha256(folder / RUN / name) for name in VOUCHED if (folder / RUN / name).exists()}
        result.write_text(json.dumps(seal({key: value for key, value in content.items() if key != "sha256"})))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return


def report(folder: Path) -> object:
    results = collect(tuned(EXPERIMENT, folder / "runs"), folder / "runs", include=True)  # whatever the TOML states
    return [(run.folder.environment, run.judged_clients().describe()) for run in results.runs]


def score(folder: Path) -> object:
    run = RunFolder.open(folder / RUN)
    return FinishedRun.open(run.path, folder / "shards").summaries(["test"])


def start(folder: Path) -> object:
    """--init: a run's models as another's start."""
    data = Shards.open(folder / "shards")
    training = _training(folder)
    return Training(
        training.config, data, folder / "again", global_model(folder / RUN / "models.safetensors"), Controls()
    )


def resume(folder: Path) -> object:
    training = _training(folder)
    checkpoints = Checkpoints(folder / RUN / "checkpoint")
    found = checkpoints.load(training.state)
    checkpoints.tidy()
    return found


def mend_checkpoint(folder: Path) -> None:
    """Manifests that vouch for their files as they are now."""
    for path in (folder / RUN / "checkpoint").glob("manifest-*.json"):
        try:
            content: dict[str, Any] = json.loads(path.read_text())
            content["server"]["sha256"] = sha256(path.with_name(content["server"]["file"]))
            path.write_text(json.dumps(seal({key: value for key, value in content.items() if key != "sha256"})))
        except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
            continue


PARSERS = [
    Parser("run-record", make, f"{RUN}/run.toml", report, mend, words=("[train]", "label", '"../x"')),
    Parser("run-record-scored", make, f"{RUN}/run.toml", score, mend, words=('"mlp"', "hidden = [3]")),
    Parser("run-result", make, f"{RUN}/result.json", report, mend, words=('"diverged"', '"final"')),
    Parser("run-environment", make, f"{RUN}/environment.json", report, mend),
    Parser("run-metrics", make, f"{RUN}/metrics.jsonl", report, mend, words=('"eval"', '"per_client"')),
    Parser("run-clients", make, f"{RUN}/clients.parquet", report, mend),
    Parser("run-models", make, f"{RUN}/models.safetensors", score, mend, words=('"layout"', '"I64"')),
    Parser("run-start", make, f"{RUN}/models.safetensors", start, mend, words=('"global/', '"F16"')),
    Parser("checkpoint", make, f"{RUN}/checkpoint/manifest-0000002.json", resume, mend_checkpoint),
    Parser("checkpoint-server", make, f"{RUN}/checkpoint/server-0000002.safetensors", resume, mend_checkpoint),
    Parser("tuning", make, f"runs/toy/{TUNING}", report, words=('"chosen"', '"max_steps"')),
]
