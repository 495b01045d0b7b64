"""One-shot audit of user-level privacy: what canary users show of epsilon (Andrew et al., ICLR 2024).

Each canary sends clip times a random direction whenever it is drawn. Without it the cosine of the whole training's
change with that direction is N(0, 1/P); with it the cosines are N(mu, sigma²), fitted to the canaries. The estimate is
the epsilon of telling these two Gaussians apart: what this attack achieves, and no upper bound. At a small delta it
hangs on the fitted spread, which a few hundred canaries know to some 5 %: `epsilon_low` is what they make sure of.
"""

from __future__ import annotations

import numpy as np

from ...errors import SelfflError
from ...runs.folder import RunFolder

LARGEST = 200.0  # an estimate beyond this says no more than "not private"


def gaussian_epsilon(mean: float, std: float, null_std: float, delta: float) -> float:
    """The least epsilon >= 0 at which N(0, null_std²) and N(mean, std²) are (epsilon, delta) close, both ways."""
    width = 12 * max(std, null_std)
    grid = np.linspace(min(0.0, mean) - width, max(0.0, mean) + width, 200_001)
    step = grid[1] - grid[0]
    null = -0.5 * (grid / null_std) ** 2 - np.log(null_std)
    other = -0.5 * ((grid - mean) / std) ** 2 - np.log(std)
    pairs = [(one - 0.5 * np.log(2 * np.pi), two - one) for one, two in ((null, other), (other, null))]

    def exceeds(epsilon: float) -> bool:
        """Whether the integral of max(0, p - e^epsilon q) is above delta, one way or the other."""
        return any(
            float((np.exp(log_p) * -np.expm1(np.minimum(epsilon + ratio, 0.0))).sum() * step) > delta
            for log_p, ratio in pairs
        )

    if not exceeds(0.0):
        return 0.0
    low, high = 0.0, LARGEST
    if exceeds(high):
        return LARGEST
    while high - low > 1e-4 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return high


def canary_users(folder: RunFolder) -> dict[str, float]:
    """{"global.epsilon": …, …} from the cosines that the run recorded; SelfflError when it had no canaries."""
    said = (folder.result or {}).get("privacy", {})
    cosines = np.array(said.get("canaries", []), dtype=float)
    if len(cosines) < 2:
        raise SelfflError(
            f"{folder.path}: trained without canary users; train with --set train.privacy=user:noise=…,canaries=200"
        )
    null = float(said["dimension"]) ** -0.5
    mean, std = float(cosines.mean()), float(max(cosines.std(ddof=1), 1e-3 * null))
    delta, errors = float(said["delta"]), 1.96 / len(cosines) ** 0.5
    # the values nearest to "no canary" that the canaries' number cannot exclude (95 %, each)
    near = max(abs(mean) - errors * std, 0.0)
    spread = float(np.clip(null, std * (1 - errors / 2**0.5), std * (1 + errors / 2**0.5)))
    figures = {"epsilon": gaussian_epsilon(mean, std, null, delta),
               "epsilon_low": gaussian_epsilon(near, spread, null, delta), "mean": mean / null, "std": std / null,
               "canaries": float(len(cosines))}  # fmt: skip
    if said.get("epsilon") is not None:
        figures["accounted"] = float(said["epsilon"])
    return {f"global.{name}": value for name, value in figures.items()}
