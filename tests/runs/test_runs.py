"""Run folders and the command that fills them: what names a folder, what is skipped, stopped, refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import arguments, make_place, only_run

from selffl_cli.cli.main import main
from selffl_cli.errors import SelfflError
from selffl_cli.runs.folder import CHECKPOINT, METRICS, MODELS, RECORD, RESULT, RunFolder, find_runs


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("place"))


@pytest.fixture
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


def test_a_changed_option_is_a_new_folder(inside: Path) -> None:
    for rate in ("0.1", "0.2"):
        assert main([*arguments("changed"), "--rounds", "2", "--set", f"train.learning_rate={rate}"]) == 0
    runs = find_runs(inside / "changed", "tiny")
    assert len(runs) == 2 and all(run.result is not None for run in runs)
    assert {run.record["train"]["learning_rate"] for run in runs} == {0.1, 0.2}


def test_the_record_is_complete(place: Path) -> None:
    """run.toml alone names every option, so that the run can be planned again from it."""
    record = RunFolder.open(only_run(place / "whole")).record
    assert record["train"]["learning_rate"] == 0.1 and record["train"]["local_epochs"] == 6
    assert record["method"]["intra"] == "across-rounds" and record["method"]["aggregate"] == "uncertainty"
    assert record["model"] == {"name": "mlp", "hidden": [8]} and record["data"]["clients"] == 7
    environment = RunFolder(only_run(place / "whole")).environment
    assert environment["threads"] == 1 and environment["command"][0] == "selffl"


# what a finished run holds


def test_what_a_finished_run_holds(place: Path) -> None:
    run = RunFolder.open(only_run(place / "whole"))
    assert run.result is not None and run.result["status"] == "finished"
    lines = run.metrics()
    assert [line["round"] for line in lines] == list(range(41))
    assert [line["round"] for line in lines if "eval" in line] == [*range(0, 40, 3), 40]
    assert run.result["final"] == lines[-1]["eval"] and run.result["gradients"] == lines[-1]["gradients"]
    last = lines[-1]
    size = sum(value.numel() for name, value in load_file(run.path / MODELS).items() if name != "personal")
    assert last["bytes_up"] == 40 * 4 * (size + 1) * 4 and last["bytes_down"] == 40 * 4 * (size + 2) * 4
    assert sum(line["steps"] for line in lines[1:]) == last["gradients"] == run.result["steps"]
    clients = run.clients.to_pydict()
    assert sum(clients["participations"]) == 40 * 4
    for part, kind in (("test", "personal"), ("train", "global"), ("validation", "personal")):
        accuracy = sum(clients[f"{part}_{kind}_correct"]) / sum(clients[f"n_{part}"])
        assert accuracy == pytest.approx(last["eval"][part][kind]["accuracy"], abs=1e-12)
        loss = sum(clients[f"{part}_{kind}_loss"]) / sum(clients[f"n_{part}"])
        assert loss == pytest.approx(last["eval"][part][kind]["loss"], abs=1e-12)
    assert not (run.path / CHECKPOINT).exists()


def test_personal_models_are_what_was_scored(place: Path) -> None:
    from selffl_cli.models.mlp import MLP
    from selffl_cli.shards import Shards

    run = RunFolder(only_run(place / "whole"))
    tensors = load_file(run.path / MODELS)
    part, module = Shards.open(place / "blobs").part("test"), MLP(4, [8], 3)
    correct = []
    for client, row in enumerate(tensors["personal"]):
        torch.nn.utils.vector_to_parameters(row, module.parameters())
        own = slice(*part.offsets[client : client + 2])
        right = module(part.arrays["x"][own].float()).argmax(1) == part.arrays["y"][own]
        correct.append(float(right.sum()))
    assert correct == run.clients["test_personal_correct"].to_pylist()


@pytest.mark.parametrize(
    ("keep", "held"), [("none", set()), ("global", {"global"}), ("personal", {"global", "personal"})]
)
def test_keep_models(keep: str, held: set[str], inside: Path) -> None:
    assert main([*arguments(f"keep-{keep}"), "--rounds", "1", "--keep-models", keep]) == 0
    tensors = load_file(only_run(inside / f"keep-{keep}") / MODELS)
    assert {name.partition("/")[0] for name in tensors} == held


# starts


def test_init_from_a_run_and_from_a_file(inside: Path, tmp_path: Path) -> None:
    source = only_run(inside / "whole")
    tensors = load_file(source / MODELS)
    named = {k.removeprefix("global/"): v for k, v in tensors.items() if k.startswith("global/")}
    save_file(named, tmp_path / "start.safetensors")
    first = []
    for start in (source, tmp_path / "start.safetensors"):
        runs = f"from-{start.name[:4]}"
        short = ["--rounds", "1", "--set", "train.eval_every=1"]
        assert main([*arguments(runs), "--init", str(start), *short]) == 0
        first.append(RunFolder(only_run(inside / runs)).metrics()[0]["eval"])
    assert first[0] == first[1]
    assert first[0]["test"]["global"] == RunFolder(source).metrics()[-1]["eval"]["test"]["global"]


def test_a_warm_start_is_trained_once_and_shared(inside: Path) -> None:
    text = (
        (inside / "tiny.toml").read_text().replace("[methods.actperfl]", "[warm_start]\nrounds = 2\n[methods.actperfl]")
    )
    (inside / "warm.toml").write_text(text.replace('name = "tiny"', 'name = "warm"'))
    short = ["--rounds", "2", "--set", "train.eval_every=1"]
    words = ["train", "warm.toml", "--data", "./blobs", "--runs", "warm", *short]
    assert main(words) == 0
    runs = {run.record["label"]: run for run in find_runs(inside / "warm", "warm")}
    assert set(runs) == {"warm-start", "actperfl", "fedavg"}
    ends = runs["warm-start"].metrics()[-1]["eval"]["test"]["global"]
    for label in ("actperfl", "fedavg"):
        assert runs[label].metrics()[0]["eval"]["test"]["global"] == ends
        assert runs[label].record["init"] == f"run-{runs['warm-start'].path.name[-8:]}"


# what is refused, and what goes on


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--method", "actperfi"], 2, "did you mean 'actperfl'"),
        (["--method", "actperfl:stepps=fixed"], 2, "did you mean 'steps'"),
        (["--method", "actperfl:steps=sometimes"], 2, "steps = 'sometimes'"),
        (["--rounds", "0"], 2, "rounds"),
        (
            ["--set", "train.learning_rat=1"],
            2,
            "did you mean 'train.learning_rate'|did you mean 'learning_rate'",
        ),
        (["--set", "train.learning_rate=-1"], 2, "learning_rate = -1"),
        (["--set", "train.batch_size=0"], 2, "at least one sample"),
        (["--set", "train.local_steps=3", "--set", "train.local_epochs=1"], 2, "not both"),
        (["--set", "model.hidden=[0]"], 2, "hidden"),
        (["--seeds", "4-2"], 2, "range"),
        (["--seeds", "1,1"], 2, "different"),
        (["--seeds", "5000000000"], 2, "2147483647"),
        (["--budget", "soon"], 2, "90s"),
        (["--init", "nowhere.safetensors"], 2, "no such run folder or file"),
        (["--device", "abacus"], 2, "auto, cpu or cuda"),
    ],
)
def test_bad_requests_change_nothing(
    words: list[str], code: int, says: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert main([*arguments("refused"), *words]) == code
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and re.search(says, shown.err), shown.err
    assert not (inside / "refused").exists()


def test_data_that_are_not_there_are_named(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "tiny.toml", "--data", "./nowhere", "--runs", "refused"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and "selffl prepare" in shown.err
    assert not (inside / "refused").exists()


def test_an_unfinished_or_damaged_run_folder_is_named(place: Path, tmp_path: Path) -> None:
    with pytest.raises(SelfflError, match="not a run folder"):
        RunFolder.open(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(only_run(place / "whole"), copy)
    (copy / RESULT).write_text("{")
    with pytest.raises(SelfflError, match="cannot be read"):
        _ = RunFolder(copy).result
    (copy / RECORD).write_text("= 3")
    with pytest.raises(SelfflError, match="cannot be read"):
        _ = RunFolder(copy).record
    (copy / METRICS).write_text("{}\n{{\n{}\n")
    with pytest.raises(SelfflError, match="damaged"):
        RunFolder(copy).metrics()


def test_a_diverged_run_is_recorded_and_the_others_go_on(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        inside / "tiny.toml"
    ).read_text() + "[methods.wild]\nmethod = 'fedavg'\ntrain = { learning_rate = 1e6, rounds = 30 }\n"
    (inside / "wild.toml").write_text(
        text.replace('name = "tiny"', 'name = "wild"').replace("rounds = 40", "rounds = 2")
    )
    words = ["train", "wild.toml", "--data", "./blobs", "--runs", "wild", "-m", "wild", "-m", "fedavg"]
    assert main([*words, "--set", "model.name=softmax", "--set", "model.hidden=[3]"]) == 2  # softmax has no hidden
    capsys.readouterr()
    code = main(words)
    runs = {run.record["label"]: run.result for run in find_runs(inside / "wild", "wild")}
    assert runs["fedavg"] is not None and runs["fedavg"]["status"] == "finished"
    wild = runs["wild"]
    assert wild is not None and wild["status"] == "diverged" and wild["client"] in range(7) and wild["round"] > 0
    assert "diverged" in capsys.readouterr().out
    assert code == 0
    assert main(words) == 0, "a diverged run is finished too: it is not tried again"
    assert find_runs(inside / "wild", "wild")[-1].result == wild
