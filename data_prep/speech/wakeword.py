"""Any corpus LABEL/SPEAKER_….wav as a wake-word task: one word against all others, a client a kind of device.

Who is in which part and on which device is decided from names; then every clip is rendered once for each of
its rows (data_prep/speech/render.py). A speaker is in one part and, without a clients.csv, on one device; with
`test_all_devices` every test clip is heard through all five, so that false accepts are enough to be compared.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from selffl_cli.errors import SelfflError, UsageError

from ..dealing.pool import TEST, TRAIN, VALIDATION, Pool, PrepareOptions
from ..texts.lines import nfc
from .audio import Unusable, decode, need_libraries, one_second, read_bytes, walk
from .channels import DEVICES, Channels
from .corpus import (
    Corpus,
    check_parts,
    check_training,
    check_wake_word,
    deal_speakers,
    parse_split,
    salted,
    split_speakers,
    take_stock,
)
from .render import Job, Normalised, Rendered, Stage, normalise, render

HIDDEN: dict[str, Any] = {"hidden": True}  # clients, their partition and their parts are given by the corpus
BABBLE = 96  # clips of training speakers that babble is made of
LISTED = 1000  # clips left out that the manifest names
PARTS = ("train", "validation", "test")


class WakeWordOptions(PrepareOptions):
    clients: None = Field(None, description="Fixed.", json_schema_extra=HIDDEN)
    partition: Literal["natural"] = Field("natural", description="Fixed.", json_schema_extra=HIDDEN)
    validation: float = Field(0.0, ge=0, le=0, description="Fixed.", json_schema_extra=HIDDEN)
    test: float = Field(0.0, ge=0, le=0, description="Fixed.", json_schema_extra=HIDDEN)
    wake_word: str | None = Field(None, description="The word (a folder's name) that wakes the device.")
    split: str = Field(
        "official",
        description="Speakers by the corpus's own lists, else by the published hash rule (80/10/10); or by "
        "that rule with other shares for training, validation and test in per cent: 60/10/30.",
    )
    noise: float = Field(
        0.1,
        ge=0,
        le=10,
        description="Crops of background noise among the negatives, as share of clips.",
    )
    frames: int = Field(76, ge=16, le=98, description="Frames of 10 ms: the loudest 76, or all 98.")
    test_all_devices: bool = Field(
        True, description="Every test clip through all five simulated devices, not only its speaker's."
    )
    max_bad: float = Field(0.01, ge=0, le=1, description="More unusable clips than this share are an error.")
    listen: str | None = Field(
        None, exclude=True, description="Folder for a few WAVs and a picture: what the five devices hear."
    )

    @field_validator("wake_word")
    @classmethod
    def _composed(cls, value: str | None) -> str | None:
        return None if value is None else nfc(value)

    @field_validator("split")
    @classmethod
    def _split(cls, value: str) -> str:
        parse_split(value)
        return value


class RowPlace(NamedTuple):
    """A row of the data before it has a number: sorted by part and client, as shards are."""

    part: int
    client: int
    key: str
    job: int


@dataclass
class Plan:
    """Who is where, from names alone: `parts` of speakers, clients with their groups, client of each clip."""

    source: Path
    corpus: Corpus
    wake_word: str
    parts: dict[str, int]
    names: list[str]
    groups: list[str]
    client: list[int]
    simulated: bool


def plan(options: WakeWordOptions, source: Path) -> Plan:
    """Raises SelfflError or UsageError for a corpus that this cannot be made of."""
    need_libraries()
    corpus = take_stock(source)
    wake_word = check_wake_word(options.wake_word, corpus, source)
    parts = split_speakers(source, corpus, options.split)
    if corpus.owners is not None:
        check_parts(source, corpus, parts, options.split, 1)
        owners = [corpus.owners[clip.key] for clip in corpus.clips]
        names = sorted({owner.client for owner in owners})
        groups = dict(owners)
        index = {name: number for number, name in enumerate(names)}
        client = [index[owner.client] for owner in owners]
        check_training(source, names, client, [parts[clip.speaker] for clip in corpus.clips])
        return Plan(source, corpus, wake_word, parts, names, [groups[name] for name in names], client, False)
    speakers = sum(part == TRAIN for part in parts.values())
    if speakers < len(DEVICES):
        raise SelfflError(
            f"{source}: {speakers} speakers in the training part, fewer than the {len(DEVICES)} devices; "
            "bring more speakers, or real devices by a clients.csv"
        )
    check_parts(source, corpus, parts, options.split, len(DEVICES))
    devices = deal_speakers(parts, (device.share for device in DEVICES), f"devices {options.seed}")
    client = [devices[clip.speaker] for clip in corpus.clips]
    names, groups_of = [device.name for device in DEVICES], [device.kind for device in DEVICES]
    return Plan(source, corpus, wake_word, parts, names, groups_of, client, True)


def channels(asked: Plan, seed: int, stage: Stage) -> Channels:
    """The five channels of a seed, with the corpus's noise, and babble of clips of training speakers."""
    stage("choosing noise and babble")
    training = [clip for clip in asked.corpus.clips if asked.parts[clip.speaker] == TRAIN]
    chosen = sorted(training, key=lambda clip: salted(f"babble {seed}", clip.key))[:BABBLE]
    found = read_clips(asked.source, {clip.name for clip in chosen})
    babble = [found[clip.name] for clip in chosen if clip.name in found]
    if not babble and not asked.corpus.noise:
        raise SelfflError(f"{asked.source}: neither noise nor a usable training clip; give more")
    made = Channels(seed, asked.corpus.noise, babble)
    stage("simulating a room")
    _ = made.room  # before workers are forked: they share it
    return made


