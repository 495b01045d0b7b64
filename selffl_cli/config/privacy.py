"""What may be asked of privacy, `user:clip=1,noise=1` or `sample:micro-batch=16`, and what is refused."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from .spec import full_spec, read_spec
from .validation import Strict


class Privacy(Strict):
    """Noise is a multiple of the clipping norm; either it is given, or the accountant finds it for a target."""

    clip: float = Field(1.0, gt=0, le=1e6)
    noise: float | None = Field(None, ge=0, le=1e6)
    target_epsilon: float | None = Field(None, gt=0, le=1e6, alias="target-epsilon")
    delta: float = Field(1e-5, gt=0, lt=1)
    accountant: Literal["rdp", "pld"] = "rdp"

    @model_validator(mode="after")
    def _asked(self) -> Privacy:
        if self.noise is None and self.target_epsilon is None:
            raise ValueError("give noise=… (a multiple of clip) or target-epsilon=…, for which the noise is found")
        if self.noise == 0 and self.target_epsilon is not None:
            raise ValueError(
                "noise 0 has no epsilon, so no target can be met; leave noise out, and it is found for the target"
            )
        return self


class User(Privacy):
    """DP-FedAvg: the unit is a client with everything it holds (McMahan et al., ICLR 2018)."""

    adaptive: float | None = Field(None, gt=0, lt=1)  # clip at this quantile of the update norms, found privately
    canaries: int = Field(0, ge=0, le=100_000)  # clients that send random directions, for `audit canary-users`


class Sample(Privacy):
    """eDP-SGD: the unit is one training sample; micro-batches are clipped, which is cheap (ICASSP 2022)."""

    micro_batch: int = Field(16, ge=1, le=65_536, alias="micro-batch")
    layerwise: bool = False  # clip each layer apart, all together to `clip`
    decay: float = Field(1.0, gt=0, le=1)  # noise in round t is noise * decay^(t - 1)


KINDS: dict[str, type[Privacy]] = {"user": User, "sample": Sample}


def read_privacy(spec: str) -> User | Sample | None:
    """Read `user:clip=1,noise=0.8`; None for "". A UsageError names what is wrong."""
    return read_spec(spec, KINDS, "privacy")[1] if spec else None  # type: ignore[return-value]


def canonical(spec: str) -> str:
    """The spec with every default written out."""
    return full_spec(*read_spec(spec, KINDS, "privacy")) if spec else ""
