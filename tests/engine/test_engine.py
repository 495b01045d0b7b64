"""The engine: batches, ranks, local training, evaluation, divergence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import CPU, mlp
from torch import Tensor, nn

from selffl_cli.draws import sample_clients
from selffl_cli.engine.batches import Batches
from selffl_cli.engine.cohort import Grad
from selffl_cli.engine.evaluation import BATCH, evaluate_global, evaluate_rows, summary
from selffl_cli.engine.flat import DevicePart, FlatModel
from selffl_cli.engine.parallel.collective import BLOCKS, Collective, Dealt, deal
from selffl_cli.engine.store import ClientStore
from selffl_cli.errors import SelfflError
from selffl_cli.models.mlp import MLP
from selffl_cli.models.softmax import Softmax
from selffl_cli.models.task import TASKS, Classification, Gaussian
from selffl_cli.shards import Part

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)


# batches


@given(SIZES, st.integers(1, 45), st.integers(0, 2**31 - 1), st.integers(1, 10**6))
def test_each_epoch_is_a_permutation_whose_short_batch_counts(
    sizes: list[int], batch_size: int, seed: int, round_: int
) -> None:
    batches = Batches(seed, round_, np.array(sizes), batch_size)
    for client, size in enumerate(sizes):
        per_epoch = -(-size // batch_size)
        for epoch in range(2):
            steps = [batches.indices("local", client, epoch * per_epoch + k) for k in range(per_epoch)]
            if size <= batch_size:  # one batch, in the samples' own order
                assert steps == [None]
                continue
            seen = np.concatenate([own for own in steps if own is not None])
            assert sorted(seen) == list(range(size))
            assert [len(own) for own in steps if own is not None][:-1] == [batch_size] * (per_epoch - 1)


def drawn(batches: Batches, stream: str = "local", client: int = 0, step: int = 0) -> list[int]:
    own = batches.indices(stream, client, step)
    assert own is not None
    return own.tolist()


def test_batches_depend_on_their_counters_alone() -> None:
    """Asked in any order, beside other streams: the same batch. Another counter: another batch."""
    sizes = np.array([30, 17, 50])
    asked = [(stream, client, step) for stream in ("local", "other") for client in range(3) for step in range(12)]
    orderly = {key: drawn(Batches(1, 5, sizes, 4), *key) for key in asked}
    mixed = Batches(1, 5, sizes, 4)
    for key in np.random.default_rng(0).permutation(len(asked)):
        assert drawn(mixed, *asked[key]) == orderly[asked[key]]
    same_sizes = Batches(1, 5, np.array([30, 30, 30]), 4)
    others = [
        orderly["other", 0, 0], orderly["local", 0, 8],  # the next epoch is shuffled anew
        drawn(Batches(2, 5, sizes, 4)), drawn(Batches(1, 6, sizes, 4)), drawn(same_sizes, client=1),
    ]  # fmt: skip
    assert orderly["local", 0, 0] not in others


@given(st.integers(0, 2**31 - 1), st.integers(1, 1000), st.integers(1, 300), st.integers(1, 300))
def test_clients_of_a_round(seed: int, round_: int, clients: int, size: int) -> None:
    chosen = sample_clients(seed, round_, clients, size)
    assert len(set(chosen)) == min(size, clients) and (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0 and chosen.max() < clients
    assert np.array_equal(chosen, sample_clients(seed, round_, clients, size))


def test_every_client_is_drawn_equally_often() -> None:
    counts = np.bincount(np.concatenate([sample_clients(3, t, 20, 5) for t in range(1, 4001)]), minlength=20)
    assert abs(counts - 1000).max() < 4.5 * (4000 * 0.25 * 0.75) ** 0.5


# sums over clients


class Recorded(Collective):
    """A rank of several that keeps what it would send."""

    def add_up(self, values: Tensor) -> Tensor:
        self.sent = values.clone()
        return values


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 1000))
def test_sums_have_the_same_bits_for_any_number_of_ranks(clients: int, world: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids, work = np.sort(rng.choice(100, clients, replace=False)), rng.integers(1, 50, clients).astype(float)
    rows = {client: torch.from_numpy(rng.normal(size=3).astype(np.float32)) for client in ids.tolist()}
    weights = {client: torch.tensor(rng.random(), dtype=torch.float32) for client in ids.tolist()}

    def pick(dealt: Dealt, of: dict[int, Tensor]) -> Tensor:
        return torch.stack([of[c] for c in dealt.clients[dealt.local].tolist()] or [torch.zeros(3)[:0]])

    alone = Dealt(ids, work, Collective())
    expected = alone.sum(pick(alone, rows), pick(alone, weights))
    exact = sum(rows[c].double() * weights[c].double() for c in ids.tolist())
    torch.testing.assert_close(expected.double(), exact, rtol=1e-4, atol=1e-5)

    blocks, everyone = [], []
    for rank in range(world):
        recorded = Recorded(rank, world)
        dealt = Dealt(ids, work, recorded)
        everyone += dealt.clients[dealt.local].tolist()
        own = len(dealt.local)
        dealt.sum(pick(dealt, rows) if own else torch.zeros(0, 3), pick(dealt, weights) if own else torch.zeros(0))
        blocks.append(recorded.sent)
    assert sorted(everyone) == ids.tolist(), "every client belongs to one rank"
    exchanged = torch.stack(blocks).sum(0)  # one rank alone is not zero in each block, so this is exact
    total = exchanged[0].clone()
    for block in exchanged[1:]:
        total += block
    assert torch.equal(total, expected)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=60), st.integers(1, BLOCKS))
def test_dealing_is_even(work: list[int], parts: int) -> None:
    load = np.bincount(deal(np.array(work, float), parts), work, parts)
    assert load.sum() == sum(work)
    assert load.max() - load.min() <= max(work)


# local training


def test_local_training_equals_a_plain_loop() -> None:
    """Different steps, minibatches, a client smaller than a batch: PyTorch's own SGD, client by client."""
    problem = mlp(batch_size=8, budget=[2, 3, 1, 4, 2, 3])
    _, state = problem.method("local")
    cohort = problem.cohort(state, round_=4)
    steps = torch.tensor([1, 5, 2, 7, 3, 4])[cohort.clients]
    with torch.no_grad():
        start = torch.randn(6, problem.model.size, dtype=torch.float64)
        trained = cohort.local(cohort.sgd, start, steps, variance=True)
    assert min(len(y) for y in problem.y) < 8 < max(len(y) for y in problem.y)
    used = 0
    for row, client in enumerate(cohort.clients.tolist()):
        module = MLP(4, [5], 3).double()
        nn.utils.vector_to_parameters(start[row], module.parameters())
        optimizer = torch.optim.SGD(module.parameters(), lr=problem.learning_rate)
        iterates, losses = [start[row].numpy().copy()], []
        for step in range(int(steps[row])):
            own = Batches(0, 4, np.array([len(y) for y in problem.y]), 8).indices("local", client, step)
            chosen = slice(None) if own is None else own
            loss = nn.functional.cross_entropy(
                module(torch.from_numpy(problem.x[client][chosen])),
                torch.from_numpy(problem.y[client][chosen]),
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            used += len(problem.y[client][chosen])
            iterates.append(nn.utils.parameters_to_vector(module.parameters()).detach().numpy().copy())
        np.testing.assert_allclose(trained.end[row], iterates[-1], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(cohort.counts.loss[row], sum(losses), rtol=1e-12)
        assert trained.mean is not None and trained.scatter is not None and trained.count is not None
        points = np.array(iterates)  # Welford, the start counted
        np.testing.assert_allclose(trained.mean[row], points.mean(0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(trained.scatter[row], points.var(0).sum() * len(points), rtol=1e-10)
        assert trained.count[row] == len(points)
    assert cohort.counts.gradients == int(steps.sum()) and cohort.counts.samples == used
    assert torch.equal(cohort.counts.steps.long(), steps)


def test_local_takes_tuples_context_and_streams() -> None:
    """A step on a pair with context: each client gets its own rows, a second stream its own batches."""
    problem = mlp(batch_size=3)
    _, state = problem.method("local")
    cohort = problem.cohort(state)
    shift = torch.arange(6, dtype=torch.float64)[cohort.clients][:, None]
    seen: list[tuple[Tensor, Tensor]] = []

    def step(pair: tuple[Tensor, Tensor], grad: Grad, own: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((grad(pair[0]), grad(pair[0], stream="second")))
        return pair[0] + own, pair[1] - own

    zeros = torch.zeros(6, problem.model.size, dtype=torch.float64)
    with torch.no_grad():
        first, second = cohort.local(step, (zeros, zeros + 1), torch.full((6,), 3), (shift,)).end
    torch.testing.assert_close(first, (3 * shift).expand_as(first))
    torch.testing.assert_close(second, (1 - 3 * shift).expand_as(second))
    assert any(not torch.equal(a, b) for a, b in seen)
    assert cohort.counts.gradients == 36 and cohort.counts.steps.tolist() == [3.0] * 6
    assert not zeros.any(), "the start is not written to"


def test_full_batches_and_float64_and_the_budget() -> None:
    problem = mlp()
    method, state = problem.method("fedavg")
    assert problem.model.vector.dtype == state.server["theta"].dtype == torch.float64
    state, cohort = problem.round(method, state, 1)
    assert cohort.counts.samples == sum(b * len(y) for b, y in zip(problem.budget, problem.y, strict=True))
    assert torch.equal(cohort.counts.steps.long(), torch.tensor(problem.budget)[cohort.clients])


# the model as one vector


def test_flat_model_round_trip() -> None:
    with torch.random.fork_rng():
        model = FlatModel(MLP(4, [5, 3], 2), TASKS["classification"], CPU, torch.float64)
    assert model.size == sum(p.numel() for p in model.module.parameters()) == 4 * 5 + 5 + 5 * 3 + 3 + 3 * 2 + 2
    vector = torch.randn(model.size, dtype=torch.float64)
    assert torch.equal(model.flatten(model.named(vector)), vector)
    x = torch.randn(7, 4, dtype=torch.float64)
    plain = MLP(4, [5, 3], 2).double()
    plain.load_state_dict(model.named(vector))
    assert torch.equal(model.outputs(vector, x), plain(x).detach())
    mask = model.head_mask()
    assert mask.sum() == 8 and torch.equal(
        torch.cat([p.reshape(-1) for p in model.named(vector).values()])[mask], vector[-8:]
    )
    with pytest.raises(SelfflError, match="has shape"):
        model.flatten({**model.named(vector), "output.bias": torch.zeros(3)})


def test_client_rows_read_as_their_start_until_written() -> None:
    store = ClientStore(5)
    store.add("theta", torch.tensor([1.0, 2.0]))
    ids = torch.tensor([3, 1])
    assert store.read("theta", ids).tolist() == [[1, 2], [1, 2]] and not store.has("theta", ids).any()
    store.write("theta", torch.tensor([3]), torch.tensor([[7.0, 8.0]]))
    assert store.read("theta", ids).tolist() == [[7, 8], [1, 2]] and store.has("theta", ids).tolist() == [
        True,
        False,
    ]
    other = ClientStore(5)
    other.add("theta", torch.tensor([1.0, 2.0]))
    for records in store.pack(np.array([1, 3])):
        other.unpack(records)
    assert other.read("theta", torch.arange(5)).tolist() == store.read("theta", torch.arange(5)).tolist()
    assert other.has("theta", ids).tolist() == [True, False], "what was never written stays so"


# evaluation


def test_evaluation_equals_a_direct_computation() -> None:
    """More samples than a batch, clients without samples, integers as pixels; global and personal models."""
    rng = np.random.default_rng(0)
    sizes = [700, 0, 3, 600, 1]
    model = FlatModel(Softmax(4, 3), TASKS["classification"], CPU, torch.float64)
    parts, raw = {}, {}
    for name in ("train", "test"):
        x, y = rng.integers(0, 255, (sum(sizes), 4)).astype(np.float32), rng.integers(0, 3, sum(sizes))
        arrays = {"x": torch.from_numpy(x), "y": torch.from_numpy(y)}
        parts[name] = DevicePart(Part(arrays, np.concatenate([[0], np.cumsum(sizes)])), CPU, torch.float64)
        raw[name] = x, y
    assert sum(sizes) > 2 * BATCH
    rows = 0.01 * torch.randn(5, model.size, dtype=torch.float64)
    shared = evaluate_global(model, rows[0], parts, Collective())
    own = {name: np.zeros((2, 5)) for name in parts}
    evaluate_rows(model, rows, np.arange(5), parts, own)
    for name, (x, y) in raw.items():
        for client in range(5):
            begin, end = sum(sizes[:client]), sum(sizes[: client + 1])
            for sums, row in ((shared[name], rows[0]), (own[name], rows[client])):
                logits = x[begin:end] @ row[:12].reshape(3, 4).numpy().T + row[12:].numpy()
                losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(end - begin), y[begin:end]]
                right = (logits.argmax(1) == y[begin:end]).sum()
                np.testing.assert_allclose(sums[:, client], [right, losses.sum()], rtol=1e-10, atol=1e-12)


@given(SIZES.filter(lambda s: len(s) > 1), st.integers(0, 100))
def test_summary_of_clients(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    with_empty = np.array([*sizes, 0])
    sums = np.array([rng.integers(0, with_empty + 1), rng.random(len(with_empty)) * with_empty])
    figures = summary(sums, with_empty, Classification)
    own = sums[0][:-1] / with_empty[:-1]
    assert figures["accuracy"] == pytest.approx(sums[0].sum() / sum(sizes))
    assert figures["loss"] == pytest.approx(sums[1].sum() / sum(sizes))
    assert figures["client_mean"] == pytest.approx(own.mean()) and figures["std"] == pytest.approx(own.std())
    assert figures["worst_tenth"] == pytest.approx(own.min())  # at most ten clients: the worst one
    errors = summary(sums, with_empty, Gaussian)
    assert errors["worst_tenth"] == pytest.approx(own.max()) and errors["p10"] >= figures["p10"]
