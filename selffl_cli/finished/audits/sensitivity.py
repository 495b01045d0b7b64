"""Accumulated prediction sensitivity: does the model look where a protected group shows? (Maughan et al., ACL 2022)

P(x) = w' J v with J [K, D] the absolute gradients of the classifier's probabilities by the inputs, w the class that it
predicts, and v [D] the absolute gradients of a group classifier's probability, scaled to sum 1: a mean of the
classifier's gradients, weighted by what tells the group. `relative` divides by the plain mean of the same gradients:
above 1 the model is more sensitive where the group shows than elsewhere. Which w and v is our instantiation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from ...errors import SelfflError, UsageError
from ...models.pixels import scaled
from ...models.task import prediction
from ..run import FinishedRun

MOST_SAMPLES = 4000  # test samples looked at, evenly from all


def group_model(run: FinishedRun) -> tuple[Any, float, float]:
    """Logistic regression from training inputs to the client's group; its test accuracy, and the most frequent
    group's share."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    names = np.array(run.shards.clients["group"].to_pylist())
    if len(set(names) - {""}) < 2:
        raise UsageError(
            f"{run.folder.path}: its data name no groups; sensitivity needs two or more (mnist or femnist natural, "
            "speech-commands, audio with a clients.csv)"
        )
    both = []
    for name in ("train", "test"):
        part = run.part(name)
        keep = np.repeat(names != "", part.sizes)
        both.append((inputs(run, part.x).numpy()[keep], np.repeat(names, part.sizes)[keep]))
    (x, y), (test_x, test_y) = both
    rows = np.random.default_rng(0).permutation(len(x))[:20_000]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its accuracy is reported, which is what counts
        fitted = LogisticRegression(max_iter=200).fit(x[rows], y[rows])
    return fitted, float(fitted.score(test_x, test_y)), float(max((test_y == name).mean() for name in set(test_y)))


def inputs(run: FinishedRun, x: Tensor) -> Tensor:
    """Inputs as the network reads them, flat [n, D]; UsageError for words, which have no gradient."""
    if not x.is_floating_point() and x.dtype != torch.uint8:
        raise UsageError(f"{run.folder.path}: sensitivity needs inputs that can be moved a little; words cannot")
    return scaled(x, torch.empty(0, dtype=run.model.dtype)).flatten(1)


def task_gradients(run: FinishedRun, vector: Tensor, x: Tensor) -> np.ndarray:
    """|d p_k / d x| for each sample's predicted class k: [n, D]."""
    moved = scaled(x, vector).clone().requires_grad_()
    with torch.enable_grad():
        outputs = functional_call(run.model.module, run.model.named(vector), (moved,))
        (gradient,) = torch.autograd.grad(prediction(outputs).max(-1).values.sum(), moved)
    return gradient.abs().flatten(1).numpy()


def group_gradients(fitted: Any, x: np.ndarray) -> np.ndarray:
    """|d p_g / d x| for each sample's predicted group g [n, D], rows summing to 1."""
    chances, weights = fitted.predict_proba(x), fitted.coef_
    if len(weights) == 1:
        weights = np.concatenate([-weights, weights]) / 2  # two groups: the sigmoid as a softmax
    best = chances.argmax(1)
    gradient = chances[np.arange(len(x)), best, None] * (weights[best] - chances @ weights)
    absolute = np.abs(gradient)
    return absolute / np.maximum(absolute.sum(1, keepdims=True), 1e-300)


def sensitivity(run: FinishedRun) -> dict[str, float]:
    """{"global.sensitivity", "global.relative", …, "group.accuracy", "group.majority"} over test samples."""
    theta, rows = run.global_(), run.personal()
    if theta is None and rows is None:
        raise SelfflError(f"{run.folder.path}: kept no models to look into; train again with --keep-models personal")
    fitted, accuracy, majority = group_model(run)
    part = run.part("test")
    every = max(1, -(-len(part.y) // MOST_SAMPLES))
    found = {"group.accuracy": accuracy, "group.majority": majority}
    values: dict[str, list[np.ndarray]] = {"global": [], "personal": []}
    for client in run.roles.sample.tolist():
        begin, end = part.offsets[client], part.offsets[client + 1]
        taken = np.arange(begin + (-begin) % every, end, every)
        if not len(taken):
            continue
        x = part.x[torch.from_numpy(taken)]
        towards = group_gradients(fitted, inputs(run, x).numpy())
        for kind, vector in (("global", theta), ("personal", None if rows is None else rows[client])):
            if vector is not None:
                gradient = task_gradients(run, vector, x)
                values[kind].append(np.stack([(gradient * towards).sum(1), gradient.mean(1)]))
    for kind, pieces in values.items():
        if pieces:
            both = np.concatenate(pieces, axis=1)
            found[f"{kind}.sensitivity"] = float(both[0].mean())
            found[f"{kind}.relative"] = float(both[0].mean() / max(both[1].mean(), 1e-300))
    return found
