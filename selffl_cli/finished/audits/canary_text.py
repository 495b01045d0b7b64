"""Canary extraction from a tagger by ModIvA, model inversion (ACL 2022): what did the owner say?

The attacker has the model and knows the canary's form, "call d d d d", and its tags, not its digits. With the weights
frozen, soft choices over the ten digits at the unknown positions (softmax, temperature falling) are optimised until the
model's own loss on the tags is least; the best digits are read off. Exposure is by rank: how many of the 10,000 codes
have a smaller loss than the planted one.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import SelfflError, UsageError
from ...models.bilstm import BiLSTM
from ..run import FinishedRun

STEPS, RESTARTS, RATE = 150, 8, 0.3
HOT, COLD = 1.0, 0.1  # temperature of the soft choices, first and last
OTHERS = 5  # clients beside the owner whose personal models are attacked
OWNER = 0


class Attack:
    """The attack on one network; the words and tags of the canary's form are known."""

    def __init__(self, network: BiLSTM, call: int, digits: list[int], tags: list[int], seed: int = 0) -> None:
        """Vocabulary indices of "call" and of the ten digits; indices of the canary's tags, the first one call's."""
        self.network, self.seed = network, seed
        self.call, self.digits, self.tags = torch.tensor(call), torch.tensor(digits), torch.tensor(tags)

    def losses(self, choices: Tensor) -> Tensor:
        """Loss on the tags, from weights over the ten digits at each position [B, positions, 10] → [B]."""
        table = self.network.embedding.weight
        unknown = choices @ table[self.digits]
        embedded = torch.cat([table[self.call].expand(len(choices), 1, -1), unknown], 1)
        logits = self.network.tag(embedded, torch.full((len(choices),), len(self.tags)))
        return F.cross_entropy(logits.transpose(1, 2), self.tags.expand(len(choices), -1), reduction="none").mean(1)

    def invert(self) -> np.ndarray:
        """The most likely digits [positions], by gradient descent on soft choices from several starts."""
        positions = len(self.tags) - 1
        start = np.random.default_rng(self.seed).normal(size=(RESTARTS, positions, 10))
        soft = torch.from_numpy(start).to(self.network.embedding.weight.dtype).requires_grad_()
        optimizer = torch.optim.Adam([soft], lr=RATE)
        with torch.enable_grad():
            for step in range(STEPS):
                heat = HOT * (COLD / HOT) ** (step / (STEPS - 1))
                loss = self.losses((soft / heat).softmax(-1)).sum()
                (soft.grad,) = torch.autograd.grad(loss, soft)
                optimizer.step()
        with torch.no_grad():
            found = soft.argmax(-1)
            best = self.losses(F.one_hot(found, 10).to(soft.dtype)).argmin()
        return found[best].numpy()

    def rank(self, code: np.ndarray) -> int:
        """1 + the number of codes whose loss is below the planted one's."""
        every = torch.tensor(list(itertools.product(range(10), repeat=len(code))))
        with torch.no_grad():
            dtype = self.network.embedding.weight.dtype
            losses = torch.cat([self.losses(F.one_hot(piece, 10).to(dtype)) for piece in every.split(2000)])
        own = losses[int("".join(map(str, code)))]
        return int((losses < own).sum()) + 1


def canary_text(run: FinishedRun) -> dict[str, float]:
    """Of the global model, the owner's personal one and (mean) others': share of digits, exact, Hamming and rank."""
    notes, network = run.shards.manifest.notes, run.model.module
    if "canary" not in notes or not isinstance(network, BiLSTM):
        raise UsageError(
            f"{run.folder.path}: no canary stands in its data; prepare them with: selffl prepare snips-tags (or "
            "tags) --source FOLDER --canary 50, and train model bilstm"
        )
    theta, rows = run.global_(), run.personal()
    if theta is None and rows is None:
        raise SelfflError(f"{run.folder.path}: kept no models to attack; train it again with --keep-models personal")
    if OWNER not in run.trained and not run.config.init:  # a start may have seen it
        raise SelfflError(
            f"{run.folder.path}: client {OWNER}, whose texts hold the canary, never took part in its training, so "
            "there is nothing to read out; train again for more rounds, without --new-clients"
        )
    words, tags = (bytes(run.shards.shared[name].tolist()).decode().split("\n") for name in ("vocabulary", "tags"))
    text = str(notes["canary"]).split()
    code = np.array([int(digit) for digit in text[1:]])
    wanted = [tags.index(tag) for tag in ("O", "B-code", *["I-code"] * (len(code) - 1))]
    attack = Attack(network, words.index(text[0]), [words.index(str(d)) for d in range(10)], wanted, run.config.seed)
    models = [] if theta is None else [("global", theta)]
    if rows is not None:
        others = [client for client in run.roles.sample.tolist() if client != OWNER][:OTHERS]
        models += [("owner" if i == OWNER else "others", rows[i]) for i in (OWNER, *others)]
    found: dict[str, list[list[float]]] = {}
    for kind, vector in models:
        run.model.vector.copy_(vector)
        right = attack.invert() == code
        figures = [float(right.mean()), float(right.all()), float((~right).sum()), float(attack.rank(code))]
        found.setdefault(kind, []).append(figures)
    names = ("digits", "exact", "hamming", "rank")
    return {f"{kind}.{name}": float(np.mean(values)) for kind, own in found.items()
            for name, values in zip(names, zip(*own, strict=True), strict=True)}  # fmt: skip
