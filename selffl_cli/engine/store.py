"""What each client keeps between rounds: tables of rows indexed by client id.

Tables lie in memory that forked workers share, or in sparse files on disk; either way a worker reads and writes the
rows of the clients it was dealt without copying, and clients that never took part cost nothing. On a GPU they lie in
its own memory where that holds them: the rows of 77 small LSTMs are 45 MB, 10 ms each way. A row not yet
written reads as the table's initial row. In a round a method writes rows of that round's cohort alone: the training
loop keeps note of who took part, so that a checkpoint need not look at anyone else.
"""

from __future__ import annotations

import copy
import mmap
import os
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import SelfflError

LONG = 64  # bytes; shorter rows (a variance, a count) are kept in memory: a page on disk would cost 4096 for each
HELD = 32 * 2**20  # bytes of a file's pages a process may keep in its memory before it gives them back
PACKED_BYTES = 16 * 2**20  # bytes of packed rows handled at once


def shared_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros in anonymous memory that forked workers share; the kernel commits a page when it is first written."""
    size = max(1, prod(shape) * dtype.itemsize)
    try:
        memory = mmap.mmap(-1, size)
    except (OSError, ValueError, OverflowError):
        raise SelfflError(
            f"{size / 2**30:,.1f} GiB of client rows are more than this machine's memory; use --client-store disk"
        ) from None
    return torch.frombuffer(memory, dtype=dtype, count=prod(shape)).view(shape)


def disk_full(path: Path, error: OSError) -> SelfflError:
    """What to say when a write of a run was refused."""
    reason = (error.strerror or str(error)).lower()
    return SelfflError(f"{path}: {reason}; make room, then the same command resumes the run")


class Rows(Protocol):
    """A table [M, …] by client id."""

    def read(self, ids: Tensor) -> Tensor: ...

    def write(self, ids: Tensor, rows: Tensor) -> None: ...


class MemoryRows:
    """A table in shared memory."""

    def __init__(self, num_clients: int, row: Tensor) -> None:
        self.table = shared_zeros((num_clients, *row.shape), row.dtype)

    def read(self, ids: Tensor) -> Tensor:
        return self.table[ids]

    def write(self, ids: Tensor, rows: Tensor) -> None:
        self.table[ids] = rows


class DeviceRows:
    """A table in a GPU's own memory: nothing waits for the host."""

    def __init__(self, num_clients: int, row: Tensor, device: torch.device) -> None:
        self.table = row.to(device).expand(num_clients, *row.shape).clone()

    def read(self, ids: Tensor) -> Tensor:
        return self.table[ids]

    def write(self, ids: Tensor, rows: Tensor) -> None:
        self.table[ids] = rows


class FileRows:
    """A table in a sparse file: read through a memory map, written by `pwrite`.

    A write through the map would end the process by a signal when the disk is full; `pwrite` says so instead, and
    both see the same pages.
    """

    def __init__(self, path: Path, num_clients: int, row: Tensor) -> None:
        self.path, self.row_bytes, self.held = path, row.numel() * row.element_size(), 0
        self.file = open(path, "w+b")  # noqa: SIM115 - lives as long as the table
        try:
            self.file.truncate(num_clients * self.row_bytes)
            self.map = mmap.mmap(self.file.fileno(), num_clients * self.row_bytes)
        except (OSError, ValueError, OverflowError) as error:
            size = num_clients * self.row_bytes / 2**30
            raise SelfflError(f"{path}: cannot hold {size:,.1f} GiB of client rows ({error})") from None
        if hasattr(mmap, "MADV_RANDOM"):  # reading ahead made a read of 100 rows cost 13 ms at a million clients
            self.map.madvise(mmap.MADV_RANDOM)
        self.table = torch.frombuffer(self.map, dtype=row.dtype).view(num_clients, *row.shape)

    def read(self, ids: Tensor) -> Tensor:
        rows = self.table[ids]
        self.held += len(ids) * (self.row_bytes + 2**16)  # the kernel maps up to 64 KiB around a page it is asked for
        if self.held > HELD and hasattr(mmap, "MADV_DONTNEED"):
            self.map.madvise(mmap.MADV_DONTNEED)  # of this process's view; what was written stays in the file
            self.held = 0
        return rows

    def write(self, ids: Tensor, rows: Tensor) -> None:
        content = memoryview(rows.numpy().tobytes())
        for i, client in enumerate(ids.tolist()):
            row, offset = content[i * self.row_bytes : (i + 1) * self.row_bytes], client * self.row_bytes
            try:
                written = os.pwrite(self.file.fileno(), row, offset)
                while written < len(row):  # on a full disk the rest is refused
                    written += os.pwrite(self.file.fileno(), row[written:], offset + written)
            except OSError as error:
                raise disk_full(self.path, error) from None

    def close(self) -> None:
        """Remove the file; the table is of no more use."""
        self.path.unlink(missing_ok=True)
        self.file.close()


