"""Every task in every form of run: trained, judged again, verified to the bit, run again, audited and reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from selffl_cli.cli.main import main
from selffl_cli.runs.folder import RunFolder
from selffl_cli.shards import ShardData, write_shards

SIZES = (7, 12, 9, 15, 8, 11, 10, 13)  # training samples; different ones, so that batches differ between clients
MODELS = {
    "classification": {"name": "mlp", "hidden": [6]},
    "detection": {"name": "mlp", "hidden": [6]},
    "gaussian": {"name": "location"},
    "language-model": {"name": "next-word", "embedding": 4, "hidden": 5},
    "tagging": {"name": "bilstm", "embedding": 4, "hidden": 3},
}
FORMS = {
    "plain": [],
    "periods": ["--set", "train.periods=true"],
    "new clients": ["--set", "train.new_clients=0.3"],
    "a sample of clients": ["--set", "train.eval_clients=3"],
    "nothing kept": ["--keep-models", "none"],
}
CASES = [(task, form) for task in MODELS for form in FORMS if (task, form) != ("gaussian", "periods")]


def write_data(folder: Path, task: str) -> None:
    """Eight clients of a task; every one but those of the Gaussian has samples of two periods."""
    rng = np.random.default_rng(0)
    sizes = np.array([1] * 8 if task == "gaussian" else SIZES)
    tests = np.ones(8, int) if task == "gaussian" else sizes // 2
    blocks = [(client, part) for client in range(8) for part in range(3)]
    counts = [{0: sizes, 1: np.zeros(8, int) if task == "gaussian" else tests, 2: tests}[p][c] for c, p in blocks]
    client, part = (np.repeat([block[i] for block in blocks], counts) for i in (0, 1))
    period = np.concatenate([np.arange(count) * 2 // max(count, 1) for count in counts])
    rows = len(client)
    shared: dict[str, np.ndarray] = {}
    words = rng.integers(1, 9, (rows, 6)) * (np.arange(6) < rng.integers(3, 7, rows)[:, None])
    if task == "gaussian":
        arrays = {"x": rng.normal(size=(rows, 3)), "y": np.ones(rows)}
        shared["theta_0"] = np.zeros(3)
    elif task in ("language-model", "tagging"):
        tags = np.where(words > 0, rng.integers(0, 3, words.shape), 0)
        x = words if task == "language-model" else np.stack([words, tags], 1)
        arrays = {"x": x, "y": rng.integers(0, 2, rows)}
        shared["vocabulary"] = np.frombuffer("\n".join("abcdefghi").encode(), np.uint8)
        if task == "tagging":
            shared["tags"] = np.frombuffer(b"O\nB-a\nI-a", np.uint8)
    else:
        y = rng.integers(0, 2 if task == "detection" else 3, rows)
        arrays = {"x": rng.normal(size=(rows, 4)) + 2 * np.eye(4)[y] + client[:, None] / 8, "y": y}
        arrays |= {"speaker": rng.integers(0, 5, rows).astype(np.int32)} if task == "detection" else {}
    gaussian = {"client_columns": {"variance": np.ones(8)}, "notes": {"s0": 1.0}} if task == "gaussian" else {}
    periods = {} if task == "gaussian" else {"periods": 2}
    data = ShardData(
        "made", "natural", "classification" if task == "detection" else task,
        arrays | ({} if task == "gaussian" else {"period": period}), client, part, [f"c{i}" for i in range(8)],
        [] if task == "gaussian" else ["a", "b"] if task == "detection" else ["a", "b", "c"], shared=shared,
        **periods, **gaussian,
    )  # fmt: skip
    write_shards(folder, data)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matrix")
    for task, model in MODELS.items():
        write_data(folder / f"{task}-data", task)
        options = "\n".join(f"{key} = {json.dumps(value)}" for key, value in model.items())
        (folder / f"{task}.toml").write_text(
            f'name = "{task}"\n[data]\nname = "made"\n[model]\n{options}\n'
            "[train]\nrounds = 2\nparticipation = 0.4\neval_every = 1\nbatch_size = 4\n[methods.ditto]\n"
        )
    return folder


@pytest.mark.parametrize(("task", "form"), CASES, ids=[f"{task}, {form}" for task, form in CASES])
def test_a_run_of_any_task_and_form_goes_all_the_way(
    task: str, form: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    monkeypatch.setattr("selffl_cli.report.build._draw", lambda *rest: [])  # pictures are tested by themselves
    runs = str(tmp_path / "runs")
    words = ["train", f"{task}.toml", "--data", f"./{task}-data", "--runs", runs, "--jobs", "1", "--workers", "1"]
    assert main([*words, *FORMS[form]]) == 0
    (path,) = (tmp_path / "runs" / task).glob("*-*")
    capsys.readouterr()

    kept = form != "nothing kept"
    csv = tmp_path / "table.csv"
    assert main(["eval", str(path), "--csv", str(csv), "--part", "test", "--part", "train"]) == (0 if kept else 2)
    if kept:
        check_table(csv, RunFolder(path))
    assert main(["eval", str(path), "--verify"]) == 0
    assert "NOT" not in capsys.readouterr().out
    assert main(["rerun", str(path), "--runs", str(tmp_path / "again")]) == 0
    assert "the same to the bit" in capsys.readouterr().out
    assert main(["audit", "membership", str(path)]) == (0 if kept else 1), capsys.readouterr().err
    told = [word for word in FORMS[form] if word.startswith(("--set", "train."))]
    assert main(["report", f"{task}.toml", "--runs", runs, "--out", str(tmp_path / "out"), *told]) == 0


def check_table(csv: Path, run: RunFolder) -> None:
    """`eval` shows the figures of result.json, whichever parts it was asked for and in whichever order."""
    head, *lines = [line.split(",") for line in csv.read_text().splitlines()]
    shown = [dict(zip(head, line, strict=True)) for line in lines]
    final = (run.result or {})["final"]
    assert {row["part"] for row in shown} >= {"test"}
    for row in shown:
        for name, value in final[row["part"]][row["model"]].items():
            assert float(row[name]) == value, (row["part"], row["model"], name)
