"""Which run folders make up an experiment's tables, and what becomes of the others."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ..config.experiment import Experiment
from ..planning.stated import SEED, Given, StatedRun, recorded, stated_runs, words
from ..runs.folder import RunFolder

SAID = 6  # kinds of left-out runs that a note names
COMPARED = ("train", "model", "data", "start")  # parts in which a run of a label of its own may differ


@dataclass(frozen=True)
class Placed:
    """A run at its place in the tables: one that serves several settings has several."""

    folder: RunFolder
    label: str
    setting: dict[str, Any]
    seed: int
    loose: bool = False  # compared in what the TOML states alone, since defaults are not known

    @property
    def row(self) -> tuple[str, str]:
        return self.label, self.column

    @property
    def column(self) -> str:
        return json.dumps(self.setting, sort_keys=True)

    @property
    def started(self) -> tuple[str, str]:
        return str(self.folder.environment.get("started", "")), self.folder.path.name


@dataclass
class Chosen:
    """The runs that the experiment's TOML states, and the others under labels that say in what they differ."""

    stated: list[Placed] = field(default_factory=list)
    others: list[Placed] = field(default_factory=list)

    def variants(self) -> list[Placed]:
        """The others for the tables: of several with the same label, setting and seed the last one started."""
        latest = {(*place.row, place.seed): place for place in sorted(self.others, key=lambda place: place.started)}
        return list(latest.values())

    def note(self, included: bool) -> list[str]:
        """What the page says of the others."""
        if not self.others:
            return []
        kinds = Counter(place.label for place in self.others)
        said = ", ".join(f"{label} × {count}" if count > 1 else label for label, count in list(kinds.items())[:SAID])
        more = f" and {len(kinds) - SAID} more" if len(kinds) > SAID else ""
        runs, are = (
            f"{len(self.others)} other run{'s' * (len(self.others) > 1)}",
            "are" * (len(self.others) > 1) or "is",
        )
        if included:
            return [
                f"{runs} that the experiment's TOML does not state {are} shown under labels of their own: {said}{more}"
                ". They lower no common budget, and none is called best."
            ]
        return [
            f"{runs} that the experiment's TOML does not state as it is now {are} left out: {said}{more}; `--include` "
            "shows them under labels of their own."
        ]


def choose(experiment: Experiment, folders: Iterable[RunFolder], given: Given) -> Chosen:
    """One folder for each stated (label, setting, seed); every other is named by what differs.

    Runs of one seed are compared with each other, so they share their data and their start, and the seeds of a row
    share all but their seed. Where runs do not, those that most runs agree with are shown (of two as many, the ones
    started last).
    """
    stated: dict[str, list[StatedRun]] = defaultdict(list)
    for run in stated_runs(experiment, given):
        stated[run.label].append(run)
    every = [run for runs in stated.values() for run in runs]
    chosen = Chosen()
    for folder in folders:
        record = folder.record
        found = [(run.differences(record), run) for run in stated.get(record["label"], [])]
        fitting = [run for differs, run in found if not differs]
        for run in fitting:
            place = Placed(folder, run.label, run.setting, int(record["seed"]), loose=bool(run.unknown))
            chosen.stated.append(place)
        if not fitting:
            chosen.others.append(_other(folder, found or _without_method(folder, every)))
    _keep(chosen, lambda p: p.column, _sources, "sources {}")
    _one_dealing(chosen)
    _keep(chosen, lambda p: p.row, lambda p: _signature(p.folder) if p.loose else "", "other options")
    _keep(chosen, lambda p: (p.column, p.seed), lambda p: str(p.folder.record["data"]["hash"]), "data {}")
    _keep(chosen, lambda p: (p.column, p.seed), lambda p: str(p.folder.record.get("init", "")), "start {}")
    _keep(chosen, lambda p: (*p.row, p.seed), lambda p: p.folder.path.name, "another start or noise")
    chosen.others = _apart(chosen.others)
    return chosen


def _without_method(folder: RunFolder, every: list[StatedRun]) -> list[tuple[dict[str, Any], StatedRun]]:
    """Of a label that the experiment does not know: in what the run differs beside its method."""
    found = [(run.differences(folder.record), run) for run in every]
    return [({k: v for k, v in differs.items() if k.startswith(COMPARED)}, run) for differs, run in found]


def _other(folder: RunFolder, found: list[tuple[dict[str, Any], StatedRun]]) -> Placed:
    """A run that is not stated, at the setting and under the label that tell it from the nearest that is."""
    record = folder.record
    differs, run = min(found, key=lambda pair: len(pair[0]))
    said = words(differs)
    label = f"{record['label']} ({said})" if said else record["label"]
    return Placed(folder, label, run.setting, int(record["seed"]))


def _keep(chosen: Chosen, where: Callable[[Placed], Hashable], what: Callable[[Placed], str], said: str) -> None:
    """In each place keep the runs of one kind, that of most; the rest are others, named by their kind."""
    places: dict[Hashable, dict[str, list[Placed]]] = defaultdict(lambda: defaultdict(list))
    for place in chosen.stated:
        places[where(place)][what(place)].append(place)
    chosen.stated = []
    for kinds in places.values():
        best = max(kinds, key=lambda kind: (len(kinds[kind]), max(place.started for place in kinds[kind])))
        for kind, runs in kinds.items():
            if kind == best:
                chosen.stated += runs
            else:
                name = said.format(kind[:12] or "of its own")
                chosen.others += [replace(place, label=f"{place.label} ({name})") for place in runs]


def _one_dealing(chosen: Chosen) -> None:
    """Either each seed has its own deal of the data, or one deal serves all seeds: that of most, else the first."""
    columns: dict[str, list[Placed]] = defaultdict(list)
    for place in chosen.stated:
        columns[place.column].append(place)
    chosen.stated = []
    for places in columns.values():
        kinds: Counter[int | None] = Counter(_dealt(place) for place in places)
        kinds[None] = sum(_dealt(place) == place.seed for place in places)
        best = max(kinds, key=lambda kind: (kinds[kind], kind is None))
        for place in places:
            if _dealt(place) == (place.seed if best is None else best):
                chosen.stated.append(place)
            else:
                chosen.others.append(replace(place, label=f"{place.label} (data dealt by seed {_dealt(place)})"))


def _dealt(place: Placed) -> int:
    """The seed that dealt the data; the run's own where its record does not say."""
    return place.folder.record["data"].get("arguments", {}).get("seed", place.seed)


def _apart(others: list[Placed]) -> list[Placed]:
    """Each run once, and no two of different options under one label."""
    kinds: dict[str, list[str]] = defaultdict(list)
    made: dict[Any, Placed] = {}
    for place in others:
        if place.folder.path in made:
            continue
        signature, known = _signature(place.folder), kinds[place.label]
        if signature not in known:
            known.append(signature)
        number = known.index(signature)
        made[place.folder.path] = replace(place, label=f"{place.label}, variant {number + 1}") if number else place
    return sorted(made.values(), key=lambda place: (place.label, place.seed))


def _signature(folder: RunFolder) -> str:
    options = recorded(folder.record)
    options.pop(SEED, None)
    return json.dumps(options, sort_keys=True)


def _sources(place: Placed) -> str:
    """What the data were made of, whichever way they were then dealt."""
    sources = place.folder.record["data"].get("sources", [])
    return ",".join(sorted(str(source.get("sha256", "")) for source in sources))