class ClientStore:
    """Tables of rows by client id: `add` them all, `open` them before workers are forked, then `read` and `write`."""

    def __init__(self, num_clients: int, device: torch.device | str = "cpu") -> None:
        self.num_clients, self.device = num_clients, torch.device(device)
        self.initial: dict[str, Tensor] = {}
        self.tables: dict[str, Rows] = {}
        self.written: dict[str, Tensor] = {}
        self.handed = False  # whether rows that nobody wrote are others than the tables were opened with

    def handing(self, initial: dict[str, Tensor]) -> ClientStore:
        """The same tables, to be read alone, with other rows for clients that wrote none."""
        self._table(next(iter(self.initial)))
        view = copy.copy(self)
        view.initial, view.handed = {**self.initial, **initial}, True
        return view

    def add(self, name: str, initial: Tensor) -> None:
        """A table whose rows start as `initial` (any shape, a scalar included)."""
        self.initial[name] = initial.detach().cpu().clone()

    def open(self, folder: Path | None = None) -> None:
        """Make the tables, all empty: in memory, or with `folder` those of long rows in files there.

        The files are a cache: they start empty, and a resumed run fills them from its checkpoint.
        """
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        resident = folder is None and self._fits_device()
        for name, row in self.initial.items():
            if resident:
                self.tables[name] = DeviceRows(self.num_clients, row, self.device)
                self.written[name] = torch.zeros(self.num_clients, dtype=torch.uint8, device=self.device)
                continue
            if folder and row.numel() * row.element_size() >= LONG:
                self.tables[name] = FileRows(folder / f"{name}.rows", self.num_clients, row)
            else:
                self.tables[name] = MemoryRows(self.num_clients, row)
            self.written[name] = shared_zeros((self.num_clients,), torch.uint8)

    def _fits_device(self) -> bool:
        """Whether all tables may lie in the memory of a GPU: in half of what is free there."""
        if self.device.type != "cuda":
            return False
        return self.num_clients * self.row_bytes <= torch.cuda.mem_get_info(self.device)[0] // 2

    def close(self) -> None:
        """Remove what `open` put on disk."""
        for table in self.tables.values():
            if isinstance(table, FileRows):
                table.close()

    def _table(self, name: str) -> Rows:
        if not self.tables:  # nobody chose a place: memory
            self.open()
        return self.tables[name]

    def read(self, name: str, clients: Tensor) -> Tensor:
        """Rows of `clients` [C, …] on the engine's device."""
        table = self._table(name)
        if isinstance(table, DeviceRows) and not self.handed:
            return table.read(clients.to(self.device))
        return self._written(name, clients.cpu(), self.initial[name]).to(self.device)

    def _written(self, name: str, ids: Tensor, otherwise: Tensor) -> Tensor:
        """Rows of `ids` [C, …] on the host, `otherwise` where none was written: a look at a page commits it."""
        table = self._table(name)
        has = self.has(name, ids).cpu()
        if isinstance(table, DeviceRows):
            return torch.where(has.view(-1, *[1] * otherwise.dim()), table.read(ids.to(self.device)).cpu(), otherwise)
        if has.all():
            return table.read(ids)
        rows = otherwise.expand(len(ids), *otherwise.shape).clone()
        rows[has] = table.read(ids[has])
        return rows

    def has(self, name: str, clients: Tensor) -> Tensor:
        """Which of `clients` ever wrote this table: bool [C]."""
        self._table(name)
        written = self.written[name]
        return (written[clients.to(written.device)] != 0).to(self.device)

    def write(self, name: str, clients: Tensor, rows: Tensor) -> None:
        """Keep `rows` [C, …] as the rows of `clients`."""
        table, row, written = self._table(name), self.initial[name], self.written[name]
        ids = clients.to(written.device)
        table.write(ids, rows.detach().to(ids.device, row.dtype).expand(len(ids), *row.shape))
        written[ids] = 1

    @property
    def row_bytes(self) -> int:
        """Bytes that one client's rows take."""
        return sum(row.numel() * row.element_size() for row in self.initial.values())

    @property
    def record(self) -> np.dtype:
        """One client's rows packed: `client`, and of each table its row (NAME) and whether it was written (NAME?)."""
        fields: list[tuple[str, np.dtype, tuple[int, ...]]] = [("client", np.dtype(np.int64), ())]
        for name, row in self.initial.items():
            fields += [(name, row.numpy().dtype, tuple(row.shape)), (f"{name}?", np.dtype(np.uint8), ())]
        return np.dtype(fields)

    def pack(self, clients: np.ndarray) -> Iterator[np.ndarray]:
        """All rows of `clients` as records, some at a time; `unpack` is its inverse."""
        record = self.record
        step = max(1, PACKED_BYTES // record.itemsize)
        for begin in range(0, len(clients), step):
            ids = torch.from_numpy(clients[begin : begin + step])
            records = np.zeros(len(ids), record)
            records["client"] = ids.numpy()
            for name in self.initial:
                records[name] = self._written(name, ids, torch.zeros_like(self.initial[name])).numpy()
                records[f"{name}?"] = self.has(name, ids).cpu().numpy()
            yield records

    def unpack(self, records: np.ndarray) -> None:
        """Put back what `pack` gave."""
        for name in self.initial:
            own = records[records[f"{name}?"] != 0]
            self.write(name, torch.from_numpy(own["client"].copy()), torch.from_numpy(own[name].copy()))
