"""The networks: sizes by hand, bytes as input, gradients through the flat vector, and that they learn."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selffl_cli.engine.flat import DevicePart, FlatModel
from selffl_cli.errors import UsageError
from selffl_cli.models import build, resolve
from selffl_cli.models.pixels import scaled
from selffl_cli.models.task import Classification
from selffl_cli.shards import Input, Manifest, Part, Samples

CPU = torch.device("cpu")
MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
IMAGE_MODELS = [
    ({"name": "softmax"}, MNIST, 784 * 10 + 10),
    ({"name": "mlp"}, MNIST, 784 * 64 + 64 + 64 * 10 + 10),
    ({"name": "cnn"}, MNIST, 80_202),
    ({"name": "cnn", "channels": [32, 64], "dense": 512}, MNIST, 582_026),
    ({"name": "cnn-cifar"}, CIFAR, 357_258),
]
NAMES = [f"{config['name']}-{size}" for config, _, size in IMAGE_MODELS]


def manifest(shape: tuple[int, ...], classes: int = 10) -> Manifest:
    return Manifest(
        format_version=1, name="images", partition="iid", task="classification", sources=[], arguments={},
        clients=1, samples=Samples(train=1, validation=0, test=0), classes=[str(k) for k in range(classes)],
        input=Input(shape=list(shape), dtype="uint8"), citation="", notes={}, files={}, data_hash="",
    )  # fmt: skip


def network(config: dict[str, Any], shape: tuple[int, ...], classes: int = 10, seed: int = 0) -> nn.Module:
    class FakeShards:  # `build` looks at these two alone
        shared: dict[str, Tensor] = {}

    FakeShards.manifest = manifest(shape, classes)  # type: ignore[attr-defined]
    return build(resolve(config)[0], FakeShards(), seed)  # type: ignore[arg-type]


def pixels(shape: tuple[int, ...], count: int = 6) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8))


@pytest.mark.parametrize("config, shape, size", IMAGE_MODELS, ids=NAMES)
def test_sizes_and_heads(config: dict[str, Any], shape: tuple[int, ...], size: int) -> None:
    model = FlatModel(network(config, shape), Classification, CPU, torch.float32)
    assert model.size == size
    last = [parameter for parameter in model.layout.values() if len(parameter) == 2][-1]
    assert last[0] == 10 and model.head_size == last[0] * last[1] + 10  # the last dense layer, with its bias
    assert torch.equal(model.head_mask().nonzero()[:, 0], torch.arange(size - model.head_size, size))


def test_sizes_by_hand() -> None:
    """cnn: 28 → 24 → 12 → 8 → 4 pixels a side; cnn-cifar: 32 → 16 → 8 → 4."""
    for first, second, dense, size in ((16, 32, 128, 80_202), (32, 64, 512, 582_026)):
        convolutions = (25 * first + first) + (25 * first * second + second)
        assert convolutions + (16 * second * dense + dense) + (dense * 10 + 10) == size
    widths = [3, 32, 64, 128]
    layers = sum(9 * i * o + o + 2 * o for i, o in pairwise(widths))
    assert layers + (16 * 128 * 128 + 128) + (128 * 10 + 10) == 357_258


@pytest.mark.parametrize("config, shape, size", IMAGE_MODELS, ids=NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bytes_mean_pixels_from_0_to_1(
    config: dict[str, Any], shape: tuple[int, ...], size: int, dtype: torch.dtype
) -> None:
    model = network(config, shape).to(dtype)
    x = pixels(shape)
    logits = model(x)
    assert logits.shape == (len(x), 10) and logits.dtype == dtype
    assert torch.equal(logits, model(x.to(dtype) / 255))
    assert not torch.allclose(logits, model(x.to(dtype)))


def test_scaled() -> None:
    weight = torch.zeros(1, dtype=torch.float64)
    assert scaled(torch.tensor([0, 51, 255], dtype=torch.uint8), weight).tolist() == [0.0, 0.2, 1.0]
    other = torch.tensor([3.0, 7.0])
    assert scaled(other, weight) is other


@pytest.mark.parametrize("config, shape, size", IMAGE_MODELS, ids=NAMES)
def test_gradient_through_the_flat_vector(config: dict[str, Any], shape: tuple[int, ...], size: int) -> None:
    """Directional derivatives by central differences, in float64."""
    model = FlatModel(network(config, shape), Classification, CPU, torch.float64)
    x, y = pixels(shape), torch.tensor([0, 1, 2, 3, 4, 9])
    gradient, loss = model.gradient(model.start, x, y)
    assert gradient.shape == (size,) and torch.isfinite(gradient).all()
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        way = torch.randn(size, generator=generator, dtype=torch.float64)
        way /= way.norm()
        ahead, behind = (model.gradient(model.start + h * way, x, y)[1] for h in (1e-6, -1e-6))
        assert float((ahead - behind) / 2e-6) == pytest.approx(float(gradient @ way), abs=1e-6)
    assert float(loss) == pytest.approx(np.log(10), abs=0.5)


@pytest.mark.parametrize("config, shape, size", IMAGE_MODELS, ids=NAMES)
def test_samples_of_a_batch_do_not_see_each_other(config: dict[str, Any], shape: tuple[int, ...], size: int) -> None:
    """What BatchNorm would break: a sample's logits are the same alone and in a batch; no state is kept."""
    model = network(config, shape).double()
    x = pixels(shape)
    torch.testing.assert_close(model(x[:1]), model(x)[:1], rtol=1e-12, atol=1e-12)
    assert not list(model.buffers())


