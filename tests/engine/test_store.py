"""Client rows on disk, and the log that checkpoints append to: the same numbers as in memory, whatever happens."""

from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import class_shards, training
from test_resume import in_a_child, killed_at
from tiny import comparable

from selffl_cli.cli.main import main
from selffl_cli.engine import store as store_file
from selffl_cli.engine.store import ClientStore
from selffl_cli.errors import SelfflError
from selffl_cli.methods import METHODS
from selffl_cli.runs import rowlog
from selffl_cli.runs.folder import CHECKPOINT
from selffl_cli.runs.rowlog import RowLog
from selffl_cli.shards import Shards
from selffl_cli.training.loop import Controls, Stopped

OPTIONS: dict[str, Any] = {"participation": 0.6, "batch_size": 5, "dtype": "float32", "eval_every": 2, "rounds": 3}
MODEL = {"name": "mlp", "hidden": [5]}  # 43 parameters: long rows


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return class_shards(tmp_path_factory.mktemp("shards") / "blobs", clients=7)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    def describe(device: str, workers: int, engine: str) -> dict[str, Any]:
        return {"device": device, "workers": workers, "engine": engine}

    monkeypatch.setattr("selffl_cli.training.loop.describe", describe)


def train(folder: Path, shards: Shards, method: str = "actperfl", place: Any = "disk", **controls: Any) -> Any:
    settings_ = Controls(keep="personal", checkpoint_seconds=0, client_store=place, **controls)
    options = {"intra": "across-rounds"} if method == "actperfl" else {}
    return training(folder, shards, method, options, MODEL, controls=settings_, **OPTIONS).run()


def three_tables(clients: int = 6) -> ClientStore:
    store = ClientStore(clients)
    store.add("long", torch.arange(20.0))
    store.add("count", torch.tensor(3))
    store.add("double", torch.zeros(9, dtype=torch.float64))
    return store


# the store


