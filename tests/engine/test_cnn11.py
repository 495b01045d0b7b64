"""The wake-word network: its size, its layers, and that it learns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from selffl_cli import models
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.models.cnn11 import CNN11


def shards(shape: tuple[int, ...] = (76, 64), dtype: str = "float16") -> Any:
    manifest = SimpleNamespace(
        name="words",
        input=SimpleNamespace(shape=list(shape), dtype=dtype),
        classes=["other", "happy"],
        outputs=2,
    )
    return SimpleNamespace(manifest=manifest, shared={})


@pytest.mark.parametrize(("norm", "size"), [("none", 1_002_850), ("group", 1_004_130)])
def test_it_has_a_million_parameters(norm: str, size: int) -> None:
    module = models.build({"name": "cnn11", "norm": norm}, shards(), 0)
    assert sum(p.numel() for p in module.parameters()) == size
    assert round(size / 1e6, 2) == 1.00


def test_it_has_eleven_weight_layers_and_nothing_that_runs_along() -> None:
    module = models.build({"name": "cnn11"}, shards(), 0)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 11
    assert [layer.out_channels for layer in layers[:8]] == [32, 32, 64, 64, 96, 96, 128, 128]  # type: ignore[union-attr]
    assert [layer.out_features for layer in layers[8:]] == [256, 64, 2]  # type: ignore[union-attr]
    assert not list(module.buffers())
    head = dict(module.named_parameters())
    assert {name: tuple(head[name].shape) for name in module.head} == {  # type: ignore[union-attr]
        "output.weight": (2, 64), "output.bias": (2,),
    }  # fmt: skip


@pytest.mark.parametrize("frames", [16, 76, 98])
def test_any_number_of_frames(frames: int) -> None:
    assert CNN11(frames, 64, 2)(torch.randn(3, frames, 64)).shape == (3, 2)


def test_a_clip_s_logits_do_not_depend_on_its_neighbours() -> None:
    module, x = CNN11(76, 64, 2).double(), torch.randn(4, 76, 64, dtype=torch.float64)
    alone = torch.cat([module(clip[None]) for clip in x])
    assert torch.allclose(module(x), alone, atol=1e-12)


def test_the_start_depends_on_the_seed_alone() -> None:
    one, again, other = (models.build({"name": "cnn11"}, shards(), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["output.weight"], other["output.weight"])


@pytest.mark.parametrize("norm", ["none", "group"])
def test_the_signal_arrives_and_it_learns(norm: str) -> None:
    torch.manual_seed(0)
    module = CNN11(32, 32, 2, norm)
    y = torch.arange(32) % 2
    x = torch.randn(32, 32, 32)
    x[y == 1, 8:24, 8:24] += 1.0
    optimiser = torch.optim.SGD(module.parameters(), 0.02)
    losses = []
    for _ in range(25):
        loss = nn.functional.cross_entropy(module(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] < 3 and losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(("shape", "dtype"), [((64,), "float32"), ((1, 28, 28), "uint8"), ((8, 64), "float16")])
def test_other_data_is_refused(shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(SelfflError, match="selffl prepare speech-commands"):
        models.build({"name": "cnn11"}, shards(shape, dtype), 0)


def test_batch_normalisation_is_no_option() -> None:
    with pytest.raises(UsageError, match="norm"):
        models.resolve({"name": "cnn11", "norm": "batch"})
