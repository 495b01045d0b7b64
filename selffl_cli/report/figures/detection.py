"""Wake words: relative false accepts of every run against its warm start, from the scores in the run folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...config.run import WARM_START
from ...metrics import bootstrap, det
from ...runs.folder import SCORES, RunFolder

RESAMPLES = 2000
MODELS = ("global", "personal")
CLIP_SECONDS = 1.0  # of audio behind a sample, as `selffl prepare` cuts it; for false accepts an hour
# The five simulated devices, as data_prep/speech/channels.py names them: client and group.
SIMULATED = dict(zip("ABCDE", ("near-field", "far-field", "small-mic", "noisy", "overdriven"), strict=True))
LEAST_HOURS = 1.0  # of negatives; with less, one false accept an hour is less than one accept


@dataclass(frozen=True)
class Clips:
    """Scores of one model on the clips of one device: label, speaker and score, each [n], in the run's order."""

    label: np.ndarray
    speaker: np.ndarray
    score: np.ndarray

    @property
    def both_kinds(self) -> bool:
        return 0 < self.label.sum() < len(self.label)


class DetectionScores:
    """A run's scores by part, model and device."""

    def __init__(self, folder: RunFolder) -> None:
        self.frame = folder.table(SCORES).to_pandas()
        clients = folder.clients
        names, groups = clients["name"].to_pylist(), clients["group"].to_pylist()
        self.simulated = dict(zip(names, groups, strict=True)) == SIMULATED
        # by client: the five's own names, of real ones the group (what kind of device it is) where there is one
        self.device = dict(enumerate(names if self.simulated else [g or n for n, g in zip(names, groups, strict=True)]))

    def clips(self, part: str, model: str, device: str | None = None) -> Clips:
        """Those of one device, or of all."""
        rows = self.frame[(self.frame["part"] == part) & (self.frame["model"] == model)]
        if device is not None:
            rows = rows[rows["client"].map(self.device) == device]
        label, speaker = (rows[column].to_numpy(np.int64) for column in ("label", "speaker"))
        return Clips(label, speaker, rows["score"].to_numpy(np.float64))


@dataclass(frozen=True)
class Outcome:
    """One method's models on one device, over its seeds: sums of false accepts at the baseline's false rejects."""

    label: str
    model: str
    device: str
    accepts: float
    baseline: float
    seeds: list[int]
    ratios: list[float | None]  # by seed
    interval: tuple[float, float] | None
    equal_error_rate: float
    an_hour: float | None  # FR at one false accept an hour
    rejected: float  # wake words that the baseline rejects

    @property
    def ratio(self) -> float | None:
        """Relative FA; None, withheld, when the baseline accepts nothing falsely, or rejects no wake word."""
        return self.accepts / self.baseline if self.baseline > 0 and self.rejected > 0 else None


