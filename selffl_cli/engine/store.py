"""What each client keeps between rounds: tables of rows indexed by client id.

The tables are shared memory, so that every worker of a machine reads and writes the rows of the clients it was
dealt without copying; pages of clients that never took part are never touched. A row not yet written reads as the
table's initial row.
"""

from __future__ import annotations

import mmap
from math import prod

import numpy as np
import torch
from torch import Tensor


def shared_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros in anonymous memory that forked workers share; the kernel commits a page when it is first written."""
    itemsize = torch.empty(0, dtype=dtype).element_size()
    size = max(1, prod(shape) * itemsize)
    return torch.frombuffer(mmap.mmap(-1, size), dtype=dtype, count=prod(shape)).view(shape)


class ClientStore:
    """Tables of rows by client id; must be complete (every `add` done) before workers are forked."""

    def __init__(self, num_clients: int, device: torch.device | str = "cpu") -> None:
        self.num_clients, self.device = num_clients, torch.device(device)
        self.initial: dict[str, Tensor] = {}
        self.tables: dict[str, Tensor] = {}
        self.written: dict[str, Tensor] = {}
        self.changed = shared_zeros((num_clients,), torch.uint8)  # since the last checkpoint, any table

    def add(self, name: str, initial: Tensor) -> None:
        """A table whose rows start as `initial` (any shape, a scalar included)."""
        self.initial[name] = initial.detach().clone()
        self.tables[name] = shared_zeros((self.num_clients, *initial.shape), initial.dtype)
        self.written[name] = shared_zeros((self.num_clients,), torch.uint8)

    def read(self, name: str, clients: Tensor) -> Tensor:
        """Rows of `clients` [C, …] on the engine's device."""
        ids = clients.cpu()
        rows = self.tables[name][ids]
        missing = self.written[name][ids] == 0
        if missing.any():
            rows[missing] = self.initial[name].to(rows.device)
        return rows.to(self.device)

    def has(self, name: str, clients: Tensor) -> Tensor:
        """Which of `clients` ever wrote this table: bool [C]."""
        return (self.written[name][clients.cpu()] != 0).to(self.device)

    def write(self, name: str, clients: Tensor, rows: Tensor) -> None:
        """Keep `rows` [C, …] as the rows of `clients`."""
        ids = clients.cpu()
        self.tables[name][ids] = rows.detach().to("cpu")
        self.written[name][ids] = 1
        self.changed[ids] = 1

    def changed_rows(self) -> dict[str, Tensor]:
        """Every row of the clients that changed since the last call, as {name: rows} with "NAME/clients" ids."""
        ids = torch.from_numpy(np.flatnonzero(self.changed.numpy()))
        out: dict[str, Tensor] = {}
        for name, table in self.tables.items():
            own = ids[self.written[name][ids] != 0]
            out[f"{name}/clients"], out[f"{name}/rows"] = own, table[own]
        self.changed.zero_()
        return out

    def all_rows(self) -> dict[str, Tensor]:
        """Every row ever written, in the form of `changed_rows`."""
        out: dict[str, Tensor] = {}
        for name, table in self.tables.items():
            own = torch.from_numpy(np.flatnonzero(self.written[name].numpy()))
            out[f"{name}/clients"], out[f"{name}/rows"] = own, table[own]
        return out

    def restore(self, rows: dict[str, Tensor]) -> None:
        """Put back what `changed_rows` or `all_rows` gave, oldest first."""
        for name in self.tables:
            ids = rows[f"{name}/clients"]
            self.tables[name][ids] = rows[f"{name}/rows"]
            self.written[name][ids] = 1
