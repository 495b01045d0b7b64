"""Which samples' gradients cancel best, with fractions of samples allowed: a convex quadratic programme a client.

    minimise ½ x'Qx - b'x   over   0 <= x_i <= 1,  sum x = N

solved for many clients at once by projected gradients with momentum (Beck and Teboulle 2009) that starts anew when
it would rise, on any device, in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHIFTS, EXACT = 60, 1e-11  # tries at most for the shift of a projection; a sum that is right to this is right
STEPS, TOLERANCE = 500, 1e-6  # at most so many steps; until no x moves by more
ROUGHLY = 30  # power iterations for the curvature, and 1 % above what they find


def project(values: Tensor, size: Tensor, mask: Tensor) -> Tensor:
    """The nearest points with 0 <= x <= 1 and sum x = size: values [C, n], size [C], mask bool [C, n] (False: x = 0).

    x = clip(v - shift, 0, 1), and the sum falls with the shift, piece by piece in a straight line: the shift is found
    by Newton steps, and by bisection where those would leave the interval that holds it. `size` is at most the number
    of entries that are not masked.
    """
    low = torch.where(mask, values, torch.inf).amin(1, keepdim=True) - 1
    high = torch.where(mask, values, -torch.inf).amax(1, keepdim=True)
    shift, size = (low + high) / 2, size[:, None]
    for _ in range(SHIFTS):
        moved = values - shift
        excess = (moved.clamp(0, 1) * mask).sum(1, keepdim=True) - size
        found = excess.abs() <= EXACT
        if found.all():
            break
        low, high = torch.where(excess > 0, shift, low), torch.where(excess > 0, high, shift)
        newton = shift + excess / (mask & (moved > 0) & (moved < 1)).sum(1, keepdim=True)
        step = torch.where((newton > low) & (newton < high), newton, (low + high) / 2)
        shift = torch.where(found, shift, step)
    return (values - shift).clamp(0, 1) * mask


def curvature(gram: Tensor) -> Tensor:
    """The largest eigenvalue of each Q [C, n, n], from above for all practical purposes: [C]."""
    vector = gram.new_ones(gram.shape[:2]) + torch.linspace(0, 0.1, gram.shape[1]).to(gram)  # no symmetry of its own
    for _ in range(ROUGHLY):
        image = (gram @ vector[:, :, None])[:, :, 0]
        vector = image / image.norm(dim=1, keepdim=True).clamp_min(1e-300)
    found = (vector * (gram @ vector[:, :, None])[:, :, 0]).sum(1)
    return torch.minimum(1.01 * found, gram.abs().sum(2).amax(1)).clamp_min(1e-300)


def objective(gram: Tensor, linear: Tensor, x: Tensor) -> Tensor:
    """½ x'Qx - b'x of each client: [C]."""
    return (x * ((gram @ x[:, :, None])[:, :, 0] / 2 - linear)).sum(1)


def minimise(gram: Tensor, linear: Tensor, size: Tensor, mask: Tensor, start: Tensor | None = None) -> Tensor:
    """The minimisers [C, n]: gram Q [C, n, n], linear b [C, n], size N [C], mask [C, n]; never above `start`.

    A client whose x stands still is left alone, so that its result does not depend on who is solved beside it.
    """
    share = (size / mask.sum(1).clamp_min(1))[:, None] * mask
    x = project(share, size, mask) if start is None else start.clone()
    rate = (1 / curvature(gram))[:, None]
    ahead, pace, value = x, torch.ones_like(rate), objective(gram, linear, x)
    moving = torch.ones_like(value, dtype=torch.bool)
    for _ in range(STEPS):
        new = project(ahead - rate * ((gram @ ahead[:, :, None])[:, :, 0] - linear), size, mask)
        new_value = objective(gram, linear, new)
        falls, plain = new_value <= value, pace[:, 0] == 1
        faster = (1 + (1 + 4 * pace**2).sqrt()) / 2
        momentum = new + (pace - 1) / faster * (new - x)
        # a step without momentum that still rises was too long, or all that is left is rounding
        done = ((new - x).abs().amax(1) < TOLERANCE) & (falls | plain)
        rate = torch.where((~falls & plain)[:, None], rate / 2, rate)
        take = (moving & falls)[:, None]
        ahead = torch.where(take, momentum, x)  # rises: again from x, without momentum
        pace = torch.where(take, faster, 1.0)
        x, value = torch.where(take, new, x), torch.where(take[:, 0], new_value, value)
        moving = moving & ~done
        if not moving.any():
            break
    return x
