"""Architectures: ordinary modules, one a file. A new one is a file and a line in MODELS, or a file of one's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..config.validation import validate
from ..errors import SelfflError
from ..registry import Registry
from ..shards import Shards
from .base import Model

MODELS: Registry[Model] = Registry(
    "model",
    "selffl_cli.models.base:Model",
    {
        "softmax": "selffl_cli.models.softmax:Softmax",
        "mlp": "selffl_cli.models.mlp:MLP",
        "location": "selffl_cli.models.location:Location",
        "lstm": "selffl_cli.models.lstm:StackedLSTM",
        "bilstm": "selffl_cli.models.bilstm:BiLSTM",
        "next-word": "selffl_cli.models.next_word:NextWord",
        "cnn": "selffl_cli.models.cnn:CNN",
        "cnn-cifar": "selffl_cli.models.cnn_cifar:CifarCNN",
        "cnn11": "selffl_cli.models.cnn11:CNN11",
    },
    group="selffl.models",
)


def resolve(config: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """`[model]` with every default written out, and the architecture's version."""
    cls, options = MODELS.recorded(config)
    checked = validate(cls.options_type, options, f"[model] {config['name']}")
    return {**MODELS.record(config["name"]), **checked.model_dump(mode="json")}, cls.version


def build(config: dict[str, Any], shards: Shards, seed: int) -> nn.Module:
    """The network for these shards, started from `seed` alone."""
    cls, options = MODELS.recorded(config)
    checked = validate(cls.options_type, options, f"[model] {config['name']}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = cls.build(checked, shards.manifest, shards.shared)
    _check_state(config["name"], module)
    return module


def _check_state(name: str, module: nn.Module) -> None:
    """SelfflError for a model with state beside its parameters: nobody would average, save or reset it."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise SelfflError(f"model '{name}' has no parameter to train")
    for key in module.state_dict():
        if key not in parameters:
            raise SelfflError(
                f"model '{name}' keeps '{key}' beside its parameters, as BatchNorm keeps running statistics, which no "
                "method averages; normalise by GroupNorm, and register constants with persistent=False"
            )
    for part in module.modules():
        if isinstance(part, _BatchNorm):  # also without running statistics, since it mixes the samples of a batch
            raise SelfflError(
                f"model '{name}' has a {type(part).__name__}, whose statistics no method averages and which lets a "
                "sample's outputs depend on the others of its batch; normalise by GroupNorm"
            )
