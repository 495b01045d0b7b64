"""Who is compared, and the command that runs each on a workload's folder."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from workloads import Job, Workload

from selffl_cli.shards import ShardData, write_shards

HERE = Path(__file__).resolve().parent
OURS = "selffl"


@dataclass(frozen=True)
class Contender:
    name: str
    shown: str
    processes: int
    methods: tuple[str, ...]  # those that it can run

    def python(self, venvs: Path | None) -> Path | None:
        """Its interpreter; None where it is not installed."""
        if self.name in (OURS, "loop"):
            return Path(sys.executable)
        found = venvs.absolute() / self.name / "bin" / "python" if venvs else None
        return found if found and found.exists() else None


CONTENDERS = [
    Contender(OURS, "selffl, 2 workers", 2, ("fedavg", "ditto")),
    Contender("loop", "plain PyTorch loop, 1 thread", 1, ("fedavg", "ditto")),
    Contender("pfl-research", "pfl-research 0.6.0, 2 processes", 2, ("fedavg",)),
    Contender("fluke", "fluke 0.8.1", 1, ("fedavg", "ditto")),
    Contender("flower", "Flower 1.42.0, simulation on Ray, 2 actors", 2, ("fedavg",)),
]
DRIVERS = {"loop": "plain_loop.py", "pfl-research": "pfl_research.py", "fluke": "fluke_fl.py", "flower": "flower.py"}


def command(contender: Contender, python: Path, folder: Path, rounds: int, out: Path) -> list[str]:
    if contender.name == OURS:
        return [str(python), "-m", "selffl_cli", "train", str(folder / "experiment.toml"), "--data",
                str(folder / "shards"), "--init", str(folder / "start.safetensors"), "--rounds", str(rounds),
                "--workers", str(contender.processes), "--runs", str(out), "--keep-models", "global"]  # fmt: skip
    script = [str(HERE / DRIVERS[contender.name]), str(folder), str(rounds), str(out)]
    if contender.name == "pfl-research":
        return [str(python), "-m", "torch.distributed.run", "--nproc-per-node", str(contender.processes),
                "--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", *script]  # fmt: skip
    return [str(python), *script]


def prepare_ours(folder: Path, workload: Workload) -> None:
    """The same data as shards, the same start, and the experiment, as selffl reads them."""
    job = Job(folder, 0, folder)
    arrays = job.arrays
    sizes = {part: np.diff(arrays[f"{part}_offsets"]) for part in ("train", "test")}
    ids = np.arange(len(sizes["train"]))
    images = workload.kind == "images"
    write_shards(
        folder / "shards",
        ShardData(
            name="speed", partition="natural", task="classification",
            arrays={k: np.concatenate([arrays[f"train_{k}"], arrays[f"test_{k}"]]) for k in ("x", "y")},
            client=np.concatenate([np.repeat(ids, sizes[part]) for part in ("train", "test")]),
            part=np.repeat([0, 2], [sizes["train"].sum(), sizes["test"].sum()]),
            client_names=[f"client {i}" for i in ids], classes=[str(i) for i in range(10 if images else 2)],
            shared={} if images else {"embedding": arrays["embedding"]},
        ),
        force=True,
    )  # fmt: skip
    model = 'name = "cnn"' if images else 'name = "lstm"'
    ditto = workload.method == "ditto"
    parts = '["train", "test"]' if ditto else '["test"]'
    (folder / "experiment.toml").write_text(
        f'name = "speed"\n[data]\nname = "speed"\n[model]\n{model}\n'
        f"[train]\nrounds = 10\nclients_per_round = {workload.cohort}\nlocal_epochs = 1\n"
        f"batch_size = {workload.batch}\nlearning_rate = {workload.learning_rate}\n"
        f"eval_every = {1 if ditto else 1_000_000}\neval_parts = {parts}\n[methods.{workload.method}]\n"
    )
    names = (
        [f"{place}.{kind}" for place in ("body.0", "body.3", "body.7", "output") for kind in ("weight", "bias")]
        if images
        else [name for name, p in job.model().named_parameters() if p.requires_grad]
    )
    (folder / "names.json").write_text(json.dumps(names))
    with np.load(folder / "start.npz", allow_pickle=False) as start:
        save_file({name: torch.from_numpy(start[str(i)]) for i, name in enumerate(names)}, folder / "start.safetensors")


def final_model(contender: Contender, folder: Path, out: Path) -> list[torch.Tensor]:
    """The final global model's tensors in the order of the plain network."""
    if contender.name == OURS:
        (path,) = out.glob("speed/*/models.safetensors")
        found = load_file(path)
        return [found[f"global/{name}"] for name in json.loads((folder / "names.json").read_text())]
    with np.load(out, allow_pickle=False) as values:
        return [torch.from_numpy(values[str(i)]) for i in range(len(values.files))]
