"""The stacked engine against the sequential one: every method, every model, any chunks; captured steps; memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import CHOSEN, CPU, Problem, TwoParameters, logistic, mlp
from torch import Tensor, nn

from selffl_cli.engine.batches import Batches
from selffl_cli.engine.cohort import Cohort, Grad, State
from selffl_cli.engine.evaluation import evaluate_rows
from selffl_cli.engine.flat import DevicePart, FlatModel
from selffl_cli.engine.parallel.collective import Collective, Dealt
from selffl_cli.engine.stacked.batch_tables import drawn, weighed
from selffl_cli.engine.stacked.capture import CapturedRunner, CaptureFailed, likeness
from selffl_cli.engine.stacked.chunk import Lanes, Runner
from selffl_cli.engine.stacked.chunk_size import Chunks, cached_clients
from selffl_cli.engine.stacked.engine import Stacked, StackedCohort
from selffl_cli.engine.stacked.evaluation import evaluate_stacked
from selffl_cli.engine.stacked.layers import ConvForm
from selffl_cli.engine.stacked.lstm import StackedLSTMLayers
from selffl_cli.engine.stacked.model import StackedModel
from selffl_cli.errors import SelfflError
from selffl_cli.methods import METHODS
from selffl_cli.models.bilstm import BiLSTM
from selffl_cli.models.cnn import CNN
from selffl_cli.models.cnn11 import CNN11
from selffl_cli.models.cnn_cifar import CifarCNN
from selffl_cli.models.location import Location
from selffl_cli.models.lstm import StackedLSTM
from selffl_cli.models.mlp import MLP
from selffl_cli.models.next_word import NextWord
from selffl_cli.models.softmax import Softmax
from selffl_cli.models.task import TASKS
from selffl_cli.shards import Part

DTYPES = {torch.float64: 1e-9, torch.float32: 1e-5}


@dataclass
class StackedProblem:
    """A problem whose cohorts are stacked, `most` clients at once."""

    problem: Problem
    most: int = 2
    runner: Runner | None = None

    def __post_init__(self) -> None:
        model = StackedModel(self.problem.model)
        self.stacked = Stacked(model, Chunks(self.most), self.runner or Runner())

    def cohort(self, state: State, clients: Sequence[int] | None = None, round_: int = 1) -> StackedCohort:
        plain = self.problem
        ids = np.arange(len(plain.x)) if clients is None else np.array(clients)
        return StackedCohort(
            self.stacked, plain.model, plain.data, state.clients, Collective(), ids, np.array(plain.budget),
            plain.config(round_),
        )  # fmt: skip


def trajectory(problem: Problem, cohorts: Any, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Four rounds of incomplete cohorts: models at the end, and what was counted in each round, by client."""
    method, state = problem.method(name, **options)
    out: dict[str, Any] = {"losses": [], "counts": []}
    with torch.no_grad():
        for round_, clients in enumerate(CHOSEN, 1):
            cohort: Cohort = cohorts.cohort(state, clients, round_)
            state = method.round(state, cohort)
            order, counts = torch.argsort(cohort.clients), cohort.counts
            out["losses"].append(counts.loss[order])
            out["counts"].append((counts.steps[order].tolist(), counts.gradients, counts.samples))
        cohort = cohorts.cohort(state, None, len(CHOSEN))
        out["personal"] = method.personal(state, cohort)[torch.argsort(cohort.clients)]
    out["global"] = method.global_(state)
    return out


