"""The claims ledger: what an experiment's TOML says the papers claim, judged over the seeds at hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import pandas as pd

from ..config.claims import Claim, Side, sides
from ..errors import SelfflError, UsageError, nearest
from ..metrics.judged_by import LEVELS
from ..metrics.verdicts import Comparison, Judgement, judge
from ..planning.claims import check_label
from .compare import Summary
from .figures.clients import client_figures
from .figures.detection import Detection
from .results import Results
from .tables import Summaries


@dataclass(frozen=True)
class Entry:
    """A claim with both sides' means over the common seeds and the verdict; figures in their own unit.

    rival: of a claim against several methods, the one that decided it.
    """

    claim: Claim
    what: str
    left: float
    right: float
    judgement: Judgement
    seeds: list[int]
    rival: str = ""

    def effect(self, results: Results) -> str:
        """ "+1.3 [+0.4, +2.2]", or the difference alone when the interval is withheld."""
        interval = self.judgement.interval
        if interval is None:
            return "–"
        mean = results.show(interval.mean, self.what, "+")
        if interval.withheld:
            return mean
        low, high = (results.show(end, self.what, "+") for end in (interval.low, interval.high))
        return f"{mean} [{low}, {high}]"

    def sides(self, results: Results) -> str:
        rival = f" ({self.rival})" if self.rival else ""
        return f"{results.show(self.left, self.what)} vs {results.show(self.right, self.what)}{rival}"

    @property
    def level(self) -> str:
        """The interval's Holm-adjusted level, such as "98.3 %"."""
        interval = self.judgement.interval
        return "" if interval is None or interval.withheld else f"{100 * interval.level:.3g} %"


def ledger(results: Results, both: Summaries) -> list[Entry]:
    """Judge every claim of the experiment; UsageError for one that names what no run of it has."""
    claims = results.experiment.claims
    compared = [_compare(claim, results, both) for claim in claims]
    verdicts = _judged(compared)
    entries = []
    for claim, pairs, judgement in zip(claims, compared, verdicts, strict=True):
        judgement = _name_diverged(claim, results, _setting(claim, results), judgement)
        judgement = _name_unread(claim, results, both[claim.at], judgement)
        judgement = _name_withheld(claim, results, judgement)
        judgement = _name_missing(claim, results, _setting(claim, results), judgement)
        pair = pairs[judgement.decided_by]
        left, right = (pair.values[side].mean() for side in ("left", "right"))
        rival = pair.right.label if len({other.right for other in pairs}) > 1 else ""
        if claim.relation == "not-worse" and judgement.interval is not None:
            by = "over the clients of all seeds" if pair.clients else "over seeds"
            judgement = replace(judgement, note="; ".join(filter(None, [judgement.note, f"decided {by}"])))
        entries.append(Entry(claim, pair.what, left, right, judgement, list(pairs[0].values.index), rival))
    return entries


def failed(entries: list[Entry]) -> list[Entry]:
    """Required claims that were not reproduced."""
    return [e for e in entries if e.claim.required and e.judgement.verdict != "reproduced"]


def check(entries: list[Entry]) -> None:
    """Raise a SelfflError that names the required claims that were not reproduced."""
    wrong = failed(entries)
    if wrong:
        names = "; ".join(
            f"{e.claim.id} is {e.judgement.verdict}" + (f" ({e.judgement.note})" if e.judgement.note else "")
            for e in wrong
        )
        required = sum(e.claim.required for e in entries)
        raise SelfflError(f"{len(wrong)} of {required} required claims not reproduced: {names}")


@dataclass(frozen=True)
class Pair:
    """One comparison of a claim, with both sides' figures (columns left, right) by seed.

    corners: the same comparison at the evaluations around the common budget, where these lie far apart.
    """

    what: str
    right: Side
    values: pd.DataFrame
    comparison: Comparison
    corners: list[Comparison]
    clients: bool = False  # whether the differences are those of clients, of all seeds together


def _judged(compared: list[list[Pair]]) -> list[Judgement]:
    """The verdicts; undecided where a claim comes out differently at the ends of what is known of its figures."""
    verdicts = _families([[pair.comparison for pair in pairs] for pairs in compared])
    most = max((len(pair.corners) for pairs in compared for pair in pairs), default=0)
    for corner in range(most):
        moved = [
            [pair.corners[corner % len(pair.corners)] if pair.corners else pair.comparison for pair in pairs]
            for pairs in compared
        ]
        for place, other in enumerate(_families(moved)):
            decided = verdicts[place].verdict != "undecided" and any(pair.corners for pair in compared[place])
            if decided and other.verdict != verdicts[place].verdict:
                note = "comes out differently at the evaluations before and after the common budget"
                verdicts[place] = replace(verdicts[place], verdict="undecided", note=note)
    return verdicts


