"""The three lines at the top of a report: what was compared, whether personalisation pays, what the claims say."""

from __future__ import annotations

from collections import Counter

from .ledger import Entry
from .results import Results
from .tables import Summaries


def summary_lines(results: Results, both: Summaries, entries: list[Entry]) -> list[str]:
    """Plain sentences, without markup."""
    return [_compared(results), *_pays(results, both), *_claimed(entries)]


def _compared(results: Results) -> str:
    seeds = {run.seed for run in results.runs}
    data = sorted({str(run.folder.record["data"]["name"]) for run in results.runs})
    clients = sorted({int(run.folder.record["data"]["clients"]) for run in results.runs})
    many = f"{clients[0]:,}" if len(clients) == 1 else f"{clients[0]:,} to {clients[-1]:,}"
    swept = f", at {len(results.settings)} settings" if len(results.settings) > 1 else ""
    return (
        f"{_count(len(results.labels), 'method')} on {' and '.join(data)} with {many} clients, "
        f"over {_count(len(seeds), 'seed')}{swept}."
    )


def _pays(results: Results, both: Summaries) -> list[str]:
    """The first method's personal models beside its global model, and the best personal models, at equal rounds."""
    if len(results.settings) > 1:
        return []
    personal, global_ = (f"test.{model}.{results.metric}" for model in ("personal", "global"))
    setting = next(iter(results.settings))

    def shown(label: str, what: str) -> str:
        interval = both["rounds"].interval(setting, label, what)
        if interval is None:
            return ""
        half = "" if interval.withheld else f" ± {results.show_half(interval.half, interval.mean, what)}"
        return results.show(interval.mean, what) + half + (" %" if results.percent(what) else "")

    first = results.labels[0]
    if not shown(first, personal) or not shown(first, global_):
        return []
    text = f"{first}: personal models {shown(first, personal)} on test data, its global model {shown(first, global_)}"
    marks = both["rounds"].marks(setting, personal)
    best = [label for label, mark in marks.items() if mark == "best"]
    if best and best != [first]:
        text += f"; the best personal models are those of {best[0]} ({shown(best[0], personal)})"
    elif len(results.labels) > 1 and not best:
        text += "; no method's personal models are better than all others beyond chance"
    return [text + "."]


def _claimed(entries: list[Entry]) -> list[str]:
    if not entries:
        return ["The experiment makes no claims."]
    found = Counter(entry.judgement.verdict for entry in entries)
    each = [f"{found[verdict]} {verdict}" for verdict in ("reproduced", "contradicted", "undecided") if found[verdict]]
    return [f"Of {_count(len(entries), 'claim')}: {', '.join(each)}."]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
