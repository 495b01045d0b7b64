"""Shard folders: the manifest, the arrays and the client table, with checksums that fit what was changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from selffl_cli.shards import PARTS, ShardData, Shards, sha256, write_shards

from ..parser import Parser


def make(folder: Path, task: str = "classification") -> None:
    """Five clients of 12 samples; texts with word vectors when `task` is `words`, or the two-level Gaussian."""
    rng, clients, each = np.random.default_rng(0), 5, 12
    client, part = np.repeat(np.arange(clients), each), np.tile([0] * 7 + [1] * 2 + [2] * 3, clients)
    y = rng.integers(0, 2, len(client))
    names = [f"client {index}" for index in range(clients)]
    x, shared = rng.normal(size=(len(client), 4)), {}
    if task == "words":
        x, shared = rng.integers(0, 9, (len(client), 6)).astype(np.int32), {"embedding": rng.normal(size=(9, 3))}
    if task == "gaussian":
        data = ShardData(
            "toy",
            "natural",
            "gaussian",
            {"x": x, "y": np.ones(len(client))},
            client,
            part,
            names,
            shared={"theta_0": np.zeros(4)},
            client_columns={"variance": np.ones(clients)},
            notes={"s0": 1.0},
        )
    else:
        data = ShardData(
            "toy", "natural", "classification", {"x": x, "y": y}, client, part, names, ["a", "b"], shared=shared
        )
    write_shards(folder / "shards", data)


def read(folder: Path) -> object:
    """All that training, evaluation and `prepare` read."""
    shards = Shards.open(folder / "shards")
    parts = [shards.part(name) for name in PARTS]
    for part in parts:
        for client in range(shards.num_clients):
            part.arrays["y"][part.offsets[client] : part.offsets[client + 1]].sum()
    if "embedding" in shards.shared:
        for part in parts:
            shards.shared["embedding"][part.arrays["x"].long()].sum()
    return shards.clients.to_pylist(), shards.hash, shards.shared


def train(folder: Path) -> object:
    """One round of FedAvg on them."""
    import torch

    from selffl_cli import methods, models
    from selffl_cli.config.experiment import TrainConfig
    from selffl_cli.config.run import ENGINE_VERSION, RunConfig
    from selffl_cli.training.loop import Controls, Training

    shards = Shards.open(folder / "shards")
    gaussian = shards.manifest.task == "gaussian"
    model = models.resolve(
        {"name": "location"}
        if gaussian
        else {"name": "lstm", "hidden": 3, "layers": 1, "dense": 2}
        if "embedding" in shards.shared
        else {"name": "softmax"}
    )[0]
    config = RunConfig(
        experiment="toy",
        label="fedavg",
        seed=0,
        data={"name": shards.manifest.name, "hash": shards.hash},
        model=model,
        train=TrainConfig(rounds=1),
        method=methods.resolve("fedavg", {})[0],
        versions={"engine": ENGINE_VERSION},
    )
    torch.set_num_threads(1)
    return Training(config, shards, folder / "run", None, Controls()).run()


def mend(folder: Path) -> None:
    """A manifest whose checksums are those of the files as they are now."""
    path = folder / "shards" / "manifest.json"
    content = json.loads(path.read_text())
    content["files"] = {name: sha256(path.with_name(name)) for name in content["files"]}
    path.write_text(json.dumps(_sealed(content)))


def _sealed(content: dict) -> dict:
    try:
        from selffl_cli.files.checksums import seal
    except ImportError:
        return content
    return seal({key: value for key, value in content.items() if key != "sha256"})


def mend_seal(folder: Path) -> None:
    """A manifest that vouches for itself, whatever it says, where it is JSON at all."""
    path = folder / "shards" / "manifest.json"
    try:
        content = json.loads(path.read_text())
        path.write_text(json.dumps(_sealed(content)))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return


def words(folder: Path) -> None:
    make(folder, "words")


def gaussian(folder: Path) -> None:
    make(folder, "gaussian")


PARSERS = [
    Parser("manifest", make, "shards/manifest.json", read, mend_seal, words=("classes", "-5", "[0]", '"gaussian"')),
    Parser("manifest-gaussian", gaussian, "shards/manifest.json", train, mend_seal, words=("s0", "notes")),
    Parser("shards", make, "shards/train.safetensors", read, mend, words=('"I64"', '"BF16"', '"F8_E4M3"', '"BOOL"')),
    Parser("shards-trained-on", words, "shards/train.safetensors", train, mend),
    Parser("shards-shared", words, "shards/shared.safetensors", read, mend, words=('"I64"', '"BF16"')),
    Parser("shards-clients", make, "shards/clients.parquet", read, mend),
]