def assert_alike(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    assert one["counts"] == other["counts"]
    for key in ("losses", "personal", "global"):
        torch.testing.assert_close(other[key], one[key], rtol=tolerance, atol=tolerance)


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in METHODS if name != "oracle"),
    ("actperfl", {"intra": "fisher", "pool": "all"}),
    ("actperfl", {"intra": "across-rounds", "steps": "curvature"}),
    ("actperfl", {"steps": "literal", "init": "literal"}),
    ("actperfl", {"rate": "matched", "aggregate": "equal"}),
    ("perfedavg", {"variant": "HF", "adaptation_steps": "budget"}),
    ("pfedme", {"start": "last", "local_rounds": 3, "inner_steps": 2}),
    ("apfl", {"adaptive": True}),
    ("fedrep", {"head_steps": 1, "body_steps": 3}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
@pytest.mark.parametrize("batch_size", [8, None], ids=["batches", "full"])
def test_every_method_is_the_same_on_both_engines(name: str, options: dict[str, Any], batch_size: int | None) -> None:
    """Unequal clients, some smaller than a batch, incomplete cohorts, several streams: 1e-9; counts exactly."""
    problem = mlp(batch_size=batch_size, budget=[2, 5, 1, 4, 2, 3])
    plain = trajectory(problem, problem, name, options)
    assert_alike(plain, trajectory(problem, StackedProblem(problem), name, options), 1e-9)


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_captured_steps_are_the_same(name: str, options: dict[str, Any]) -> None:
    """Replayed on tensors that stay where they are, finished clients masked: what CUDA graphs are given to do."""
    problem = mlp(batch_size=8, budget=[2, 5, 1, 4, 7, 3])
    recorder = Recorded()
    replayed = StackedProblem(problem, 32, CapturedRunner(recorder))
    assert_alike(trajectory(problem, problem, name, options), trajectory(problem, replayed, name, options), 1e-9)
    assert recorder.replays > 0


def text(generator: np.random.Generator, samples: int) -> np.ndarray:
    """Indices of 12 words, one to seven of them, then padding."""
    x = generator.integers(1, 12, (samples, 7))
    x[np.arange(7) >= generator.integers(1, 8, (samples, 1))] = 0
    return x


def pixels(*shape: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda generator, samples: generator.integers(0, 256, (samples, *shape), dtype=np.uint8)


def tagged(generator: np.random.Generator, samples: int) -> np.ndarray:
    """Texts with one of 3 tags for each word."""
    words = text(generator, samples)
    return np.stack([words, np.where(words, generator.integers(0, 3, words.shape), 0)], 1)


def floats(*shape: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda generator, samples: generator.normal(size=(samples, *shape))


WORDS = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[..., np.ndarray], str]] = {
    "softmax": (lambda: Softmax(6, 2), floats(6), "classification"),
    "mlp": (lambda: MLP(9, [5, 4], 2), pixels(1, 3, 3), "classification"),
    "cnn": (lambda: CNN((1, 16, 16), [3, 4], 6, 2), pixels(1, 16, 16), "classification"),
    "cnn-cifar": (lambda: CifarCNN((3, 8, 8), [8, 16], 6, 2), pixels(3, 8, 8), "classification"),
    "cnn11": (lambda: CNN11(16, 16, 2), floats(16, 16), "classification"),
    "lstm": (lambda: StackedLSTM(WORDS, 5, 2, 4), text, "classification"),
    "lstm last-step": (lambda: StackedLSTM(WORDS, 5, 3, 4, "last-step"), text, "classification"),
    "next-word": (lambda: NextWord(12, 5, 4, 2), text, "language-model"),
    "bilstm": (lambda: BiLSTM(12, 3, 5, 4), tagged, "tagging"),
    "location": (lambda: Location(3), floats(3), "gaussian"),
    "without a stacked form": (lambda: TwoParameters(0.3, -0.2), floats(2), "classification"),
}


def model_problem(name: str, dtype: torch.dtype, seed: int = 0, batch_size: int | None = 4) -> Problem:
    """Five clients of 3 to 11 samples for the model (two for the largest one)."""
    make, draw, task = MODELS[name]
    rng = np.random.default_rng(seed)
    sizes = [3, 5] if name == "cnn11" else [3, 11, 4, 8, 9]
    y = [rng.integers(0, 2, n) if task != "gaussian" else rng.uniform(1, 2, n) for n in sizes]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
    problem = Problem(
        module, [draw(rng, n) for n in sizes], y, [1, 2, 4, 3, 2][: len(sizes)], 0.05, batch_size, task=task
    )
    problem.model = FlatModel(problem.module, TASKS[task], CPU, dtype)
    arrays = {key: torch.from_numpy(np.concatenate(getattr(problem, key))) for key in ("x", "y")}
    problem.data = DevicePart(Part(arrays, problem.data.offsets), CPU, dtype)
    return problem


@torch.no_grad()
def one_round(problem: Problem, cohorts: Any) -> dict[str, Any]:
    """Ditto's pair of models and the iterates' scatter after one round, by client."""
    method, state = problem.method("ditto")
    state, cohort = method.round(state, cohorts.cohort(state)), cohorts.cohort(state)
    trained = cohort.local(cohort.sgd, cohort.spread(problem.model.start), cohort.budget, variance=True)
    order, counts = torch.argsort(cohort.clients), cohort.counts
    return {
        "losses": counts.loss[order], "personal": state.clients.read("theta", torch.arange(len(cohort))),
        "global": state.server["theta"], "scatter": trained.scatter[order], "mean": trained.mean[order],
        "counts": (counts.steps[order].tolist(), counts.gradients, counts.samples),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_the_same_on_both_engines(name: str, dtype: torch.dtype) -> None:
    problem = model_problem(name, dtype)
    plain, other = one_round(problem, problem), one_round(problem, StackedProblem(problem, 3))
    assert_alike(plain, other, DTYPES[dtype])
    torch.testing.assert_close(other["scatter"], plain["scatter"], rtol=1e3 * DTYPES[dtype], atol=DTYPES[dtype])
    torch.testing.assert_close(other["mean"], plain["mean"], rtol=DTYPES[dtype], atol=DTYPES[dtype])


@pytest.mark.parametrize("form", ["grouped", "unfold", "loop", "mixed"])
@pytest.mark.parametrize("name", ["cnn", "cnn-cifar", "cnn11"])
def test_every_form_of_convolution_is_the_same(name: str, form: ConvForm) -> None:
    problem = model_problem(name, torch.float64)
    rows = problem.model.start + 0.1 * torch.randn(3, problem.model.size, dtype=torch.float64)
    x, y = problem.data.samples(torch.tensor([0, 1, 5, 6, 3, 7]))
    gradient, loss = StackedModel(problem.model, form).gradient(rows, x, y, torch.full((3, 2), 0.5).double())
    for k in range(3):
        expected = problem.model.gradient(rows[k], x[2 * k : 2 * k + 2], y[2 * k : 2 * k + 2])
        torch.testing.assert_close((gradient[k], loss[k]), expected, rtol=1e-9, atol=1e-12)


def test_the_models_have_stacked_layers_and_share_what_is_frozen() -> None:
    """vmap is for architectures of others: ours are stacked layer by layer, an embedding exists once."""
    for name in set(MODELS) - {"location", "without a stacked form"}:
        assert StackedModel(model_problem(name, torch.float32).model).module is not None, name
    model = model_problem("lstm", torch.float32).model
    stacked = StackedModel(model).module
    assert stacked is not None and stacked.embedding is model.module.embedding
    assert not list(stacked.parameters())


def test_a_text_is_not_trimmed_where_the_host_would_wait() -> None:
    """Without trimming a batch to its longest text, as on a GPU, gradients are the same."""
    for name in ("lstm", "next-word"):
        problem = model_problem(name, torch.float64)
        stacked = StackedModel(problem.model)
        x, y = problem.data.samples(torch.arange(6))
        arguments = problem.model.start.expand(3, -1), x, y, torch.full((3, 2), 0.5).double()
        trimmed = stacked.gradient(*arguments)
        assert stacked.module is not None and stacked.module.trim
        stacked.module.__dict__["trim"] = False
        torch.testing.assert_close(stacked.gradient(*arguments), trimmed, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("both_ways", [False, True])
def test_backward_of_the_lstm(both_ways: bool) -> None:
    """Its hand-written gradients against finite differences."""
    plain = nn.LSTM(3, 2, 2, batch_first=True, bidirectional=both_ways).double()
    layers = StackedLSTMLayers(plain)
    draw = torch.Generator().manual_seed(0)
    named = {
        name: torch.randn(2, *p.shape, dtype=torch.float64, generator=draw) for name, p in plain.named_parameters()
    }
    x = torch.randn(2 * 2, 3, 3, dtype=torch.float64, generator=draw, requires_grad=True)

    def outputs(x: Tensor, *weights: Tensor) -> Tensor:
        layers.__dict__.update(zip(named, weights, strict=True))
        return layers(x)[0]

    assert torch.autograd.gradcheck(outputs, (x, *(w.requires_grad_() for w in named.values())))


@pytest.mark.parametrize("name", ["mlp", "lstm", "cnn"])
def test_bf16_is_near_and_leaves_evaluation_exact(name: str) -> None:
    """Both engines take training's products in bfloat16: 1e-2 from float32, and not equal to it."""
    problem = model_problem(name, torch.float32)
    x, y = problem.data.samples(torch.arange(6))
    rows, share = problem.model.start.expand(3, -1), torch.full((3, 2), 0.5)
    stacked = StackedModel(problem.model)
    exact, outputs = stacked.gradient(rows, x, y, share)[0], problem.model.outputs(rows[0], x)
    problem.model.bf16 = True
    low, alone = stacked.gradient(rows, x, y, share)[0], problem.model.gradient(rows[0], x[:2], y[:2])[0]
    assert low.dtype == alone.dtype == torch.float32
    for value, wanted in ((low, exact), (alone, exact[0])):
        assert 0 < (value - wanted).norm() < 0.05 * wanted.norm()
    assert torch.equal(problem.model.outputs(rows[0], x), outputs)


# chunks


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 6)), min_size=1, max_size=40),
    st.integers(1, 40), st.sampled_from([1, 3, 5, None]), st.integers(0, 100),
)  # fmt: skip
def test_any_chunks_any_steps(clients: list[tuple[int, int]], most: int, batch: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [size for size, _ in clients]
    x, y = [rng.normal(size=(n, 2)) for n in sizes], [rng.integers(0, 2, n) for n in sizes]
    problem = Problem(TwoParameters(0.3, -0.2), x, y, [1] * len(clients), batch_size=batch)
    steps = torch.tensor([number for _, number in clients])
    start = torch.from_numpy(rng.normal(size=(len(clients), 2)))
    found = []
    for cohorts in (problem, StackedProblem(problem, most)):
        _, state = problem.method("local")
        cohort = cohorts.cohort(state)
        with torch.no_grad():
            own = start[cohort.clients]
            local = cohort.local(cohort.sgd, own, steps[cohort.clients], variance=True)
            outside = cohort.grad(own, "other", 2)
        order, counts = torch.argsort(cohort.clients), cohort.counts
        assert torch.equal(local.count[order], steps + 1)
        figures = [v[order] for v in (local.end, local.mean, local.scatter, outside, counts.loss, counts.steps)]
        found.append((figures, counts.gradients, counts.samples))
    assert found[0][1:] == found[1][1:]
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-10, atol=1e-12)


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=6), st.one_of(st.none(), st.integers(1, 22)), st.integers(0, 5)
)  # fmt: skip
def test_tables_hold_the_batches(sizes: list[int], batch_size: int | None, first: int) -> None:
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    total = max(1, int(offsets[-1]))
    part = Part({"x": torch.arange(total)[:, None], "y": torch.zeros(total, dtype=torch.int64)}, offsets)
    data, batches = DevicePart(part, CPU, torch.float64), Batches(3, 7, np.array(sizes), batch_size)
    clients, steps = np.arange(len(sizes)), np.arange(1, len(sizes) + 1)
    table = weighed(*drawn(batches, data, "local", clients, steps, first), True, torch.float64, CPU)
    for row, client in enumerate(clients.tolist()):
        for step in range(steps[row]):
            own = batches.indices("local", client, first + step)
            wanted = offsets[client] + (np.arange(sizes[client]) if own is None else own)
            index, share = table.at(step, len(clients))
            assert index[row][share[row] > 0].tolist() == wanted.tolist()
            assert share[row].sum() == pytest.approx(1.0 if len(wanted) else 0.0)
            assert table.samples(step, row + 1)[row] == len(wanted)
            assert set(index[row].tolist()) <= set(wanted.tolist()) or not len(wanted)


