"""An LSTM with weights of its own for each of K clients, by batched matrix products, backward written out.

cuDNN's LSTM takes one set of weights, and vmap over its steps is slow (3.4 times a plain loop's CPU seconds).
Here the inputs of all time steps are projected at once, a time step is one batched product and a few elementwise
operations, and the gradients of the weights are one product each over all time steps.
Gates in PyTorch's order: input, forget, cell, output (Hochreiter and Schmidhuber 1997, Gers et al. 2000).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def plain_cell(gates: Tensor, cell: Tensor, blank: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """One time step: gates [K, B, 4H] before activation, cell [K, B, H] → output, new cell, activated gates."""
    size = cell.shape[-1]
    gates[..., : 2 * size].sigmoid_()
    gates[..., 2 * size : 3 * size].tanh_()
    gates[..., 3 * size :].sigmoid_()
    into, keep, new, out = gates.chunk(4, -1)
    cell = torch.addcmul(keep * cell, into, new)
    return out * cell.tanh(), cell, gates


def fused_cell(gates: Tensor, cell: Tensor, blank: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`plain_cell` as the one kernel that torch has for it on CUDA; it adds `blank`, zeros as large as `gates`."""
    flat, before = gates.flatten(0, 1), cell.flatten(0, 1)
    out, cell, activated = torch.ops.aten._thnn_fused_lstm_cell(flat, blank.flatten(0, 1), before)
    return out.view_as(before.view(*gates.shape[:2], -1)), cell.view(*gates.shape[:2], -1), activated.view_as(gates)


Cell = Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor, Tensor]]


class LSTMLayer(torch.autograd.Function):
    """x [K, T, B, D] and one layer's weights [K, 4H, D], [K, 4H, H], bias [K, 4H] → outputs [K, T, B, H]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w_in: Tensor, w_hidden: Tensor, bias: Tensor, cell: Any, low: Any) -> Tensor:
        clients, steps, batch, _ = x.shape
        size = w_hidden.shape[-1]
        inputs = x.flatten(1, 2)
        if low is None:
            projected = torch.baddbmm(bias[:, None], inputs, w_in.mT)
        else:
            projected = _low(inputs, w_in.mT, low) + bias[:, None]
        projected = projected.view(clients, steps, batch, 4 * size)
        recurrent = w_hidden.mT if low is None else w_hidden.mT.to(low)
        hidden = x.new_zeros(steps + 1, clients, batch, size)
        cells = x.new_zeros(steps + 1, clients, batch, size)
        gates = x.new_empty(steps, clients, batch, 4 * size)
        blank = x.new_zeros(clients, batch, 4 * size) if cell is fused_cell else None
        for t in range(steps):
            if low is None:
                now = torch.baddbmm(projected[:, t], hidden[t], recurrent)
            else:
                now = projected[:, t] + torch.bmm(hidden[t].to(low), recurrent)
            hidden[t + 1], cells[t + 1], gates[t] = cell(now, cells[t], blank)
        ctx.save_for_backward(x, w_in, w_hidden, hidden, cells, gates)
        ctx.low = low
        return hidden[1:].transpose(0, 1).contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, w_in, w_hidden, hidden, cells, gates = ctx.saved_tensors
        clients, steps, batch, size = grad.shape
        into, keep, new, out = gates.chunk(4, -1)
        squashed = cells[1:].tanh()
        # factors of the chain rule for all time steps at once; the loop only multiplies
        to_cell = out * (1 - squashed**2)
        to_out = squashed * out * (1 - out)
        to_rest = torch.stack([new * into * (1 - into), cells[:-1] * keep * (1 - keep), into * (1 - new**2)], -2)
        delta = torch.empty(steps, clients, batch, 4, size, dtype=x.dtype, device=x.device)
        d_cell = torch.zeros_like(cells[0])
        recurrent = w_hidden if ctx.low is None else w_hidden.to(ctx.low)
        d_hidden = grad[:, steps - 1]
        for t in range(steps - 1, -1, -1):
            d_cell = torch.addcmul(d_cell, d_hidden, to_cell[t])
            torch.mul(d_cell[..., None, :], to_rest[t], out=delta[t, :, :, :3])
            torch.mul(d_hidden, to_out[t], out=delta[t, :, :, 3])
            if t:
                d_cell = d_cell * keep[t]
                now = delta[t].flatten(2)
                if ctx.low is None:
                    d_hidden = torch.baddbmm(grad[:, t - 1], now, recurrent)
                else:
                    d_hidden = grad[:, t - 1] + torch.bmm(now.to(ctx.low), recurrent)
        flat = delta.flatten(3).transpose(0, 1).reshape(clients, steps * batch, 4 * size)
        before = hidden[:-1].transpose(0, 1).reshape(clients, steps * batch, size)
        product = torch.bmm if ctx.low is None else lambda a, b: _low(a, b, ctx.low)
        d_x = product(flat, w_in).view_as(x) if ctx.needs_input_grad[0] else None
        return d_x, product(flat.mT, x.flatten(1, 2)), product(flat.mT, before), flat.sum(1), None, None


def _low(a: Tensor, b: Tensor, low: torch.dtype) -> Tensor:
    """A batched product in a lower precision, its result in a's."""
    return torch.bmm(a.to(low), b.to(low)).to(a.dtype)


