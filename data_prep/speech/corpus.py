"""A corpus of spoken words as it lies on the disk, LABEL/SPEAKER_….wav, and who says what in which part.

Nothing is decoded here but the background noise: names say everything else.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selffl_cli.errors import SelfflError, UsageError

from ..dealing.pool import TEST, TRAIN, VALIDATION
from ..texts.lines import decode_text, nfc, split_lines
from .audio import Unusable, decode, is_recording, read_bytes, walk

NOISE = "_background_noise_"
LISTS = {"validation_list.txt": VALIDATION, "testing_list.txt": TEST}
CLIENTS = "clients.csv"
UNOWNED = f"not in {CLIENTS}"
MAX_TEXT = 64 << 20  # bytes of a list or of clients.csv
OFFICIAL = (80.0, 10.0, 10.0)  # per cent of speakers in train, validation and test, by the published rule


class Clip(NamedTuple):
    """One recording of a word: its name in the source, what is said, and by whom."""

    name: str
    label: str
    speaker: str

    @property
    def key(self) -> str:
        """LABEL/FILE without the suffix: the same in every form of the same corpus."""
        return key(self.name)


def key(name: str) -> str:
    return nfc("/".join(name.split("/")[-2:]).rpartition(".")[0])


def told(line: str) -> str:
    """A file's key as a list or clients.csv writes it, perhaps with the backslashes of Windows."""
    return key(line.strip().replace("\\", "/"))


class Owner(NamedTuple):
    """What clients.csv says of a recording."""

    client: str
    group: str


@dataclass
class Corpus:
    """What a source holds: clips in order of their key, lists {key: part}, noise {name: samples} and owners
    {key: Owner} (None without a clients.csv); `skipped` is {name: reason}, `absent` holds the keys that
    clients.csv names and the source has no recording of.
    """

    clips: list[Clip]
    lists: dict[str, int]
    noise: dict[str, np.ndarray]
    owners: dict[str, Owner] | None
    skipped: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    @property
    def labels(self) -> Counter[str]:
        return Counter(clip.label for clip in self.clips)


def take_stock(source: Path) -> Corpus:
    """Read names, lists, clients.csv and background noise, in one pass. SelfflError without clips."""
    names: list[str] = []
    texts: dict[str, str] = {}
    noise: dict[str, np.ndarray] = {}
    skipped: dict[str, str] = {}

    def wanted(name: str) -> bool:
        folder, _, base = name.rpartition("/")
        if base in LISTS or base == CLIENTS:
            return True
        if not is_recording(name):
            return False
        if (shown := name.encode(errors="backslashreplace").decode()) != name:
            skipped[shown] = "its name is no UTF-8"
            return False
        last = folder.rpartition("/")[2]
        if last == NOISE:
            return True
        if re.sub(r"[^a-z]", "", last.lower()) == "backgroundnoise":
            raise SelfflError(
                f"{source}: holds a folder {last}, which would be a word; call it {NOISE} if it holds background noise"
            )
        names.append(name)
        return False

    for name, stream in walk(source, wanted):
        base = name.rpartition("/")[2]
        if base in LISTS or base == CLIENTS:
            if base in texts:
                raise SelfflError(f"{source}: holds two files called {base}; leave one corpus in it")
            texts[base] = _text(source, name, stream.read(MAX_TEXT + 1))
            continue
        try:
            noise[key(name)] = decode(read_bytes(stream))[0]
        except Unusable as reason:
            skipped[name] = str(reason)
    clips: dict[str, Clip] = {}
    for name in sorted(names):
        clip = _clip(name)
        if isinstance(clip, str):
            skipped[name] = clip
        elif clip.key in clips:
            skipped[name] = f"the same as {clips[clip.key].name}"
        else:
            clips[clip.key] = clip
    if not clips:
        raise SelfflError(f"{source}: holds no LABEL/SPEAKER_….wav (or .flac); give such a corpus")
    lists = _lists(source, texts, clips)
    owners = _owners(source, texts[CLIENTS]) if CLIENTS in texts else None
    absent = sorted(set(owners or ()) - set(clips))
    if owners is not None:
        for missing in [k for k in clips if k not in owners]:
            skipped[clips.pop(missing).name] = UNOWNED
        if not clips:
            raise SelfflError(
                f"{source}: {CLIENTS} names none of its recordings; write them as they lie there, such as "
                f"{next(iter(skipped))}"
            )
    return Corpus([clips[k] for k in sorted(clips)], lists, dict(sorted(noise.items())), owners, skipped, absent)


