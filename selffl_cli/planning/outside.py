"""What `[train]` names from outside the package, found before anything is trained: samplers and metrics."""

from __future__ import annotations

from pathlib import Path

from ..config.sampler import SAMPLERS, canonical
from ..config.spec import parse_spec
from ..config.train import TrainConfig
from ..metrics import METRICS, read_metrics
from ..registry import absolute, reference


def settled(train: TrainConfig) -> TrainConfig:
    """`[train]` with paths made absolute and every option of a sampler written out; UsageError for what is no class."""
    read_metrics(train.metrics)
    sampler = canonical(train.sampler) if reference(train.sampler) else train.sampler
    metrics = [absolute(name, Path()) for name in train.metrics]
    return train.model_copy(update={"sampler": absolute(sampler, Path()), "metrics": metrics})


def code_of(train: TrainConfig) -> dict[str, str]:
    """{name: sha256 of its source} of a settled `[train]`."""
    records = [METRICS.record(name) for name in train.metrics]
    records.append(SAMPLERS.record(parse_spec(train.sampler)[0]))
    return {record["name"]: record["code"] for record in records if "code" in record}