def read_clips(source: Path, names: set[str]) -> dict[str, np.ndarray]:
    """One second of each named recording that can be used, {name: float32 [16000]}."""
    found: dict[str, np.ndarray] = {}
    left = len(names)
    for name, stream in walk(source, names.__contains__) if names else ():
        with suppress(Unusable):  # counted when the clip itself is rendered
            found[name] = one_second(decode(read_bytes(stream))[0])
        left -= 1
        if not left:
            break
    return found


def load(options: WakeWordOptions, source: Path, stage: Stage, citation: str) -> Pool:
    """x float16 [n, frames, 64], normalised log-mel energies; y int64 [n], 1 for the wake word; `speaker`
    int64 [n], for resampling by speaker. A client is a device (or what clients.csv calls so).
    """
    from ..reading.sources import digest_source

    stage("reading names")
    asked = plan(options, source)
    heard = channels(asked, options.seed, stage) if asked.simulated else Channels(options.seed)
    jobs, speakers = _jobs(asked, options)
    places = sorted(
        RowPlace(job.part, asked.client[number] if device < 0 else device, job.key, number)
        for number, job in enumerate(jobs)
        for device in job.devices
    )
    rows: dict[int, list[int]] = {}
    for row, place in enumerate(places):
        rows.setdefault(place.job, []).append(row)
    # rows of one clip stand in the order of its devices, since they are sorted by client
    jobs = [job._replace(rows=tuple(rows[number])) for number, job in enumerate(jobs)]
    words = {clip.name: job for clip, job in zip(asked.corpus.clips, jobs, strict=False)}
    rendered = render(source, words, jobs[len(words) :], heard, options.frames, stage)
    _check_share(asked, rendered, len(words), options.max_bad)
    part = np.array([place.part for place in places])
    made = normalise(rendered, part == TRAIN, options.frames, stage)
    kept = np.flatnonzero(rendered.usable)
    label = np.array(
        [clip.label == asked.wake_word for clip in asked.corpus.clips] + [False] * (len(jobs) - len(words))
    )
    job = np.array([place.job for place in places])[kept]
    return Pool(
        arrays={
            "x": made.x,
            "y": label[job].astype(np.int64),
            "speaker": np.array(speakers)[job],
        },
        classes=["other", asked.wake_word],
        citation=citation,
        client=np.array([place.client for place in places])[kept],
        client_names=asked.names,
        part=part[kept],
        shared={"mean": made.mean, "std": made.std},
        client_columns={"group": asked.groups},
        notes=_notes(asked, options, rendered, jobs, made),
        sources=[{"name": source.name, "sha256": digest_source(source)}],
    )


def _jobs(asked: Plan, options: WakeWordOptions) -> tuple[list[Job], list[int]]:
    """A job for each clip and then for each crop of noise, and the speaker's number of each job.

    What is heard of one noise recording in one part counts as one speaker, so that resampling by speaker
    keeps together what is alike. Real devices get no crops: the noise was not recorded by them.
    """
    every = tuple(range(len(DEVICES))) if options.test_all_devices else ()
    numbers = {speaker: number for number, speaker in enumerate(sorted(asked.parts))}
    jobs, speakers = [], []
    for clip, client in zip(asked.corpus.clips, asked.client, strict=True):
        part = asked.parts[clip.speaker]
        devices = (every if part == TEST and every else (client,)) if asked.simulated else (-1,)
        jobs.append(Job(clip.key, (), devices, part))
        speakers.append(numbers[clip.speaker])
    recordings = list(asked.corpus.noise)
    if not asked.simulated or not recordings:
        return jobs, speakers
    counts = Counter(job.part for job in jobs)
    crops = {
        f"{recordings[k % len(recordings)]}#{PARTS[part]}-{k // len(recordings)}": (part, k % len(recordings))
        for part in (TRAIN, VALIDATION, TEST)
        for k in range(round(options.noise * counts[part]))
    }
    keys = {key: part for key, (part, _) in crops.items()}
    dealt = deal_speakers(keys, (device.share for device in DEVICES), f"crops {options.seed}")
    for key, (part, number) in crops.items():
        devices = every if part == TEST and every else (dealt[key],)
        jobs.append(Job(key, (), devices, part, noise=recordings[number]))
        speakers.append(len(numbers) + 3 * number + part)
    return jobs, speakers