def test_sums_have_the_bits_of_the_sequential_engine() -> None:
    problem = mlp(clients=6)
    _, state = problem.method("local")
    cohort = StackedProblem(problem).cohort(state)
    values, weights = torch.randn(6, 7, dtype=torch.float32), torch.rand(6, dtype=torch.float32)
    for given_ in ((values, weights), (values,), (weights,)):
        assert torch.equal(cohort.sum(*given_), Dealt.sum(cohort.dealt, *given_))


def test_a_chunk_out_of_memory_is_halved_and_said_once() -> None:
    problem = mlp(batch_size=8, budget=[2, 5, 1, 4, 2, 3])
    stacked, said = StackedProblem(problem, 6), []
    stacked.stacked.chunks.say = said.append
    original, seen = stacked.stacked.model.gradient, []

    def gradient(rows: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(rows, *rest)

    stacked.stacked.model.gradient = gradient  # type: ignore[method-assign]
    plain = trajectory(problem, problem, "ditto", {})
    assert_alike(plain, trajectory(problem, stacked, "ditto", {}), 1e-9)
    assert said == ["out of memory with 3 clients at once; going on with 2"]
    assert seen.count(3) == 1, "what did not fit once is not tried again"


def test_a_single_client_out_of_memory_is_an_error() -> None:
    problem = mlp()
    stacked = StackedProblem(problem)

    def gradient(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    stacked.stacked.model.gradient = gradient  # type: ignore[method-assign, assignment]
    _, state = problem.method("local")
    cohort = stacked.cohort(state)
    with pytest.raises(SelfflError, match="out of memory with a single client"):
        cohort.local(cohort.sgd, cohort.spread(problem.model.start), cohort.budget)


def test_chunks_stay_in_blocks_and_in_the_cache() -> None:
    """On the CPU who is computed beside whom must not depend on ranks."""
    problem = logistic(clients=40, budget=[1] * 40)
    _, state = problem.method("local")
    cohort = StackedProblem(problem, 7).cohort(state)
    seen: list[list[int]] = []
    cohort.stacked.each_chunk(
        cohort.ids, cohort.data, np.ones(40, np.int64), cohort.block,
        lambda chunk: seen.append(cohort.dealt.block[chunk].tolist()),
    )  # fmt: skip
    assert [len(set(blocks)) for blocks in seen] == [1] * len(seen)
    assert sorted(np.concatenate(seen).tolist()) == sorted(cohort.dealt.block.tolist())
    assert cohort.dealt.num_blocks == 2, "16 clients in a block, where there are enough"
    assert cached_clients(10, 4) > cached_clients(50_000, 4) >= cached_clients(10**7, 4) >= 1


# divergence and evaluation


def test_divergence_names_the_lowest_client_and_spoils_no_other() -> None:
    problem = mlp(batch_size=4)
    plain = one_round(problem, problem)
    for client in (4, 2):
        problem.data.x[problem.data.offsets[client]] = torch.nan
    _, state = problem.method("local")
    cohort = StackedProblem(problem, 6).cohort(state)
    with torch.no_grad():
        end = cohort.local(cohort.sgd, cohort.spread(problem.model.start), torch.full((6,), 4)).end
    assert cohort.counts.diverged == 2
    finite = end.isfinite().all(1)[torch.argsort(cohort.clients)]
    assert finite.tolist() == [True, True, False, True, False, True]
    assert plain["global"].isfinite().all()


def test_stacked_evaluation_equals_one_after_another() -> None:
    """Clients without samples in a part, more samples than a batch."""
    rng = np.random.default_rng(0)
    model = FlatModel(Softmax(4, 3), TASKS["classification"], CPU, torch.float64)
    parts = {}
    for name, sizes in (("train", [700, 0, 3, 600, 1]), ("test", [0, 0, 1, 2, 4])):
        x, y = rng.normal(size=(sum(sizes), 4)), rng.integers(0, 3, sum(sizes))
        arrays = {"x": torch.from_numpy(x), "y": torch.from_numpy(y)}
        parts[name] = DevicePart(Part(arrays, np.concatenate([[0], np.cumsum(sizes)])), CPU, torch.float64)
    rows = torch.randn(3, model.size, dtype=torch.float64)
    plain, stacked = ({name: np.zeros((2, 5)) for name in parts} for _ in range(2))
    clients = np.array([3, 0, 2])
    evaluate_rows(model, rows, clients, parts, plain)
    evaluate_stacked(StackedModel(model), rows, clients, parts, stacked)
    for name in parts:
        np.testing.assert_allclose(stacked[name], plain[name], rtol=1e-12)
        np.testing.assert_array_equal(stacked[name][0], plain[name][0])


# captured steps


class Recorded:
    """Captures by keeping the function: it does what a CUDA graph does, on tensors that stay where they are."""

    def __init__(self, fail: bool = False) -> None:
        self.captures, self.replays, self.fail = 0, 0, fail

    def apart(self) -> AbstractContextManager[object]:
        return nullcontext()

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        if self.fail:
            raise CaptureFailed("operation not permitted when stream is capturing")

        def replay() -> None:
            self.replays += 1
            step()

        return replay

    def forget(self) -> None:
        pass


def lanes_of(problem: Problem, name: str, rounds: int, options: dict[str, Any]) -> list[Lanes]:
    """Every chunk of these rounds of a method and its personal models."""

    class Noted(Runner):
        def run(self, lanes: Lanes, *rest: Any) -> Any:
            seen.append(lanes)
            return super().run(lanes, *rest)

    seen: list[Lanes] = []
    stacked = StackedProblem(problem, 32, Noted())
    method, state = problem.method(name, **options)
    with torch.no_grad():
        for round_ in range(1, rounds + 1):
            cohort = stacked.cohort(state, None, round_)
            state = method.round(state, cohort)
            method.personal(state, stacked.cohort(state, None, round_))
    return seen


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_steps_of_later_rounds_are_captured_once(name: str, options: dict[str, Any]) -> None:
    """A method's step holds nothing that a round makes anew, so one capture serves the whole run."""
    problem = mlp(batch_size=8)
    kinds = [len({likeness(lanes) for lanes in lanes_of(problem, name, n, options)}) for n in (1, 3)]
    assert kinds[0] == kinds[1] <= 3


def test_steps_that_hold_other_values_are_not_alike() -> None:
    problem = mlp(batch_size=8)
    kinds = {}
    for mu in (0.1, 0.2):
        kinds[mu] = likeness(lanes_of(problem, "fedprox", 1, {"mu": mu})[0])
    assert kinds[0.1] != kinds[0.2]


def test_a_step_that_cannot_be_captured_is_taken_plainly() -> None:
    problem, said = mlp(batch_size=8, budget=[2, 5, 1, 4, 2, 6]), []
    recorder = Recorded(fail=True)
    stacked = StackedProblem(problem, 32, CapturedRunner(recorder, said.append))
    assert_alike(trajectory(problem, problem, "ditto", {}), trajectory(problem, stacked, "ditto", {}), 1e-9)
    assert len(said) == recorder.captures == 1 and "could not be captured" in said[0]


def test_steps_that_return_what_they_were_given() -> None:
    """A step that swaps its rows, or gives a view of one for the other, is not overwritten half way."""
    problem = mlp(batch_size=8)
    _, state = problem.method("local")
    pair = torch.randn(2, 6, problem.model.size, dtype=torch.float64)

    def swap(rows: tuple[Tensor, Tensor], grad: Grad) -> tuple[Tensor, Tensor]:
        return rows[1] - 0.1 * grad(rows[0]), rows[0]

    ends = []
    for cohorts in (problem, StackedProblem(problem, 4)):
        cohort = cohorts.cohort(state)
        start = tuple(rows[cohort.clients] for rows in pair)
        with torch.no_grad():
            local = cohort.local(swap, start, torch.full((6,), 3))
        ends.append(torch.stack(local.end)[:, torch.argsort(cohort.clients)])
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_the_gpu_program_runs(tmp_path: Path) -> None:
    """On the CPU and small, so that the one command for a GPU machine is not dead code."""
    root = Path(__file__).parents[2]
    words = [str(root / "benchmarks" / "gpu.py"), "--device", "cpu", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "README.md").read_text()
    for title in ("agree", "Seconds a round", "Forms", "Precision", "tweets figure"):
        assert title in page
    assert {"W1", "W2", "tweets_minutes"} <= json.loads((tmp_path / "figures.json").read_text()).keys()
