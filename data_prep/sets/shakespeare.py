"""Shakespeare's plays by role, as texts for a next-word language model: a client is a role, its speeches in order."""

from __future__ import annotations

import gzip
import json
import lzma
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydantic import Field

from selffl_cli.errors import SelfflError
from selffl_cli.shards import sha256

from ..dataset import DataSet, Stage
from ..dealing.pool import PARTITION_HELP, Assignment, Pool, draw_clients
from ..texts.lines import decode_text, split_lines
from ..texts.words import WordOptions, WordPool, finish, pieces

SOURCE = "plays with a line NAME: before each speech, or a JSON object a line (play, role, speeches); .xz or .gz too"
SOURCE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
CITATION = "W. Shakespeare: plays (public domain), dealt by role as in S. Caldas et al.: LEAF, arXiv:1812.01097, 2018"
NAME = re.compile(r"[^\W\d_][^:\n]{0,60}:")  # a line of its own that says who speaks
LIMIT = 1 << 30  # bytes of text; the plays have 5 million
EXAMPLES = (
    "selffl prepare shakespeare --source FILE",
    "selffl prepare shakespeare --source FILE --at-least 50 --periods 5 --drift time",
)


class Options(WordOptions):
    partition: str = Field("natural", description=PARTITION_HELP)
    at_least: int = Field(20, ge=1, description="natural: a role with so many speeches or more is a client.")


@dataclass(frozen=True)
class Role:
    """Who speaks, in which play ("" where the source does not say), and all that is said."""

    play: str
    name: str
    speeches: list[str]


def read(source: Path) -> list[Role]:
    """Roles in order of their first speech. SelfflError for a file that is neither of the two layouts."""
    content = read_text(source)
    roles = list(_objects(source, content) if content.lstrip().startswith("{") else _plain(content))
    if not roles:
        raise SelfflError(f"{source}: holds no speeches; give --source {SOURCE}")
    return roles


def read_text(source: Path) -> str:
    """The text of a file, unpacked; SelfflError where it cannot be read, or is larger than any such source."""
    try:
        with _open(source) as stream:
            data = stream.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise SelfflError(f"{source}: is more than {LIMIT >> 20} MiB of text; these are not the plays")
        return decode_text(data, source)
    except (OSError, EOFError, lzma.LZMAError):
        raise SelfflError(f"{source}: cannot be read; bring it again") from None


def _open(source: Path) -> IO[bytes]:
    if source.suffix == ".xz":
        return lzma.open(source, "rb")
    return gzip.open(source, "rb") if source.suffix == ".gz" else source.open("rb")  # type: ignore[return-value]


def _objects(source: Path, content: str) -> Iterable[Role]:
    for number, line in enumerate(split_lines(content), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            play, name, speeches = str(item["play"]), str(item["role"]), [str(text) for text in item["speeches"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise SelfflError(f"{source}: line {number} is no object with play, role and speeches; mend it") from None
        if speeches:
            yield Role(play, name, speeches)


def _plain(content: str) -> Iterable[Role]:
    """Blocks apart by empty lines; one that begins with a line NAME: is a speech, another one goes on with it."""
    found: dict[str, list[str]] = {}
    speaker = ""
    for block in re.split(r"\n\s*\n", "\n".join(split_lines(content))):
        lines = [line.strip() for line in block.strip().split("\n")] if block.strip() else []
        if lines and NAME.fullmatch(lines[0]):
            speaker = " ".join(lines[0][:-1].split())
            found.setdefault(speaker, []).append(" ".join(lines[1:]))
        elif lines and speaker:  # also when the line NAME: stood alone
            found[speaker][-1] = f"{found[speaker][-1]} {' '.join(lines)}".strip()
    spoken = ((name, [text for text in speeches if text]) for name, speeches in found.items())
    return (Role("", name, speeches) for name, speeches in spoken if speeches)


class Shakespeare(DataSet):
    """Shakespeare's plays, by role, for a language model."""

    options_type = Options
    source = SOURCE
    source_url = SOURCE_URL
    examples = EXAMPLES

    def load(self, options: Options, source: Path | None, stage: Stage) -> WordPool:
        """x int32 [n, tokens], provisional word indices; y int64 [n], the play; natural clients are roles."""
        assert source is not None
        roles = read(source)
        if options.partition == "natural":
            most = max(len(role.speeches) for role in roles)
            roles = [role for role in roles if len(role.speeches) >= options.at_least]
            if not roles:
                raise SelfflError(f"{source}: no role has {options.at_least} speeches (most: {most}); lower --at-least")
            if options.clients is not None:
                drawn, _ = draw_clients(np.arange(len(roles)), options.clients, options.seed)
                roles = [roles[number] for number in drawn]
        classes = sorted({role.play for role in roles})
        x, of, ends, words = pieces((speech for role in roles for speech in role.speeches), options.tokens)
        role_of = np.repeat(np.arange(len(roles)), [len(role.speeches) for role in roles])[of]
        play = np.array([classes.index(role.play) for role in roles], np.int64)
        return WordPool(
            arrays={"x": x, "y": play[role_of]}, classes=[name or "plays" for name in classes], citation=CITATION,
            task="language-model", client=role_of, orders={"time": np.arange(len(x))}, words=words, ends=ends,
            client_names=[f"{role.play}/{role.name}".lstrip("/") for role in roles],
            sources=[{"name": source.name, "sha256": sha256(source)}],
        )  # fmt: skip

    def finish(self, pool: Pool, assignment: Assignment, options: Any) -> None:
        finish(pool, assignment, options)
