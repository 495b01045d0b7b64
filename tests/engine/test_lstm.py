"""The stacked LSTM: trimmed against padded batches, both ways of reading it, and what is never trained."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from selffl_cli.errors import SelfflError
from selffl_cli.models.lstm import Options, StackedLSTM
from selffl_cli.shards import Manifest

WIDTH, WORDS, STEPS = 7, 50, 25


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model(dtype: torch.dtype = torch.float64, **options) -> StackedLSTM:
    torch.manual_seed(0)
    embedding = torch.randn(WORDS, WIDTH, dtype=dtype)
    embedding[:2] = 0
    return StackedLSTM(embedding, **{"hidden": 12, "dense": 5, **options}).to(dtype)


def tweets(lengths: list[int], steps: int = STEPS, seed: int = 1) -> Tensor:
    x = torch.randint(1, WORDS, (len(lengths), steps), generator=torch.Generator().manual_seed(seed))
    return torch.where(torch.arange(steps) < torch.tensor(lengths)[:, None], x, 0).int()


def results(net: torch.nn.Module, x: Tensor, outputs=None) -> list[Tensor]:
    """Outputs and the gradients of every parameter, of a loss that no sample leaves untouched."""
    net.zero_grad()
    found = (outputs or net)(x)
    (found * torch.arange(1.0, len(x) + 1)[:, None]).sin().sum().backward()
    return [found.detach(), *(p.grad.clone() for p in net.parameters())]


def never_trimmed(net: StackedLSTM, x: Tensor) -> Tensor:
    """The same model over all 25 steps, read at the last real token: what trimming must not change."""
    states, _ = net.lstm(net.embedding[x.long()])
    last = ((x != 0).sum(1) - 1).clamp_min(0)
    return net.output(torch.relu(net.dense(states[torch.arange(len(x)), last])))


@pytest.mark.parametrize("lengths", [[3, 8, 1], [25, 2], [1], [0, 4], [0], [12] * 10])
def test_trimmed_is_padded(lengths: list[int]) -> None:
    """Exactly so with the padding the shards have or any other; against an LSTM over every step in float64 to
    1e-12 (bits of a matrix product depend on its number of rows, so there they may differ by a rounding)."""
    net, x = model(), tweets(lengths)
    padded = results(net, x)
    trimmed = results(net, x[:, : max(*lengths, 1)])
    longer = results(net, torch.nn.functional.pad(x, (0, 15)))
    assert all(map(torch.equal, padded, trimmed)) and all(map(torch.equal, padded, longer))
    for one, other in zip(padded, results(net, x, lambda x: never_trimmed(net, x)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_trimmed_is_padded_in_float32() -> None:
    net, x = model(torch.float32, hidden=100), tweets([4, 9, 2, 7, 1, 1, 3, 8, 5, 6])
    assert all(map(torch.equal, results(net, x), results(net, x[:, :9])))
    for one, other in zip(results(net, x), results(net, x, lambda x: never_trimmed(net, x)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_no_tweet_sees_another_one_of_its_batch() -> None:
    net, x = model(), tweets([3, 8, 0, 25])
    alone = torch.cat([net(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(net(x), alone, rtol=1e-12, atol=1e-14)


def test_last_token_ignores_padding_and_last_step_does_not() -> None:
    x = tweets([5, 3])
    for read, same in (("last-token", True), ("last-step", False)):
        net = model(read=read)
        assert torch.allclose(net(x), net(x[:, :10]), atol=1e-12) is same
        states, _ = net.lstm(net.embedding[x.long()])
        state = states[torch.arange(2), torch.tensor([4, 2])] if same else states[:, -1]
        torch.testing.assert_close(net(x), net.output(torch.relu(net.dense(state))), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("read", ["last-token", "last-step"])
def test_empty_tweets_and_index_types(read: str) -> None:
    net, x = model(read=read), tweets([0, 0, 6])
    outputs = net(x)
    assert outputs.shape == (3, 1) and torch.isfinite(outputs).all() and torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs, net(x.long()))


def test_embedding_is_no_parameter_and_is_not_saved() -> None:
    net = model()
    assert "embedding" not in dict(net.named_parameters()) and "embedding" not in net.state_dict()
    before = net.embedding.clone()
    results(net, tweets([3, 4]))
    assert net.embedding.grad is None and not net.embedding.requires_grad and torch.equal(before, net.embedding)
    assert set(net.head) == {"output.weight", "output.bias"} <= set(dict(net.named_parameters()))


def test_parameters_of_the_paper_and_of_the_code() -> None:
    """Two layers of 4 (I + H + 2) H weights, dense 30, one logit."""
    for hidden in (100, 256):
        net = StackedLSTM(torch.zeros(3, 300), hidden)
        count = 4 * hidden * (300 + hidden + 2) + 4 * hidden * (2 * hidden + 2) + 30 * (hidden + 1) + 31
        assert sum(p.numel() for p in net.parameters()) == count


def manifest(**changed) -> Manifest:
    fields = {
        "format_version": 1, "name": "tweets", "partition": "iid", "task": "classification", "sources": [],
        "arguments": {}, "clients": 1, "samples": {"train": 1, "validation": 0, "test": 0},
        "classes": ["negative", "positive"], "input": {"shape": [25], "dtype": "int32"}, "citation": "",
        "notes": {}, "files": {}, "data_hash": "",
    }  # fmt: skip
    return Manifest.model_validate({**fields, **changed})


def test_build() -> None:
    net = StackedLSTM.build(
        Options(hidden=9, layers=1, dense=4, read="last-step"), manifest(), {"embedding": torch.ones(5, 3)}
    )
    assert isinstance(net, StackedLSTM) and net.lstm.hidden_size == 9 and net.lstm.num_layers == 1
    assert net.dense.out_features == 4 and net.read == "last-step" and net.embedding.shape == (5, 3)
    defaults = Options()
    assert (defaults.hidden, defaults.layers, defaults.dense, defaults.read) == (100, 2, 30, "last-token")
    with pytest.raises(SelfflError, match="hold no word vectors"):
        StackedLSTM.build(defaults, manifest(name="digits"), {})
    for classes, outputs in ((2, 1), (3, 3), (5, 5)):  # stars of a review, too
        built = StackedLSTM.build(defaults, manifest(classes=[*"abcde"][:classes]), {"embedding": torch.ones(5, 3)})
        assert built.output.out_features == outputs
    with pytest.raises(ValidationError):
        Options(read="first")  # type: ignore[arg-type]


def test_it_learns() -> None:
    """Positive when token 2 comes before token 3: order matters, so a bag of words cannot tell."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(4, WORDS, (64, 8), generator=generator)
    x[:32, 2], x[:32, 5], x[32:, 2], x[32:, 5] = 2, 3, 3, 2
    y = (torch.arange(64) < 32).float()
    net = model(torch.float32)
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    for _ in range(400):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(net(x)[:, 0], y).backward()
        optimizer.step()
    assert ((net(x)[:, 0] > 0) == (y > 0)).float().mean() > 0.95