def test_cnn_pooled_first_and_channels_last_is_the_textbook_network() -> None:
    """Outputs and gradients of convolution, ReLU, pooling in the ordinary order and layout."""
    model = network({"name": "cnn"}, MNIST).double()
    x = pixels(MNIST)
    w = dict(model.named_parameters())
    h = F.max_pool2d(F.conv2d(x.double() / 255, w["body.0.weight"], w["body.0.bias"]).relu(), 2)
    h = F.max_pool2d(F.conv2d(h, w["body.3.weight"], w["body.3.bias"]).relu(), 2)
    h = F.linear(h.flatten(1), w["body.7.weight"], w["body.7.bias"]).relu()
    plain = F.linear(h, w["output.weight"], w["output.bias"])
    torch.testing.assert_close(model(x), plain, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(model(x).square().sum(), w.values()),
        torch.autograd.grad(plain.square().sum(), w.values()),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_start_depends_on_the_seed_alone() -> None:
    starts = [nn.utils.parameters_to_vector(network({"name": "cnn"}, MNIST, seed=s).parameters()) for s in (1, 1, 2)]
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])


def test_other_shapes_and_classes() -> None:
    assert network({"name": "cnn"}, CIFAR)(pixels(CIFAR)).shape == (6, 10)
    assert network({"name": "cnn"}, MNIST, 62)(pixels(MNIST)).shape == (6, 62)
    assert network({"name": "cnn-cifar"}, (3, 33, 47))(pixels((3, 33, 47))).shape == (6, 10)


@pytest.mark.parametrize(
    "config, shape, said",
    [
        ({"name": "cnn"}, (64,), "needs images [channels, height, width] of 16x16 pixels or more"),
        ({"name": "cnn"}, (1, 8, 8), "have shape [1, 8, 8]; choose mlp or softmax"),
        ({"name": "cnn-cifar"}, (3, 4, 4), "of 8x8 pixels or more"),
        ({"name": "cnn-cifar", "channels": [12]}, CIFAR, "multiples of 8"),
        ({"name": "cnn", "channels": [8]}, MNIST, "channels"),
        ({"name": "cnn", "kernel": 3}, MNIST, "unknown key 'kernel'"),
        ({"name": "cnn_cifar"}, CIFAR, "did you mean 'cnn-cifar'"),
    ],
)
def test_what_does_not_fit(config: dict[str, Any], shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(UsageError) as error:
        network(config, shape)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_shards_keep_bytes_in_memory() -> None:
    arrays = {"x": pixels(MNIST), "y": torch.arange(6)}
    part = DevicePart(Part(arrays, np.array([0, 2, 6])), CPU, torch.float32)
    x, y = part.client(1, np.array([3, 0]))
    assert part.x.dtype == x.dtype == torch.uint8 and y.tolist() == [5, 2]


@pytest.mark.parametrize("name, accuracy", [("softmax", 0.8), ("cnn", 0.85)])
def test_learns_real_digits(shared_data: Path, name: str, accuracy: float) -> None:
    from data_prep.reading.sources import silent
    from data_prep.sets import mnist

    pool = mnist.MNIST().load(mnist.Options(), shared_data / "mnist", silent)
    x, y = torch.from_numpy(pool.arrays["x"]), torch.from_numpy(pool.arrays["y"])
    model = FlatModel(network({"name": name}, MNIST), Classification, CPU, torch.float32)
    vector, rows = model.start.clone(), torch.from_numpy(np.random.default_rng(0).permutation(60_000))
    for step in range(250):
        batch = rows[32 * step : 32 * (step + 1)]
        gradient, _ = model.gradient(vector, x[batch], y[batch])
        vector -= 0.1 * gradient
    unseen = slice(60_000, 61_000)
    right = Classification.scores(model.outputs(vector, x[unseen]), x[unseen], y[unseen])
    assert float(right.mean()) > accuracy
