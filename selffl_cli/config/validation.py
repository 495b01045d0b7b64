"""Pydantic errors as one line for a person: the key, where it stands, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import UsageError, nearest
from .names import TRIALS as TRIALS


class Strict(BaseModel):
    """Base of every config: unknown keys are errors, values are frozen once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


# what names a file or a folder: never a path, so that nothing is written or read outside of its place
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
ExperimentName = Annotated[str, Field(pattern=f"^{FILE_NAME.pattern}(/{TRIALS})?$", max_length=100)]
FileName = Annotated[str, Field(pattern=f"^{FILE_NAME.pattern}$", max_length=100)]

Config = TypeVar("Config", bound=BaseModel)


def _model(annotation: Any) -> type[BaseModel] | None:
    """The nested model of `Model`, `Model | None` or `list[Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model, get_args(annotation))), None)


def validate(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """Read `values` as `kind`, or raise a UsageError that names the first offending key and what is known there."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            owner: type[BaseModel] = kind
            for part in path[:-1]:  # the nested model in which the unknown key stands
                owner = _model(owner.model_fields[part].annotation) or owner if part in owner.model_fields else owner
            known = [field.alias or name for name, field in owner.model_fields.items()]
            raise UsageError(f"{where}: unknown key '{'.'.join(path)}'{nearest(path[-1], known)}") from None
        shown = repr(first["input"])
        shown = shown if len(shown) <= 60 else shown[:57] + "…"
        message = first["msg"].removeprefix("Value error, ")
        key = ".".join(path) or "settings"
        raise UsageError(f"{where}: {key} = {shown}: {message[0].lower()}{message[1:]}") from None