def _families(claims: list[list[Comparison]]) -> list[Judgement]:
    """The claims that something is not worse are a family of their own in Holm's sense, and so are all others."""
    apart = [comparisons[0].relation == "not-worse" for comparisons in claims]
    found = {
        kind: iter(judge([one for one, other in zip(claims, apart, strict=True) if other == kind])) for kind in {*apart}
    }
    return [next(found[kind]) for kind in apart]


def _compare(claim: Claim, results: Results, both: Summaries) -> list[Pair]:
    left, *rights = (_named(claim, side, results) for side in sides(claim))
    pairs = [_pair(claim, left, right, results, both) for right in rights]
    if claim.relation == "not-worse":  # over seeds, and over the clients of all seeds
        pairs += [pair for right in rights for pair in _of_clients(claim, left, right, results)]
    return pairs


def _of_clients(claim: Claim, left: Side, right: Side, results: Results) -> list[Pair]:
    """The same comparison with a difference for each client and seed, where both sides are figures of clients."""
    setting = _setting(claim, results)
    ends = [client_figures(results, side.label, setting, side.what) for side in (left, right) if side.label]
    if len(ends) < 2 or any(end.empty for end in ends):
        return []
    values = pd.DataFrame({"left": ends[0], "right": ends[1]}).dropna()
    difference = _better(left.what, results) * (values["left"] - values["right"]).to_numpy(dtype=float)
    return [Pair(left.what, right, values, Comparison(difference, claim.relation, claim.margin), [], clients=True)]


def _better(what: str, results: Results) -> int:
    """1 where a larger figure is the better one, else -1."""
    name = what.rpartition(".")[2]
    worse = name == "loss" or (name in (results.metric.name, *LEVELS) and not results.metric.higher_is_better)
    return -1 if worse else 1


def _pair(claim: Claim, left: Side, right: Side, results: Results, both: Summaries) -> Pair:
    setting, summary = _setting(claim, results), both[claim.at]
    ends = [_values(claim, side, setting, results, summary) for side in (left, right)]

    def at(one: pd.Series | float, other: pd.Series | float) -> tuple[pd.DataFrame, Comparison]:
        values = pd.DataFrame({"left": one, "right": other}).dropna().sort_index()  # a number stands for every seed
        difference = (values["left"] - values["right"]).to_numpy(dtype=float)
        if claim.relation == "not-worse":
            difference = _better(left.what or right.what, results) * difference
        return values, Comparison(difference, claim.relation, claim.margin)

    values, comparison = at(ends[0][0], ends[1][0])
    corners = [at(*corner)[1] for corner in product(ends[0][1:] or ends[0], ends[1][1:] or ends[1])]
    known = any(len(end) > 1 for end in ends)
    return Pair(left.what or right.what, right, values, comparison, corners if known else [])


def _named(claim: Claim, side: Side, results: Results) -> Side:
    """The side with its main metric written out; UsageError for a label that is neither stated nor run."""
    if not side.label:
        return side
    check_label(claim, side.label, results.experiment, results.labels)
    parts = side.what.split(".")
    if parts[0] != "method" and len(parts) == 2:
        parts.append(results.metric.name)
    return replace(side, what=".".join(parts))


def _setting(claim: Claim, results: Results) -> str:
    """The one setting that `where` picks."""
    for key in claim.where:
        known = {key for setting in results.settings.values() for key in setting}
        if key not in known:
            raise UsageError(f"claim '{claim.id}': where names '{key}', which is not swept{nearest(key, known)}")
    found = [n for n, s in results.settings.items() if all(s.get(k) == v for k, v in claim.where.items())]
    if len(found) == 1:
        return found[0]
    picked = ", ".join(f"{key} = {value}" for key, value in claim.where.items()) or "no setting"
    if not found:
        raise UsageError(
            f"claim '{claim.id}': no runs with {picked}; make them with: selffl train {results.experiment.name}"
        )
    raise UsageError(
        f"claim '{claim.id}': where ({picked}) fits {len(found)} settings ({'; '.join(found[:3])} …); name one"
    )


