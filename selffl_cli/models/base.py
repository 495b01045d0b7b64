"""The contract of a model: an ordinary module that says how it is built for a data set."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from ..config.validation import Strict
from ..shards import Manifest


class NoOptions(Strict):
    """A model without options."""


class Model(nn.Module):
    """A network whose trained parameters are all that clients learn; constants are buffers with persistent=False."""

    version: ClassVar[int] = 1  # raised when the same options would give other numbers
    options_type: ClassVar[type[Strict]] = NoOptions
    head: tuple[str, ...] = ()  # parameters of the last layer, which some methods keep at the client

    @classmethod
    def build(cls, options: Any, manifest: Manifest, shared: dict[str, Tensor]) -> nn.Module:
        """The network for these shards: `manifest.input.shape` of a sample, `manifest.classes`, tensors in `shared`.

        SelfflError where the data is none for it. Its start is drawn from torch's generator, which has the run's seed.
        """
        raise NotImplementedError(f"{cls.__name__}.build")