def _lists(source: Path, texts: Mapping[str, str], clips: Mapping[str, Clip]) -> dict[str, int]:
    """{key: part} by the corpus's lists. SelfflError where less than half of a list's lines name a clip."""
    found: dict[str, int] = {}
    for base, part in LISTS.items():
        lines = [line for line in split_lines(texts.get(base, "")) if line.strip()]
        hits = sum(told(line) in clips for line in lines)
        if 2 * hits < len(lines):
            raise SelfflError(
                f"{source}: {hits:,} of the {len(lines):,} lines of {base} name one of its recordings (a line is "
                f"'{lines[0].strip()[:60]}', a recording {next(iter(clips))}); bring the lists of these recordings, or "
                "take the lists out, and parts follow the published rule"
            )
        found |= {told(line): part for line in lines}
    return found


def _clip(name: str) -> Clip | str:
    """The clip that a file's name tells of, or why it is none."""
    *folders, base = name.split("/")
    if not folders or folders[-1] in ("", "."):
        return "not in a folder LABEL"
    speaker, mark, _ = base.partition("_")
    if not mark or not speaker:
        return "no speaker in its name (SPEAKER_….wav)"
    return Clip(name, nfc(folders[-1]), nfc(speaker))


def _text(source: Path, name: str, data: bytes) -> str:
    if len(data) > MAX_TEXT:
        raise SelfflError(f"{source}: {name} is more than {MAX_TEXT >> 20} MiB of text; bring the list of the corpus")
    return decode_text(data, f"{source}: {name}")


def _owners(source: Path, text: str) -> dict[str, Owner]:
    """clients.csv with columns file (LABEL/NAME), client, and where there is one group."""
    owners: dict[str, Owner] = {}
    groups: dict[str, str] = {}
    rows = csv.DictReader(io.StringIO(text))
    try:
        missing = {"file", "client"} - set(rows.fieldnames or [])
        if missing:
            first = (split_lines(text) or [""])[0]
            apart = next((mark for mark in ";\t|" if mark in first), None)
            hint = f", with commas between them and not {apart!r}" if apart else ""
            raise SelfflError(
                f"{source}: {CLIENTS} needs the columns file,client,group{hint}; add {' and '.join(sorted(missing))} "
                f"(its first line is '{first[:60]}')"
            )
        for row in rows:
            _add_owner(f"{source}: {CLIENTS}, line {rows.line_num}", row, owners, groups)
    except csv.Error as error:
        raise SelfflError(f"{source}: {CLIENTS}, line {rows.line_num}: {error}; write it as plain CSV") from None
    return owners


def _add_owner(where: str, row: Mapping[str, str | None], owners: dict[str, Owner], groups: dict[str, str]) -> None:
    name, client, group = ((row.get(column) or "").strip() for column in ("file", "client", "group"))
    if not name or not client:
        raise SelfflError(f"{where}: no file or no client; fill it in")
    if groups.setdefault(client, group) != group:
        raise SelfflError(f"{where}: client {client} is in groups {groups[client]} and {group}; give it one")
    owner = Owner(client, group)
    if owners.setdefault(told(name), owner) != owner:
        raise SelfflError(
            f"{where}: {name} is of client {client} here and of {owners[told(name)].client} before; give it one"
        )


def hash_part(speaker: str, shares: tuple[float, float, float] = OFFICIAL) -> int:
    """Part of a speaker by the rule that was published with Speech Commands (Warden 2018, section 6).

    The SHA-1 of the name, modulo 2^27, in per cent of 2^27 - 1: the first go to validation, the next to test,
    the rest to training. It depends on the name alone, so that a speaker stays where it is as corpora grow.
    """
    most = 2**27 - 1
    place = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (most + 1) * (100.0 / most)
    if place < shares[1]:
        return VALIDATION
    return TEST if place < shares[1] + shares[2] else TRAIN


def parse_split(text: str) -> tuple[float, float, float] | None:
    """`80/10/10` as per cent of speakers in training, validation and test; None for `official`."""
    if text == "official":
        return None
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)/(\d{1,3}(?:\.\d+)?)/(\d{1,3}(?:\.\d+)?)", text.strip())
    shares = [float(value) for value in match.groups()] if match else []
    if not shares or abs(sum(shares) - 100) > 1e-6 or shares[0] == 0 or shares[2] == 0:
        raise ValueError("write official, or per cent of speakers for training, validation and test, such as 60/10/30")
    return shares[0], shares[1], shares[2]


def split_speakers(source: Path, corpus: Corpus, split: str) -> dict[str, int]:
    """Part of every speaker: by the lists of the archive where it has them, else by the published rule.

    Raises SelfflError when the lists put a speaker into two parts.
    """
    shares = parse_split(split)
    if shares is not None or not corpus.lists:
        return {clip.speaker: hash_part(clip.speaker, shares or OFFICIAL) for clip in corpus.clips}
    parts: dict[str, int] = {}
    for clip in corpus.clips:
        part = corpus.lists.get(clip.key, TRAIN)
        if parts.setdefault(clip.speaker, part) != part:
            raise SelfflError(
                f"{source}: its lists put speaker {clip.speaker} into two parts; add --split 80/10/10 "
                "to split by speaker"
            )
    return parts


