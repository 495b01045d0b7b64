"""The workloads, made from a seed, and what every contender is handed: data, start, clients of a round, batch order.

W1            FedAvg, 200 clients of 20 to 60 images 28x28, CNN of 2 convolutions and 2 dense layers, 20 a round
W2            FedAvg, 772 clients of 30 to 120 texts of 25 tokens, frozen 50-d vectors, 2-layer LSTM of 100, 77 a round
W2-lengths    W2 with texts as long as real tweets
W2-tweets     the real tweets, where their file is given
W1-ditto      Ditto on W1, the global and every client's personal model scored on all of its data after every round

One epoch in batches of 10, short batches kept. Needs numpy and torch alone, so that every peer's environment reads it;
the models are the plain modules a user of any simulator would write.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selffl_cli.draws import sample_clients  # numpy alone: the streams that selffl draws from
from selffl_cli.engine.batches import Batches

# Tweets of 1 to 25 tokens (25 = 25 or more) among 34,836 of Sentiment140, tokens as in `selffl prepare sent140`
TWEET_LENGTHS = [95, 344, 766, 1068, 1254, 1414, 1483, 1598, 1523, 1530, 1514, 1466, 1485, 1460, 1331, 1296, 1265,
                 1174, 1108, 1081, 1041, 1046, 984, 1065, 6445]  # fmt: skip
TOKENS, WORDS, WIDTH = 25, 10_000, 50
LAMBDA = 1.0  # Ditto's pull
TEST = 5  # test samples of each client


@dataclass(frozen=True)
class Workload:
    """What is trained; the data are `images` or `texts`."""

    name: str
    kind: str
    clients: int
    least: int  # training samples of a client
    most: int
    cohort: int
    learning_rate: float
    method: str = "fedavg"
    lengths: bool = False
    batch: int = 10
    seed: int = 0


WORKLOADS = {
    w.name: w
    for w in (
        Workload("W1", "images", 200, 20, 60, 20, 0.05),
        Workload("W2", "texts", 772, 30, 120, 77, 0.5),
        Workload("W2-lengths", "texts", 772, 30, 120, 77, 0.5, lengths=True),
        Workload("W2-tweets", "texts", 772, 0, 0, 77, 0.5),
        Workload("W1-ditto", "images", 200, 20, 60, 20, 0.05, method="ditto"),
    )
}


class ImageNet(nn.Module):
    """Two 5x5 convolutions with pooling, two dense layers: 80,202 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 5), nn.Conv2d(16, 32, 5)
        self.dense, self.output = nn.Linear(512, 128), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.output(F.relu(self.dense(x.flatten(1))))


