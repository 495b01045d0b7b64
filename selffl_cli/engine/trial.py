"""A model tried on two samples before anything starts: what it cannot take is said in one line, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import models
from ..errors import SelfflError, UsageError
from ..metrics.metric import Metric
from ..models.task import TASKS, batch_loss
from ..shards import PARTS, Shards
from .flat import DevicePart, FlatModel

SAMPLES = 2


def try_model(
    config: Mapping[str, Any],
    shards: Shards,
    start: Mapping[str, Tensor] | None,
    dtype: str,
    metrics: Sequence[Metric] = (),
) -> None:
    """UsageError where this model cannot be trained on these shards, or not from this start; SelfflError likewise."""
    name = config["name"]
    try:
        model = models.build(dict(config), shards, 0)
        flat = FlatModel(model, TASKS[shards.manifest.task], torch.device("cpu"), getattr(torch, dtype))
        why = _fault(flat, shards)
    except (UsageError, SelfflError) as error:
        if name not in models.MODELS.own:
            raise
        raise type(error)(f"{error}{_hint(name, shards)}") from None
    except Exception as error:  # of a module, whoever wrote it
        why = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    if why is not None:
        shape = shards.manifest.input
        raise UsageError(
            f"[model] {name}: cannot take {shards.path.name} ({shards.manifest.task}, samples {shape.dtype} "
            f"{shape.shape}): {why}{_hint(name, shards)}"
        )
    _try_metrics(flat, shards, metrics)
    if start is not None:
        flat.flatten(dict(start))


@torch.no_grad()
def _try_metrics(flat: FlatModel, shards: Shards, metrics: Sequence[Metric]) -> None:
    """UsageError where a metric has no number for each of a few samples."""
    part = next((shards.part(name) for name in PARTS if len(shards.part(name).arrays["y"])), None)
    if part is None:
        return
    data = DevicePart(part, flat.device, flat.dtype)
    x, y = data.x[:SAMPLES], data.y[:SAMPLES]
    outputs = flat.outputs(flat.start, x)
    for metric in metrics:
        for what, given in (("scores", (outputs, x, y)), ("units", (x, y))):
            try:
                found = list(getattr(metric, what)(*given).shape)
            except Exception as error:  # of code from outside
                raise UsageError(f"train.metrics: {metric.name}: {what}: {type(error).__name__}: {error}") from None
            if found != [len(y)]:
                raise UsageError(
                    f"train.metrics: {metric.name}: {what} gives a tensor {found} for {len(y)} samples, not [{len(y)}]"
                )


@torch.no_grad()
def _fault(flat: FlatModel, shards: Shards) -> str | None:
    """What is wrong with what the model gives for a few training samples; None for nothing."""
    part = next((shards.part(name) for name in PARTS if len(shards.part(name).arrays["y"])), None)
    if part is None:
        return None  # what has no samples is refused elsewhere
    data = DevicePart(part, flat.device, flat.dtype)
    x, y = data.x[:SAMPLES], data.y[:SAMPLES]
    drawn = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            flat.module.train()
            drawn.append(flat.module(x))
    if not torch.equal(*drawn) and all(outputs.isfinite().all() for outputs in drawn):
        raise UsageError(
            "this model draws at random while it trains, as dropout does: a run could not be repeated to the bit, nor "
            "stopped and resumed; set its dropout to 0, or leave it out"
        )
    wrong = _shape(drawn[0], x, shards)
    batch_loss(flat.task, drawn[0], x, y)
    flat.task.scores(drawn[0], x, y)
    return wrong


def _shape(outputs: Tensor, x: Tensor, shards: Shards) -> str | None:
    """Where outputs do not have the shape of the task, what was expected."""
    found, task, classes = list(outputs.shape), shards.manifest.task, len(shards.manifest.classes)
    if task == "classification":
        wanted = [[len(x), classes]] + ([[len(x), 1]] if classes == 2 else [])
    elif task == "regression":
        wanted = [[len(x), 1]]
    elif task == "gaussian":
        wanted = [list(x.shape)]
    else:
        return None if outputs.dim() == 3 else f"it gives outputs {found} where words need three dimensions"
    if found in wanted:
        return None
    return f"it gives outputs {found} for {len(x)} samples, {' or '.join(map(str, wanted))} are needed"


def _hint(name: str, shards: Shards) -> str:
    """The models that can, and how to choose one."""
    can = _others(name, shards)
    return f"; models that can: {', '.join(can)}, as in --set 'model={{name=\"{can[0]}\"}}'" if can else ""


def _others(name: str, shards: Shards) -> list[str]:
    """The package's own models that can be trained on these shards."""
    found = []
    for other in models.MODELS.own:
        if other == name:
            continue
        try:
            config, _ = models.resolve({"name": other})
            flat = FlatModel(
                models.build(config, shards, 0), TASKS[shards.manifest.task], torch.device("cpu"), torch.float32
            )
            if _fault(flat, shards) is None:
                found.append(other)
        except Exception:  # it cannot
            continue
    return found
