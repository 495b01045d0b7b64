"""`[[claims]]`: a statement of a paper, and what its two sides name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ..errors import UsageError
from ..metrics.judged_by import ENDS
from .validation import Strict

SCORED = ("train", "validation", "test", "method")  # parts that evaluations and rounds record all along
TAILS = ("p10", "worst_tenth")  # percentiles, which a line between two evaluations does not give


def read_at_the_end_alone(what: str) -> bool:
    """Whether a figure is never read at equal gradients: percentiles, detection, and what is known at the end alone."""
    part, *rest = what.split(".")
    name = rest[-1] if rest else ""
    return (
        not (part in SCORED or part.startswith("period-"))
        or "delivered" in rest
        or name in (*TAILS, *ENDS)
        or name.startswith(("relative_fa", "eer_"))
        or name.endswith("_to_target")
    )


class Claim(Strict):
    """One statement of a paper: a comparison of two figures of this experiment, or of one with each of several."""

    id: str
    text: str
    source: str = ""
    paper: str = ""
    left: str
    right: str | float | Annotated[list[str], Field(min_length=1)]
    relation: Literal["greater", "less", "equal", "not-worse"]
    margin: float = Field(0.0, ge=0)
    at: Literal["rounds", "gradients"] = "rounds"
    where: dict[str, Any] = {}
    required: bool = False

    @model_validator(mode="after")
    def _margin(self) -> Claim:
        if self.relation in ("equal", "not-worse") and self.margin == 0:
            raise ValueError(f"'{self.relation}' needs a margin stated beforehand")
        if self.relation == "not-worse" and self.at == "gradients":
            raise ValueError("'not-worse' is judged on final models; leave at = \"gradients\" out")
        return self

    @model_validator(mode="after")
    def _readable(self) -> Claim:
        if self.at == "gradients":
            every = [self.left, *(self.right if isinstance(self.right, list) else [self.right])]
            for what in (str(side).rpartition(":")[2] for side in every if ":" in str(side)):
                if read_at_the_end_alone(what):
                    raise ValueError(f"'{what}' is never read at equal gradients; leave at = \"gradients\" out")
        return self


@dataclass(frozen=True)
class Side:
    """One side: a figure of a method ("test.personal.accuracy"; without an end its main metric), or a number."""

    label: str
    what: str
    number: float = 0.0


def sides(claim: Claim) -> list[Side]:
    """Left, then all on the right; UsageError when one is neither a figure nor a number, or both are numbers."""
    several = claim.right if isinstance(claim.right, list) else [claim.right]
    left, *rights = (_side(claim, operand) for operand in (claim.left, *several))
    if not left.label and not all(right.label for right in rights):
        raise UsageError(
            f"claim '{claim.id}' compares two numbers; name a method on one side (LABEL:part.model.metric)"
        )
    return [left, *rights]


def _side(claim: Claim, operand: Any) -> Side:
    try:
        number = float(operand)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return Side("", "", number)
    label, colon, what = str(operand).rpartition(":")
    if not colon or not label:
        raise UsageError(f"claim '{claim.id}': '{operand}' is neither LABEL:part.model.metric nor a number")
    return Side(label, what)
