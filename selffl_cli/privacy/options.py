"""What may be asked of privacy, `user:clip=1,noise=1` or `sample:micro-batch=16`, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from ..errors import UsageError
from ..spec import full_spec, read_spec
from ..validation import Strict

if TYPE_CHECKING:
    from ..config import TrainConfig


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
# gradients that a method takes of a client's data in one local step, and none outside local training
QUERIES = {"fedavg": 1, "fedprox": 1, "local": 1, "ditto": 2, "apfl": 2}


def read_privacy(spec: str) -> User | Sample | None:
    """Read `user:clip=1,noise=0.8`; None for "". A UsageError names what is wrong."""
    return read_spec(spec, KINDS, "privacy")[1] if spec else None  # type: ignore[return-value]


def canonical(spec: str) -> str:
    """The spec with every default written out."""
    return full_spec(*read_spec(spec, KINDS, "privacy")) if spec else ""


def private_options(name: str, options: dict[str, Any], train: TrainConfig, averages: bool) -> dict[str, Any]:
    """The options of method `name` under `[train] privacy`; UsageError for what the budget cannot account for.

    Under user-level privacy every clipped update counts the same, so the weighting is "equal".
    """
    privacy = read_privacy(train.privacy)
    if privacy is None:
        return options
    plain = name.removesuffix("-e") if averages else name
    if isinstance(privacy, Sample):
        return _sample_options(plain, options, train)
    if name == "local":
        raise UsageError(
            "--privacy user: with method 'local' nothing leaves a client, so there is nothing to make private"
        )
    if not averages:
        raise UsageError(
            f"--privacy user: method '{name}' sends more than an average of models (its weights and variances depend "
            "on the data), which is not accounted for; use fedavg, fedavg-ft, fedprox, ditto, perfedavg, pfedme, apfl "
            "or fedrep"
        )
    if not train.sampler.startswith("poisson"):
        raise UsageError(
            f"--privacy user: the accountant knows Poisson sampling alone, not --sampler {train.sampler}; add "
            "--sampler poisson:q=0.1"
        )
    if train.weighting in ("samples", "unbiased") or options.get("weighting") == "samples" or name.endswith("-w"):
        raise UsageError(
            "--privacy user: each client counts the same, since the number of its samples is private too; leave the "
            "weighting out"
        )
    return {**options, "weighting": "equal"}


def _sample_options(plain: str, options: dict[str, Any], train: TrainConfig) -> dict[str, Any]:
    if plain.removesuffix("-w") not in QUERIES:
        raise UsageError(
            f"--privacy sample: how often method '{plain}' looks at a sample is not known beforehand, so it cannot be "
            f"accounted for; use {', '.join(QUERIES)}"
        )
    return options