def _values(
    claim: Claim, side: Side, setting: str, results: Results, summary: Summary
) -> list[pd.Series] | list[float]:
    """A side's figures, followed by those of the evaluations before and after where these lie far apart."""
    if not side.label:
        return [side.number]
    runs = [run for run in results.runs if run.label == side.label and run.setting == setting]
    if not runs or (setting, side.what, side.label) in summary.withheld:
        return [pd.Series(dtype=float)]
    values = summary.seeds(setting, side.label, side.what)
    if values.empty and not all(run.diverged for run in runs) and not _may_be_withheld(side.what, results):
        known = [what for what in summary.whats if len(summary.seeds(setting, side.label, what))]
        raise UsageError(f"claim '{claim.id}': {side.label} recorded no '{side.what}'{nearest(side.what, known)}")
    ends = summary.ends(setting, side.label, side.what)
    return [values, *ends] if len(ends) > 1 else [values]


def _may_be_withheld(what: str, results: Results) -> bool:
    """Whether a run may be without this figure by no fault: a ratio of false accepts that the baseline has none of, or
    a device that these data do not have."""
    name = what.rpartition(".")[2]
    return results.extra(Detection) is not None and (name == "relative_fa" or name.startswith(("relative_fa_", "eer_")))


def _name_unread(claim: Claim, results: Results, summary: Summary, judgement: Judgement) -> Judgement:
    """Say of a claim at equal gradients whose figure was not evaluated near enough to the common budget."""
    named = [_named(claim, side, results) for side in sides(claim) if side.label]
    late = [side.label for side in named if (_setting(claim, results), side.what, side.label) in summary.withheld]
    if not late:
        return judgement
    note = f"{' and '.join(dict.fromkeys(late))} not evaluated near the common budget; lower train.eval_every"
    return replace(judgement, verdict="undecided", interval=None, note=note)


def _name_withheld(claim: Claim, results: Results, judgement: Judgement) -> Judgement:
    """Say of a claim without a seed that its device is not there, or that its ratio is withheld."""
    found, names = results.extra(Detection), [side.what.rpartition(".")[2] for side in sides(claim)]
    if found is None or judgement.interval is not None or not any(name.startswith("relative_fa") for name in names):
        return judgement
    devices = {name.removeprefix("relative_fa_") for name in names if name.startswith("relative_fa_")}
    strange = sorted(devices - set(found.devices))
    note = f"no device {' or '.join(strange)} in these data" if strange else "the ratio is withheld in every seed"
    return replace(judgement, interval=None, note=note)


def _name_missing(claim: Claim, results: Results, setting: str, judgement: Judgement) -> Judgement:
    """Say of a claim which of its methods was not trained: the others' tables are worth having all the same."""
    there = {run.label for run in results.runs if run.setting == setting}
    missing = [side.label for side in sides(claim) if side.label and side.label not in there]
    if not missing:
        return judgement
    note = f"no finished run of {' or '.join(dict.fromkeys(missing))}"
    return replace(judgement, interval=None, note=note)


def _name_diverged(claim: Claim, results: Results, setting: str, judgement: Judgement) -> Judgement:
    labels = {side.label for side in sides(claim)}
    gone = sorted({r.label for r in results.runs if r.diverged and r.label in labels and r.setting == setting})
    if not gone:
        return judgement
    note = "; ".join(filter(None, [judgement.note, f"seeds of {', '.join(gone)} diverged"]))
    return replace(judgement, note=note)


def claims_frame(entries: list[Entry]) -> pd.DataFrame:
    """The ledger as a CSV: unrounded, in the figures' own unit."""
    rows = []
    for entry in entries:
        claim, interval = entry.claim, entry.judgement.interval
        rows.append(
            {
                "id": claim.id,
                "verdict": entry.judgement.verdict,
                "note": entry.judgement.note,
                "claim": claim.text,
                "source": claim.source,
                "paper": claim.paper,
                "left": claim.left,
                "relation": claim.relation,
                "right": "; ".join(claim.right) if isinstance(claim.right, list) else claim.right,
                "rival": entry.rival,
                "margin": claim.margin,
                "equal": claim.at,
                "required": claim.required,
                "left_mean": entry.left,
                "right_mean": entry.right,
                "seeds": len(entry.seeds),
                "difference": interval.mean if interval else None,
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "level": interval.level if interval else None,
                "p": entry.judgement.p,
            }
        )
    return pd.DataFrame(rows)