def check_parts(source: Path, corpus: Corpus, parts: Mapping[str, int], split: str, least: int) -> None:
    """SelfflError where no speaker is in the test or the validation part, with a --split that gives some.

    `least` speakers must be left for training. A validation part that --split asks 0 per cent for may be empty.
    """
    shares = parse_split(split) or OFFICIAL
    wanted = {TEST: "test", **({VALIDATION: "validation"} if shares[1] > 0 else {})}
    empty = [name for part, name in wanted.items() if part not in parts.values()]
    if not empty:
        return
    speakers = sorted(parts)
    equal = [(100 - 2 * share, share, share) for share in range(10, 45, 5)]
    for tried in (*equal, *((100 - share, 0, share) for share in range(10, 80, 5))):  # without validation at worst
        counts = Counter(
            hash_part(speaker, (float(tried[0]), float(tried[1]), float(tried[2]))) for speaker in speakers
        )
        if counts[TEST] and (counts[VALIDATION] or not tried[1]) and counts[TRAIN] >= least:
            todo = f"add --split {'/'.join(map(str, tried))}"
            break
    else:
        todo = "bring more speakers"
    left = list(corpus.skipped.values()).count(UNOWNED)
    unowned = f", or add the {left:,} recordings that are {UNOWNED}" if left else ""
    raise SelfflError(
        f"{source}: none of its {len(speakers):,} speakers is in the {' or the '.join(empty)} part, so that "
        f"nothing could be judged there; {todo}{unowned}"
    )


def check_training(source: Path, names: list[str], client: list[int], part: list[int]) -> None:
    """SelfflError where a client of clients.csv has no training clip, since its speakers are in other parts."""
    without = sorted(set(range(len(names))) - {c for c, p in zip(client, part, strict=True) if p == TRAIN})
    if without:
        raise SelfflError(
            f"{source}: {len(without)} of {len(names)} clients in {CLIENTS} have no training clip (client "
            f"{names[without[0]]} first), since a speaker is in one part alone; let a client be a kind of device "
            "that several speakers use, or give training more by --split 90/5/5"
        )


def salted(salt: str, name: str) -> str:
    """What things are sorted by for an order that is random, the same everywhere, and nobody's choice."""
    return hashlib.sha256(f"{salt}\0{name}".encode()).hexdigest()


def deal_speakers(parts: Mapping[str, int], shares: Iterable[float], salt: str) -> dict[str, int]:
    """Device of every speaker: inside each part, in the order of a salted hash, cut at the shares.

    The hash is salted because the split's own hash has test speakers side by side: cut by it, they would all
    be of one device. Every device gets a speaker of each part that has enough of them.
    """
    shares = np.asarray(list(shares), dtype=np.float64)
    devices: dict[str, int] = {}
    for part in (TRAIN, VALIDATION, TEST):
        speakers = sorted((s for s, p in parts.items() if p == part), key=lambda name: salted(salt, name))
        devices.update(
            zip(
                speakers,
                np.repeat(np.arange(len(shares)), _counts(len(speakers), shares)).tolist(),
                strict=True,
            )
        )
    return devices


def _counts(total: int, shares: np.ndarray) -> np.ndarray:
    """`total` in whole numbers by the shares, one at least for each while there are enough."""
    from ..dealing.sizes import apportion

    least = 1 if total >= len(shares) else 0
    return least + apportion(total - least * len(shares), shares)


def check_wake_word(wake_word: str | None, corpus: Corpus, source: Path) -> str:
    """The wake word, or an error that says which words are there."""
    labels = corpus.labels
    wake_word = None if wake_word is None else nfc(wake_word)
    if wake_word in labels:
        if len(labels) == 1 and not corpus.noise:
            raise UsageError(f"{source}: holds no word but '{wake_word}'; others are needed to tell it from")
        return str(wake_word)
    common = ", ".join(f"{label} ({count:,})" for label, count in labels.most_common(40))
    asked = "which word is the wake word" if wake_word is None else f"no recordings of '{wake_word}'"
    left = sum(why == UNOWNED and key(name).startswith(f"{wake_word}/") for name, why in corpus.skipped.items())
    if left:
        raise UsageError(f"{source}: {CLIENTS} names none of the {left:,} recordings of '{wake_word}'; add their lines")
    raise UsageError(f"{source}: {asked}; give --wake-word one of: {common}")
