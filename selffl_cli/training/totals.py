"""What a run has cost so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Totals:
    """Cumulative counts of a run, kept over a resume."""

    gradients: int = 0
    samples: int = 0
    steps: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float = 0.0
    eval_seconds: float = 0.0

    def add(self, gradients: int, samples: int, steps: int, up: int, down: int) -> None:
        """Count one round."""
        self.gradients += gradients
        self.samples += samples
        self.steps += steps
        self.bytes_up += up
        self.bytes_down += down

    def time(self) -> dict[str, float]:
        """What a round's metrics say of time; steps a second of training, evaluation apart."""
        training = max(self.seconds - self.eval_seconds, 1e-9)
        return {"seconds": round(self.seconds, 3), "eval_seconds": round(self.eval_seconds, 3),
                "steps_per_second": round(self.steps / training, 1)}  # fmt: skip