class TextNet(nn.Module):
    """Frozen word vectors, two LSTM layers read at the last token, a dense layer and one logit: 144,661 parameters."""

    def __init__(self, embedding: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(embedding, freeze=True)
        self.lstm = nn.LSTM(embedding.shape[1], 100, 2, batch_first=True)
        self.dense, self.output = nn.Linear(100, 30), nn.Linear(30, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(x))
        last = ((x != 0).sum(1) - 1).clamp_min(0)
        return self.output(F.relu(self.dense(states[torch.arange(len(x)), last])))


def loss_of(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean loss of a batch: cross-entropy, or binary cross-entropy where there is one logit."""
    if outputs.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(outputs[:, 0], y.to(outputs.dtype))
    return F.cross_entropy(outputs, y)


class Job:
    """One workload in a folder, as a contender reads it: `python DRIVER FOLDER ROUNDS OUT`."""

    def __init__(self, folder: Path, rounds: int, out: Path) -> None:
        self.folder, self.rounds, self.out = folder, rounds, out
        self.workload = Workload(**json.loads((folder / "workload.json").read_text()))
        with np.load(folder / "data.npz", allow_pickle=False) as data:
            self.arrays = {name: data[name] for name in data.files}
        self.sizes = np.diff(self.arrays["train_offsets"])

    @classmethod
    def from_command_line(cls) -> Job:
        torch.set_num_threads(1)
        folder, rounds, out = sys.argv[1:4]
        return cls(Path(folder), int(rounds), Path(out))

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """{part}_x as the model takes it (pixels 0..1, tokens int64) and {part}_y."""
        tensors = {name: torch.from_numpy(self.arrays[name]) for part in ("train", "test")
                   for name in (f"{part}_x", f"{part}_y")}  # fmt: skip
        return {k: v.float() / 255 if v.dtype == torch.uint8 else v.long() for k, v in tensors.items()}

    def part(self, name: str, client: int) -> tuple[Tensor, Tensor]:
        """x and y of a client's `train` or `test` part."""
        begin, end = self.arrays[f"{name}_offsets"][client : client + 2]
        return self.tensors[f"{name}_x"][begin:end], self.tensors[f"{name}_y"][begin:end]

    def model(self) -> nn.Module:
        """The network at the common start."""
        model = ImageNet() if self.workload.kind == "images" else TextNet(torch.from_numpy(self.arrays["embedding"]))
        self.load(model, self.folder / "start.npz")
        return model

    @staticmethod
    def trained(model: nn.Module) -> list[nn.Parameter]:
        return [p for p in model.parameters() if p.requires_grad]

    def load(self, model: nn.Module, path: Path) -> None:
        with np.load(path, allow_pickle=False) as values, torch.no_grad():
            for number, parameter in enumerate(self.trained(model)):
                parameter.copy_(torch.from_numpy(values[str(number)]))

    def save(self, model: nn.Module) -> None:
        """The final global model, for the check of its loss."""
        np.savez(self.out, **{str(i): p.detach().numpy() for i, p in enumerate(self.trained(model))})

    def chosen(self, round_: int) -> np.ndarray:
        """Clients of round 1, 2, …"""
        return sample_clients(self.workload.seed, round_, self.workload.clients, self.workload.cohort)

    def order(self, round_: int, client: int) -> np.ndarray:
        """The client's samples in the order of the round's batches."""
        size, batch = int(self.sizes[client]), self.workload.batch
        batches = Batches(self.workload.seed, round_, self.sizes, batch)
        pieces = [batches.indices("local", client, step) for step in range(-(-size // batch))]
        return np.arange(size) if pieces[0] is None else np.concatenate(pieces)

    def shuffled(self, round_: int, client: int) -> tuple[Tensor, Tensor]:
        """The client's training samples in that order."""
        x, y = self.part("train", client)
        order = torch.from_numpy(self.order(round_, client))
        return x[order], y[order]

    def batches(self, round_: int, client: int) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = self.shuffled(round_, client)
        yield from zip(x.split(self.workload.batch), y.split(self.workload.batch), strict=True)

    def finished(self, round_: int) -> None:
        """Tell the runner that a round is done."""
        print(f"round {round_}/{self.rounds}", flush=True)


def _sizes(workload: Workload, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(workload.least, workload.most + 1, workload.clients)


def _images(workload: Workload, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Ten blurred patterns under noise."""
    patterns = rng.random((10, 7, 7)).repeat(4, 1).repeat(4, 2)
    arrays = {}
    for part, sizes in (("train", _sizes(workload, rng)), ("test", np.full(workload.clients, TEST))):
        y = rng.integers(0, 10, sizes.sum())
        x = 0.5 * patterns[y] + 0.5 * rng.random((len(y), 28, 28))
        arrays |= {f"{part}_x": (255 * x[:, None]).astype(np.uint8), f"{part}_y": y,
                   f"{part}_offsets": np.concatenate([[0], np.cumsum(sizes)])}  # fmt: skip
    return arrays


def _texts(workload: Workload, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Words by Zipf's law; the label leans on one direction of the words' vectors."""
    embedding = rng.normal(0, 0.3, (WORDS, WIDTH)).astype(np.float32)
    embedding[0] = 0
    share = 1 / np.arange(1, WORDS)
    arrays = {"embedding": embedding}
    for part, sizes in (("train", _sizes(workload, rng)), ("test", np.full(workload.clients, TEST))):
        x = rng.choice(np.arange(1, WORDS), (sizes.sum(), TOKENS), p=share / share.sum())
        if workload.lengths:
            counts = np.array(TWEET_LENGTHS)
            lengths = rng.choice(np.arange(1, TOKENS + 1), len(x), p=counts / counts.sum())
            x[np.arange(TOKENS) >= lengths[:, None]] = 0
        y = (embedding[x, 0].sum(1) + rng.normal(0, 0.3, len(x)) > 0).astype(np.int64)
        arrays |= {f"{part}_x": x.astype(np.int32), f"{part}_y": y,
                   f"{part}_offsets": np.concatenate([[0], np.cumsum(sizes)])}  # fmt: skip
    return arrays


def make(workload: Workload, folder: Path, arrays: dict[str, np.ndarray] | None = None) -> None:
    """Write a workload's folder: its arrays (drawn here unless given) and the common start."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([workload.seed, *map(ord, workload.kind)])
    if arrays is None:
        arrays = (_images if workload.kind == "images" else _texts)(workload, rng)
    np.savez(folder / "data.npz", **arrays)
    (folder / "workload.json").write_text(json.dumps(asdict(workload)))
    torch.manual_seed(workload.seed)
    model = ImageNet() if workload.kind == "images" else TextNet(torch.from_numpy(arrays["embedding"]))
    np.savez(folder / "start.npz", **{str(i): p.detach().numpy() for i, p in enumerate(Job.trained(model))})


def rank() -> int:
    """This process's rank where a launcher started several."""
    return int(os.environ.get("RANK", "0"))
