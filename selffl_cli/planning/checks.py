"""What these shards and this method cannot do, found before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from .. import models
from ..config.experiment import Experiment, TrainConfig
from ..config.memory import Coordinated, memory, sized
from ..config.privacy import Sample, read_privacy
from ..engine.trial import try_model
from ..errors import UsageError
from ..methods import METHODS, find, method_class
from ..metrics import read_metrics
from ..sampling import draw as selection
from ..shards import Shards


def check_model(experiment: Experiment, shards: Shards, start: Mapping[str, Tensor] | None, tried: set[str]) -> None:
    """An error in one line where the experiment's model cannot take these shards, or not start from `start`.

    `tried` holds the models that were tried before, each on data of its kind.
    """
    data, dtype = shards.manifest, experiment.train.dtype
    _ = shards.clients  # which is written out after the last round: what is wrong with it is said before the first
    kind = [experiment.model, data.task, data.input.model_dump(), len(data.classes), dtype, experiment.train.metrics]
    key = json.dumps(kind, default=str, sort_keys=True)
    if key not in tried:
        tried.add(key)
        try_model(models.resolve(experiment.model)[0], shards, start, dtype, read_metrics(experiment.train.metrics))


def check_periods(train: TrainConfig, shards: Shards, method: dict[str, Any]) -> None:
    """UsageError when these shards cannot be trained on in periods, or this method with this memory."""
    if not train.periods:
        return
    if shards.periods == 1:
        raise UsageError(
            f"train.periods: {shards.path.name} has one period; prepare the data with --periods 5 --drift label "
            "(or time, intent), or leave train.periods out"
        )
    if train.privacy.startswith("sample"):
        raise UsageError(
            "train.privacy sample with train.periods: how often a sample is looked at depends on the memory, which is "
            "not accounted for; use train.privacy = user:…, or leave one of them out"
        )
    if train.privacy and isinstance(memory(train.memory), Coordinated):
        raise UsageError(
            f"train.privacy with train.memory = {train.memory}: what coordination sends is neither clipped nor noised; "
            "use train.memory = uncoordinated, approx-uniform or another that sends nothing"
        )
    part = shards.part("train")
    period = part.arrays["period"].numpy()
    cells = np.zeros((shards.num_clients, shards.periods), np.int64)
    np.add.at(cells, (np.repeat(np.arange(shards.num_clients), part.sizes), period), 1)
    empty = np.argwhere(cells == 0)
    if len(empty):
        raise UsageError(
            f"train.periods: client {empty[0][0]} has no training sample in period {empty[0][1] + 1} of "
            f"{shards.periods}; prepare the data with fewer periods or clients"
        )
    most = int(cells[:, :-1].sum(1).max())  # before the last period, after which nothing is chosen any more
    if sized(train.memory) and train.memory_size is not None and train.memory_size >= most:
        raise UsageError(
            f"train.memory_size = {train.memory_size}: no client has more than {most} samples to choose from; lower "
            "it, or keep everything with --set train.memory=all"
        )
    if isinstance(memory(train.memory), Coordinated) and not method_class(method["name"]).sends:
        raise UsageError(
            f"train.memory = {train.memory}: clients of method {method['name']} send nothing, so that nothing can be "
            "coordinated; use --set train.memory=uncoordinated"
        )


def private_options(name: str, options: dict[str, Any], train: TrainConfig) -> dict[str, Any]:
    """The options of method `name` under `[train] privacy`; UsageError for what the budget cannot account for.

    Under user-level privacy every clipped update counts the same, so the weighting is "equal".
    """
    privacy = read_privacy(train.privacy)
    if privacy is None:
        return options
    method, (plain, weighting) = method_class(name), find(name)
    if isinstance(privacy, Sample):
        if method.gradients_per_step is None:
            known = (key for key, cls in METHODS.items() if cls.gradients_per_step is not None)
            raise UsageError(
                f"train.privacy sample: how often method '{plain}' looks at a sample is not known beforehand, so it "
                f"cannot be accounted for; use {', '.join(known)}"
            )
        return options
    if not method.sends:
        raise UsageError(
            f"train.privacy user: with method '{plain}' nothing leaves a client, so there is nothing to make private"
        )
    if not method.averages:
        known = (key for key, cls in METHODS.items() if cls.averages)
        raise UsageError(
            f"train.privacy user: method '{plain}' sends more than an average of models (its weights and variances "
            f"depend on the data), which is not accounted for; use {', '.join(known)}"
        )
    if not train.sampler.startswith("poisson"):
        raise UsageError(
            f"train.privacy user: the accountant knows Poisson sampling alone, not {train.sampler}; add "
            "--set train.sampler=poisson:q=0.1"
        )
    if train.weighting in ("samples", "unbiased") or "samples" in (options.get("weighting"), weighting):
        raise UsageError(
            "train.privacy user: each client counts the same, since the number of its samples is private too; leave "
            "the weighting out"
        )
    return {**options, "weighting": "equal"}


def check_delivery(train: TrainConfig, method: dict[str, Any], where: str) -> None:
    """UsageError for a method that asks clients something at delivery, where nothing is delivered or periods pass."""
    if not method_class(method["name"]).hears:
        return
    if not train.delivery_rounds:
        raise UsageError(
            f"{where}: {method['name']} finds its personal models at delivery; set delivery_rounds = 1 in [train] "
            "(--set train.delivery_rounds=1)"
        )
    if train.periods:
        raise UsageError(
            f"{where}: train.periods: what {method['name']} asks of its clients is defined for data that stays; leave "
            "train.periods or this method out"
        )


def check_sampler(train: TrainConfig, shards: Shards) -> None:
    """UsageError when the sampler cannot fill a round from these clients."""
    sizes = shards.part("train").sizes
    selection.check(train.sampler, sizes, train.cohort_size(len(sizes)), train.weighting == "unbiased")


def check_stop(train: TrainConfig, shards: Shards, where: str = "") -> None:
    """UsageError when `stop_at` is no more than what always giving the commonest class reaches."""
    if train.stop_at is None or not shards.manifest.classes:
        return
    labels = shards.part("validation").arrays["y"].reshape(-1)
    if not len(labels):
        raise UsageError(f"{where}train.stop_at: {shards.path} has no validation part; leave it out, or prepare one")
    label, count = max(enumerate(np.bincount(labels).tolist()), key=lambda pair: pair[1])
    if count / len(labels) >= train.stop_at:
        raise UsageError(
            f"{where}train.stop_at = {train.stop_at:g}: {count / len(labels):.1%} of the validation part is "
            f"'{shards.manifest.classes[label]}', so a model that has learnt nothing reaches it; state a higher point: "
            f"--set {where}train.stop_at={1 - (1 - count / len(labels)) / 2:.3f}"
        )
