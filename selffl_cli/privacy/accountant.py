"""What the noise is worth: epsilon from the library dp-accounting, and the noise for a wanted epsilon."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ..errors import SelfflError, UsageError

# (noise multiplier, sampling probability, how often): Gaussian mechanisms on Poisson samples
Events = tuple[tuple[float, float, int], ...]


def _library() -> Any:
    try:
        import dp_accounting
        from dp_accounting import pld, rdp
    except ImportError:
        raise SelfflError(
            "train.privacy needs the accountant; install it with: pip install 'selffl[privacy]'"
        ) from None
    return dp_accounting, {"rdp": rdp.RdpAccountant, "pld": pld.PLDAccountant}


@lru_cache(maxsize=4096)
def epsilon(events: Events, delta: float, accountant: str = "rdp") -> float:
    """Epsilon at `delta` of all events together, for neighbours that differ by one unit added or removed."""
    events = tuple(event for event in events if event[2])
    if not events:
        return 0.0
    if any(noise == 0 for noise, _, _ in events):
        return math.inf
    dp, accountants = _library()
    log = logging.getLogger("absl")  # says at every call that some fractional orders were left out
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        counted = accountants[accountant]()
        for noise, q, times in events:
            gaussian = dp.GaussianDpEvent(noise)
            counted.compose(dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(q, gaussian) if q < 1 else gaussian, times))
        return float(counted.get_epsilon(delta))
    finally:
        log.setLevel(level)


def find_noise(epsilon_of: Callable[[float], float], target: float) -> float:
    """The least noise multiplier, to four digits and rounded up, whose epsilon is at most `target`."""
    low, high = 0.05, 0.4
    while epsilon_of(high) > target:
        low, high = high, 2 * high
        if high > 1e5:
            raise UsageError(f"train.privacy: no noise reaches epsilon {target:g}; raise the target or delta")
    while high / low > 1.0005:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if epsilon_of(middle) > target else (low, middle)
    digits = 3 - math.floor(math.log10(high))
    return math.ceil(high * 10**digits) / 10**digits


def last_round(epsilon_after: Callable[[int], float], target: float, rounds: int) -> int:
    """The last of `rounds` rounds that keeps within `target`; 0 when the first one already exceeds it."""
    if epsilon_after(rounds) <= target:
        return rounds
    low, high = 0, rounds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if epsilon_after(middle) <= target else (low, middle)
    return low