class Detection:
    """The detection side of an experiment's results. `runs` are (label, seed, folder) of finished runs."""

    def __init__(self, runs: Iterable[tuple[str, int, RunFolder]], false_rejects: float) -> None:
        self.false_rejects = false_rejects
        self.notes: list[str] = []
        self.runs: list[tuple[str, int, DetectionScores, DetectionScores]] = []
        baselines: dict[Path, DetectionScores] = {}
        self._thresholds: dict[int, float] = {}
        without = []
        for label, seed, folder in runs:
            start = warm_start(folder)
            if start is None or not folder.has(SCORES):
                without.append(f"{label} (seed {seed})")
                continue
            if start.path not in baselines:
                baselines[start.path] = DetectionScores(start)
            self.runs.append((label, seed, DetectionScores(folder), baselines[start.path]))
        self.without_validation = [s for s in baselines.values() if not s.clips("validation", "global").label.any()]
        if self.without_validation:
            self.notes.append(
                "No wake word in the validation part: the baseline's threshold was fixed on the TEST part, which the "
                "ratios are then read on; prepare the data with a larger validation part (--split 60/15/25)."
            )
        if without:
            self.notes.append(
                "No scores of a run, or of the warm start that is its baseline, so in no wake-word table: "
                f"{', '.join(without)}."
            )
        self.devices = list(dict.fromkeys(name for *_, scored, _ in self.runs for name in scored.device.values()))
        self.labels = list(dict.fromkeys(label for label, *_ in self.runs))
        self.simulated = bool(self.runs) and all(scored.simulated for *_, scored, _ in self.runs)

    def threshold(self, baseline: DetectionScores) -> float:
        """Fixed once for all devices, on validation, where the baseline rejects about `false_rejects`; on test where
        validation has no wake word, which `notes` then say."""
        if id(baseline) not in self._thresholds:
            clips = baseline.clips("test" if baseline in self.without_validation else "validation", "global")
            self._thresholds[id(baseline)] = det.threshold_near(clips.label, clips.score, self.false_rejects)
        return self._thresholds[id(baseline)]

    def relative(self, scored: DetectionScores, baseline: DetectionScores, model: str, device: str) -> det.Relative:
        own, theirs = scored.clips("test", model, device), baseline.clips("test", "global", device)
        if not len(own.label):
            return det.Relative(0.0, 0.0, 0.0, 0, 0)
        return det.relative(own.label, theirs.score, own.score, self.threshold(baseline))

    def figures(self, scored: DetectionScores, baseline: DetectionScores) -> dict[str, float]:
        """Of one run, by name: test.MODEL.relative_fa_DEVICE, …eer_DEVICE, and relative_fa, their mean over devices.

        Withheld ratios are absent; the mean is given when every device has one whose test clips are of both kinds.
        """
        found: dict[str, float] = {}
        for model in MODELS:
            ratios, judged = [], 0
            for device in self.devices:
                ratio = self.relative(scored, baseline, model, device).ratio
                own = scored.clips("test", model, device)
                if own.both_kinds:
                    judged += 1
                    found[f"test.{model}.eer_{device}"] = det.curve(own.label, own.score).equal_error_rate
                if ratio is not None and len(own.label):
                    found[f"test.{model}.relative_fa_{device}"] = ratio
                    ratios.append(ratio)
            if ratios and len(ratios) == judged:
                found[f"test.{model}.relative_fa"] = float(np.mean(ratios))
        return found

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Every method, model and device, the speakers drawn anew alike for all of them and for every seed."""
        speakers = np.unique(np.concatenate([b.clips("test", "global").speaker for *_, b in self.runs]))
        weights = bootstrap.draws(len(speakers), RESAMPLES)
        cache: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]] = {}
        made = []
        for model in MODELS:
            for label in self.labels:
                runs = [(seed, scored, base) for name, seed, scored, base in self.runs if name == label]
                if not any(len(scored.clips("test", model).label) for _, scored, _ in runs):
                    continue
                for device in self.devices:
                    made.append(self._outcome(label, model, device, runs, speakers, weights, cache))
        return made

    def _outcome(
        self, label: str, model: str, device: str, runs: Sequence[tuple[int, DetectionScores, DetectionScores]],
        speakers: np.ndarray, weights: np.ndarray, cache: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]],
    ) -> Outcome:  # fmt: skip
        relative = [self.relative(scored, base, model, device) for _, scored, base in runs]
        own, theirs = np.zeros(len(weights)), np.zeros(len(weights))
        errors, hourly = [], []
        for (_, scored, base), at in zip(runs, relative, strict=True):
            if not at.positives or not at.negatives:
                continue
            clips = scored.clips("test", model, device)
            index = np.searchsorted(speakers, clips.speaker)
            if (id(base), device) not in cache:
                reference, tau = base.clips("test", "global", device).score, self.threshold(base)
                count = bootstrap.rejected(clips.label, reference, tau, index, weights)
                tally = bootstrap.Tally.of(clips.label, reference, index, len(speakers))
                cache[id(base), device] = count, tally.accepts_at(weights, count)
            count, accepted = cache[id(base), device]
            own += bootstrap.Tally.of(clips.label, clips.score, index, len(speakers)).accepts_at(weights, count)
            theirs += accepted
            curve = det.curve(clips.label, clips.score)
            errors.append(curve.equal_error_rate)
            hours = curve.negatives * CLIP_SECONDS / 3600
            if hours >= LEAST_HOURS:
                hourly.append(curve.fr_at(hours / curve.negatives))
        return Outcome(
            label, model, device,
            sum(at.accepts for at in relative), sum(at.baseline for at in relative),
            [seed for seed, *_ in runs], [at.ratio for at in relative],
            bootstrap.interval(own, theirs) if errors else None,
            float(np.mean(errors)) if errors else float("nan"),
            float(np.mean(hourly)) if hourly else None,
            sum(at.rejected for at in relative),
        )  # fmt: skip

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """The warm starts on every device, means over seeds: clips, FR and FA where they are compared, EER."""
        rows = []
        for device in self.devices:
            seen: dict[int, dict[str, Any]] = {}
            for *_, base in self.runs:
                clips = base.clips("test", "global", device)
                if id(base) not in seen and clips.both_kinds:
                    at = det.relative(clips.label, clips.score, clips.score, self.threshold(base))
                    seen[id(base)] = {
                        "wake words": at.positives, "others": at.negatives, "false rejects": at.rejected,
                        "false accepts": at.baseline, "EER": det.curve(clips.label, clips.score).equal_error_rate,
                        "speakers": len(np.unique(clips.speaker)),
                    }  # fmt: skip
            if seen:
                rows.append({"device": device, **pd.DataFrame(seen.values()).mean().to_dict()})
        return pd.DataFrame(rows)


def warm_start(folder: RunFolder) -> RunFolder | None:
    """The finished run that made the start of this one, with its scores; None where it is not there."""
    init = str(folder.record.get("init", ""))
    if not init.startswith("run-"):
        return None
    for path in folder.path.parent.glob(f"*-{WARM_START}-s*-{init.removeprefix('run-')}"):
        if (folder := RunFolder(path)).has(SCORES):
            return folder
    return None


def detection(runs: Iterable[tuple[str, int, RunFolder]], false_rejects: float) -> Detection | None:
    """None where no run has scores: it was no detection task."""
    runs = list(runs)
    if not any(folder.has(SCORES) for *_, folder in runs):
        return None
    return Detection(runs, false_rejects)