class StackedLSTMLayers(nn.Module):
    """In place of an `nn.LSTM`: [K x B, T, D], or as many packed texts, to what it gives, without the last states."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.layers, self.both_ways = lstm.num_layers, lstm.bidirectional
        self.cell: Cell = plain_cell

    @staticmethod
    def fits(lstm: nn.LSTM) -> bool:
        """Whether nothing is asked of it that has no stacked form here."""
        return lstm.batch_first and lstm.bias and lstm.proj_size == 0 and lstm.dropout == 0

    def forward(self, x: Tensor | PackedSequence) -> tuple[Tensor | PackedSequence, None]:
        if isinstance(x, PackedSequence):
            padded, lengths = pad_packed_sequence(x, batch_first=True)
            states = self._states(padded, lengths.to(padded.device))
            return pack_padded_sequence(states, lengths, batch_first=True, enforce_sorted=False), None
        return self._states(x, torch.full((len(x),), x.shape[1], device=x.device)), None

    def _states(self, states: Tensor, lengths: Tensor) -> Tensor:
        """[N, T, D] → [N, T, H], or [N, T, 2H] both ways; texts end at `lengths` [N]."""
        if not self.both_ways:
            for n in range(self.layers):
                states = self._layer(states, f"l{n}")
            return states
        place = torch.arange(states.shape[1], device=states.device)
        turned = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)  # its own inverse [N, T]
        text = torch.arange(len(states), device=states.device)[:, None]
        for n in range(self.layers):
            back = self._layer(states[text, turned], f"l{n}_reverse")[text, turned]
            states = torch.cat([self._layer(states, f"l{n}"), back], -1)
        return states

    def _layer(self, x: Tensor, name: str) -> Tensor:
        """One layer, one way, of every client: [K x B, T, D] → [K x B, T, H]."""
        weights = self.__dict__
        w_in, w_hidden = weights[f"weight_ih_{name}"], weights[f"weight_hh_{name}"]
        bias = weights[f"bias_ih_{name}"] + weights[f"bias_hh_{name}"]
        device, clients = x.device.type, len(w_in)
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        steps = x.reshape(clients, -1, *x.shape[1:]).transpose(1, 2).contiguous()  # [K, T, B, D]
        with torch.autocast(device, enabled=False):
            states = LSTMLayer.apply(steps, w_in, w_hidden, bias, self.cell, low)
        return states.transpose(1, 2).flatten(0, 1)