def _check_share(asked: Plan, rendered: Rendered, clips: int, most: float) -> None:
    names = {clip.key: clip.name for clip in asked.corpus.clips}
    asked.corpus.skipped.update({names.get(key, key): why for key, why in rendered.skipped.items()})
    bad, total = len(asked.corpus.skipped), clips + len(asked.corpus.skipped) - len(rendered.skipped)
    if bad > most * total:
        rendered.file.close()
        name, reason = next(iter(asked.corpus.skipped.items()))
        counts = ", ".join(f"{count:,} {why}" for why, count in Counter(asked.corpus.skipped.values()).most_common(4))
        raise SelfflError(
            f"{asked.source}: {bad:,} of {total:,} recordings cannot be used ({counts}; {name}: {reason}), "
            f"more than {most:.1%}; mend the corpus or allow more by --max-bad"
        )


def _notes(
    asked: Plan,
    options: WakeWordOptions,
    rendered: Rendered,
    jobs: list[Job],
    made: Normalised,
) -> dict[str, Any]:
    skipped = asked.corpus.skipped
    by_lists = options.split == "official" and asked.corpus.lists
    shares = "80/10/10" if options.split == "official" else options.split
    hours, words = rendered.audio_seconds / 3600, len(asked.corpus.clips)
    used = [clip.label for clip in asked.corpus.clips if clip.key not in rendered.skipped]
    return {
        "wake_word": asked.wake_word,
        "clips": f"{len(used):,}, {used.count(asked.wake_word):,} of them '{asked.wake_word}', and "
        f"{len(jobs) - words:,} of noise",
        "labels": dict(sorted(Counter(used).items())),
        "speakers": ", ".join(
            f"{sum(p == part for p in asked.parts.values()):,} {name}" for part, name in enumerate(PARTS)
        ),
        "split": "by the lists of the corpus" if by_lists else f"by the hash rule on the speaker, {shares}",
        "devices": "five simulated channels" if asked.simulated else "as clients.csv says",
        "test_clips_on_every_device": bool(asked.simulated and options.test_all_devices),
        **({"only_in_clients_csv": len(asked.corpus.absent)} if asked.corpus.absent else {}),
        "skipped": len(skipped),
        "skipped_why": dict(Counter(skipped.values()).most_common()),
        "skipped_files": [f"{name}: {why}" for name, why in list(skipped.items())[:LISTED]],
        "resampled": rendered.resampled,
        "clip_seconds": 1.0,
        "float16_error": f"at most {made.error:.2g} standard deviations of a bin",
        **({"empty_bins": made.empty} if made.empty else {}),
        "audio_hours": round(hours, 4),
        "audio_hours_a_second": round(hours / max(rendered.wall_seconds, 1e-9), 4),
    }


def preview(options: WakeWordOptions, source: Path, stage: Stage) -> None:
    """What `listen` asks for, whether or not the shards are there already."""
    if options.listen is None:
        return
    from .listen import CLIPS, listen

    asked = plan(options, source)
    if not asked.simulated:
        raise UsageError("--listen is for simulated devices; this corpus has real ones (clients.csv)")
    heard = channels(asked, options.seed, stage)
    clips = sorted(
        (clip for clip in asked.corpus.clips if asked.parts[clip.speaker] == TEST),
        key=lambda clip: (clip.label != asked.wake_word, salted(f"listen {options.seed}", clip.key)),
    )
    wake, others = clips[: CLIPS - 1], [clip for clip in clips if clip.label != asked.wake_word][:1]
    chosen = list(dict.fromkeys(wake + others))
    found = read_clips(source, {clip.name for clip in chosen})
    heard_clips = {clip.key: found[clip.name] for clip in chosen if clip.name in found}
    if not heard_clips:
        raise SelfflError(f"{source}: no usable test clip to listen to; give another --seed")
    listen(Path(options.listen), heard_clips, heard, options.frames, stage)
