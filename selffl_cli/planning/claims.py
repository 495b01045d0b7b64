"""What a claim's two sides name, and whether an experiment's runs can have it: asked before hours of training."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..config.claims import Claim, Side, sides
from ..config.experiment import Experiment, apply_setting, train_config
from ..errors import UsageError, nearest
from ..methods import method_class
from ..metrics import read_metrics
from ..metrics.judged_by import ENDS, MAIN, SPREAD
from ..runs.audits import NAMES as AUDITS

MODELS = ("global", "personal", "delivered")
PARTS = {"train.eval_parts", "train.new_clients", "train.periods"}  # the keys that say which parts are scored
FIGURES = (*(metric.name for metric in MAIN), "loss", *SPREAD, *ENDS, "relative_fa")
OF_A_DEVICE = ("relative_fa_", "eer_")  # before its name


def check_label(claim: Claim, label: str, experiment: Experiment, others: Collection[str]) -> None:
    """UsageError when the label is neither one of the experiment's methods nor one of the others that were run."""
    if label not in experiment.methods and label not in others:
        raise UsageError(
            f"claim '{claim.id}' names '{label}', which is no method of {experiment.name}"
            + nearest(label, experiment.methods)
        )


def check(experiment: Experiment, labels: Collection[str] = (), given: Collection[str] = ()) -> None:
    """UsageError for the first claim that no run of the experiment could bear out.

    labels: methods that are run beside the experiment's own. given: dotted keys that the command line has set; what
    they take away (a part, a setting of the sweep) is no fault of a claim, as a method left out by --method is none.
    """
    swept = any(key.partition(".")[0] == "sweep" for key in given)
    for claim in experiment.claims:
        every = sides(claim)
        at = experiment if swept else apply_setting(experiment, _setting(claim, experiment))
        for side in every:
            if side.label:
                check_label(claim, side.label, experiment, labels)
            if side.label in experiment.methods:
                wrong = _wrong(side, at, bool(PARTS & {*given}))
                if wrong:
                    raise UsageError(f"claim '{claim.id}': {side.label} will record no '{side.what}': {wrong}")


def _setting(claim: Claim, experiment: Experiment) -> dict[str, Any]:
    """The one setting of the sweep that `where` picks."""
    for key, value in claim.where.items():
        if key not in experiment.sweep:
            raise UsageError(
                f"claim '{claim.id}': where names '{key}', which is not swept{nearest(key, experiment.sweep)}"
            )
        if value not in experiment.sweep[key]:
            values = ", ".join(map(str, experiment.sweep[key]))
            raise UsageError(f"claim '{claim.id}': where asks for {key} = {value}, not swept (known: {values})")
    found = [s for s in experiment.settings() if all(s[key] == value for key, value in claim.where.items())]
    if len(found) > 1:
        open_ = next(key for key in experiment.sweep if key not in claim.where and len(experiment.sweep[key]) > 1)
        raise UsageError(f"claim '{claim.id}': where fits {len(found)} settings; name one, by {open_}")
    return found[0]


def _wrong(side: Side, experiment: Experiment, any_part: bool) -> str:
    """What is wrong with a side's figure ("" when nothing is), as its method is trained; `any_part`: not its part."""
    table = experiment.methods[side.label]
    train = train_config(experiment.train, table.get("train", {}), f"{experiment.name}: [methods.{side.label}] train")
    part, *rest = side.what.split(".")
    if part == "method" or part in AUDITS:  # a scalar of the method's own, or what an attack found
        return "" if all(rest) and rest else f"name one of the figures of '{part}'"
    scored = [*train.eval_parts, *["new"] * bool(train.new_clients)]
    if part not in scored and not any_part and not (train.periods and part.startswith("period-")):
        return f"'{part}' is not scored{nearest(part, [*scored, 'method', *AUDITS])}"
    model = rest[0] if rest else ""
    if model == "delivered" and not train.delivery_rounds:
        return "no model is delivered; set delivery_rounds = 1 in [train]"
    if model not in MODELS:
        return f"'{model}' is no kind of model{nearest(model, MODELS)}"
    name = table.get("method", side.label)
    if model == "global" and isinstance(name, str) and not method_class(name).has_global:
        return f"method '{name}' has no global model (known: personal)"
    figures = (*FIGURES, *(metric.name for metric in read_metrics(train.metrics)))
    if len(rest) > 2 or (len(rest) == 2 and rest[1] not in figures and not rest[1].startswith(OF_A_DEVICE)):
        name = ".".join(rest[1:])
        return f"'{name}' is no figure{nearest(name, figures)}"
    return ""