@pytest.mark.parametrize("method", ["actperfl", "ditto", "apfl"])
def test_rows_on_a_device_give_the_numbers_of_memory_and_resume(
    method: str, tmp_path: Path, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that lie where the engine computes, as on a GPU; here that place is the CPU."""
    train(tmp_path / "memory", shards, method, "memory")
    monkeypatch.setattr(ClientStore, "_fits_device", lambda store: True)
    with pytest.raises(Stopped):
        train(tmp_path / "device", shards, method, "memory", should_stop=lambda: True)
    train(tmp_path / "device", shards, method, "memory")
    assert comparable(tmp_path / "device") == comparable(tmp_path / "memory")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["long", "count", "double"]), st.sets(st.integers(0, 5), max_size=4))))
def test_disk_reads_what_memory_reads(tmp_path_factory: pytest.TempPathFactory, writes: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("tables")
    memory, disk = three_tables(), three_tables()
    memory.open()
    disk.open(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["double.rows", "long.rows"], "short rows stay in memory"
    everyone = torch.arange(6)
    for number, (name, clients) in enumerate(writes):
        ids = torch.tensor(sorted(clients), dtype=torch.int64)
        rows = number + torch.rand(len(ids), *memory.initial[name].shape).to(memory.initial[name].dtype)
        for store in (memory, disk):
            store.write(name, ids, rows)
    for name in memory.initial:
        assert torch.equal(memory.read(name, everyone), disk.read(name, everyone))
        assert torch.equal(memory.has(name, everyone), disk.has(name, everyone))
    assert [r.tobytes() for r in memory.pack(np.arange(6))] == [r.tobytes() for r in disk.pack(np.arange(6))]
    disk.close()
    assert not list(folder.iterdir())


def test_files_are_sparse_and_pages_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million rows of 4 KB: a file of 4 GB that holds a page a row written, and little of it in memory."""
    monkeypatch.setattr(store_file, "HELD", 2**20)
    store = ClientStore(1_000_000)
    store.add("theta", torch.zeros(1024))
    store.open(tmp_path)
    path = tmp_path / "theta.rows"
    assert path.stat().st_size == 4_096_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for begin in range(0, 1_000_000, 2000):
        ids = torch.arange(begin, begin + 20)
        store.write("theta", ids, torch.full((20, 1024), float(begin)))
        assert store.read("theta", ids)[3, 7] == begin
    assert path.stat().st_blocks * 512 < 1.2 * 10_000 * 4096
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KB; written: 40,960
    store.close()


def test_a_table_that_no_memory_holds_says_what_to_do() -> None:
    store = ClientStore(10**13)
    store.add("theta", torch.zeros(100))
    with pytest.raises(SelfflError, match="GiB of client rows are more than this machine's memory; use --client-st"):
        store.open()


# the log


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_log_gives_back_the_latest_records_of_any_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Random rounds, reloads (also from the checkpoint before) and cleanings, against a dictionary."""
    folder, clients = tmp_path_factory.mktemp("log"), 12
    record = np.dtype([("client", np.int64), ("theta", np.float32, (5,))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rowlog, "SLACK", 3 * record.itemsize)
        patch.setattr(rowlog, "SEGMENT", 4 * record.itemsize)
        patch.setattr(rowlog, "READ_BYTES", 3 * record.itemsize)
        log, rows, saved = RowLog(folder, record, clients), {}, [([], {})]
        for number in range(data.draw(st.integers(1, 25))):
            chosen = sorted(data.draw(st.sets(st.integers(0, clients - 1), max_size=5)))
            records = np.zeros(len(chosen), record)
            records["client"], records["theta"] = chosen, number + np.arange(5)
            if len(chosen):
                log.append(records)
            rows = {**rows, **{client: number for client in chosen}}
            log.clean()
            assert log.bytes <= 2 * log.live_bytes + rowlog.SLACK
            assert log.live_bytes == len(rows) * record.itemsize
            saved = [saved[-1], (log.flush(), rows)]
            back = data.draw(st.sampled_from([0, 0, 0, 1, 2]))  # not, or killed and resumed from the last or the first
            if back and len(saved) >= back:
                entries, rows = saved[-back]
                saved = [saved[-back]]
                log = RowLog(folder, record, clients)
                log.load(entries)
            again = RowLog(folder, record, clients)
            again.load(log.flush())
            read = {int(r["client"]): r["theta"].tolist() for records in again.records_in_order() for r in records}
            assert read == {client: (when + np.arange(5)).tolist() for client, when in rows.items()}


# whole runs


@pytest.mark.parametrize("method", [name for name in METHODS if name != "oracle"])
def test_disk_gives_the_numbers_of_memory(method: str, tmp_path: Path, shards: Shards) -> None:
    train(tmp_path / "memory", shards, method, "memory")
    train(tmp_path / "disk", shards, method)
    assert comparable(tmp_path / "disk") == comparable(tmp_path / "memory")
    assert not (tmp_path / "disk" / CHECKPOINT).exists()


def test_stopped_and_resumed_with_another_place_and_workers(tmp_path: Path, shards: Shards) -> None:
    train(tmp_path / "whole", shards, place="memory")
    result, turn = None, 0
    while result is None:
        try:
            place, workers = [("disk", 1), ("memory", 2), ("disk", 3)][turn % 3]
            result = train(tmp_path / "parts", shards, place=place, workers=workers, should_stop=lambda: True)
        except Stopped:
            turn += 1
            tables = tmp_path / "parts" / CHECKPOINT / "tables"
            assert not tables.exists() or not list(tables.iterdir()), "a stopped run leaves no table on disk"
    assert turn == 3
    assert comparable(tmp_path / "parts") == comparable(tmp_path / "whole")


@pytest.mark.parametrize("every", [5, 11, 17])
def test_killed_again_and_again_on_disk(tmp_path: Path, shards: Shards, every: int) -> None:
    """Rows on disk are newer than the checkpoint after a kill -9, and are not believed."""
    train(tmp_path / "whole", shards, place="memory")
    folder, kills = tmp_path / "run", 0
    while killed_at(every, lambda: train(folder, shards)):
        kills += 1
        if kills == 12:
            train(folder, shards)
    assert kills > 1
    assert comparable(folder) == comparable(tmp_path / "whole")


def test_killed_at_every_row_written_to_disk(tmp_path: Path, shards: Shards) -> None:
    train(tmp_path / "whole", shards, place="memory")
    event = 1
    while event:
        folder = tmp_path / f"{event}"

        def counted(event: int = event, folder: Path = folder) -> None:
            left, real = event, os.pwrite

            def call(*arguments: Any) -> int:
                nonlocal left
                left -= 1
                if left == 0:
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2], arguments[2])  # torn
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments)

            os.pwrite = call  # type: ignore[assignment]
            train(folder, shards)

        if in_a_child(counted) == 0:
            break
        assert list((folder / CHECKPOINT / "tables").iterdir())
        train(folder, shards)
        assert comparable(folder) == comparable(tmp_path / "whole"), f"killed at row {event}"
        event += 5
    assert event > 20


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_full_disk_is_one_line_and_the_run_resumes(
    call: str, tmp_path: Path, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole", shards, place="memory")
    left, real = 9, getattr(os, call)

    def full(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(os, call, full)
    with pytest.raises(SelfflError, match="no space left on device; make room, then the same command resumes the run"):
        train(tmp_path / "run", shards)
    monkeypatch.setattr(os, call, real)
    train(tmp_path / "run", shards)
    assert comparable(tmp_path / "run") == comparable(tmp_path / "whole")


def test_an_unknown_place_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--client-store", "dsk"]) == 2
    assert "'dsk' is not one of 'memory', 'disk'" in capsys.readouterr().err


# evaluating a sample


def test_a_sample_of_clients_is_judged_as_all_are(tmp_path: Path, shards: Shards) -> None:
    """Their figures are those of an evaluation of all, the choice is the same every time, and the others are null."""
    runs = {}
    for wanted in ("all", 3):
        settings_ = Controls(keep="personal")
        run = training(
            tmp_path / str(wanted), shards, "actperfl", {}, MODEL, controls=settings_, new_clients=0.3,
            eval_clients=wanted, **OPTIONS,
        )  # fmt: skip
        runs[wanted] = run, run.run(), run.folder.clients.to_pylist()
    (everyone, whole, of_all), (few, result, rows) = runs["all"], runs[3]
    judged = few.judge.clients.tolist()
    assert (
        len(judged) == 3
        and not set(judged) & set(few.roles.newcomers.tolist())
        and few.config.key() != everyone.config.key()
    )
    for client, (row, reference) in enumerate(zip(rows, of_all, strict=True)):
        for name in row:
            judgement = name.endswith(("_correct", "_loss"))
            expected = None if judgement and client not in judged else pytest.approx(reference[name], nan_ok=True)
            assert row[name] == expected, (client, name)
    assert result["final"]["test"]["personal"]["accuracy"] == pytest.approx(
        sum(of_all[c]["test_personal_correct"] for c in judged) / sum(of_all[c]["n_test"] for c in judged)
    )
    assert result["final"]["new"]["personal"] == pytest.approx(whole["final"]["new"]["personal"])  # 2 of 2
    assert everyone.kept is not None and few.kept is not None and torch.equal(everyone.kept, few.kept)
