"""Architectures: ordinary modules, one a file. A new one is a file and a line in MODELS."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from ..config.validation import validate
from ..errors import UsageError, nearest
from ..shards import Shards

# name → (file, version). Raise a version when the same options would give other numbers.
MODELS = {
    "softmax": ("softmax", 1),
    "mlp": ("mlp", 1),
    "location": ("location", 1),
    "lstm": ("lstm", 1),
    "bilstm": ("bilstm", 1),
    "next-word": ("next_word", 1),
    "cnn": ("cnn", 2),
    "cnn-cifar": ("cnn_cifar", 1),
    "cnn11": ("cnn11", 1),
}


def resolve(config: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """`[model]` with every default written out, and the architecture's version."""
    name = config["name"]
    if name not in MODELS:
        raise UsageError(f"[model] name: unknown model '{name}'{nearest(name, MODELS)}")
    file, version = MODELS[name]
    module = importlib.import_module(f".{file}", __package__)
    options = validate(module.Options, {k: v for k, v in config.items() if k != "name"}, f"[model] {name}")
    return {"name": name, **options.model_dump(mode="json")}, version


def build(config: dict[str, Any], shards: Shards, seed: int) -> nn.Module:
    """The network for these shards, started from `seed` alone."""
    module = importlib.import_module(f".{MODELS[config['name']][0]}", __package__)
    options = validate(module.Options, {k: v for k, v in config.items() if k != "name"}, f"[model] {config['name']}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return module.build(options, shards.manifest, shards.shared)
