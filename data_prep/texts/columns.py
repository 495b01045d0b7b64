"""Tagged texts as files of columns, a word and its tag a line: comments, the order of columns, and the tags' scheme."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from selffl_cli.errors import SelfflError

from .lines import read_lines

SPACES = re.compile(r"[ \t]+")  # a no-break space is part of a word
TAG = re.compile(r"O|[BIESLUM]([-_].+)?")  # BIO and its forms (BIOES, BILOU)
NEW_DOCUMENT = "-DOCSTART-"  # CoNLL-2003's mark
MOST_TAGS = 200  # SNIPS has 72, ATIS 127; thousands are words, read as tags

Rows = list[list[str]]


def columns_of(path: Path, takes: str) -> list[Rows]:
    """The texts of a file, each as a list of lines, each as its columns.

    A line that begins with # before the first word of a text is a comment, as in CoNLL-U and MultiCoNER, unless it
    has the columns of a word and its tag (#hashtag O).
    """
    lines = [SPACES.split(line.strip(" \t")) for line in read_lines(path, takes)]
    usual = Counter(len(columns) for columns in lines if columns != [""] and not columns[0].startswith("#"))
    width = usual.most_common(1)[0][0] if usual else 2
    texts: list[Rows] = []
    rows: Rows = []
    for number, columns in enumerate([*lines, [""]], 1):
        if columns == [""] or columns[0] == NEW_DOCUMENT:
            texts += [rows] if rows else []
            rows = []
        elif not rows and _comment(columns, width):
            continue
        elif len(columns) == 1:
            raise SelfflError(f"{path}: line {number} has a word and no tag; write both, with a space or tab between")
        else:
            rows.append(columns)
    return texts


def _comment(columns: list[str], width: int) -> bool:
    if not columns[0].startswith("#"):
        return False
    return "=" in columns[:-1] or len(columns) != width or not TAG.fullmatch(columns[-1])


def order(path: Path, texts: list[Rows]) -> tuple[int, int]:
    """Which columns are the word and the tag: the first and the last, or the other way round where only that fits."""
    rows = [columns for rows in texts for columns in rows]
    if all(TAG.fullmatch(columns[-1]) for columns in rows):
        return 0, -1
    if not all(TAG.fullmatch(columns[0]) for columns in rows):
        return 0, -1  # `check_tags` says which tags are none
    if any(len(columns) != 2 for columns in rows):
        raise SelfflError(
            f"{path}: has its tags in the first of more than two columns, and which of the others holds the words is "
            "not said; write a word and its tag a line"
        )
    return 1, 0


def check_tags(source: Path, tags: Counter[str]) -> None:
    """SelfflError for tags that are in no BIO scheme, or too many to be tags."""
    odd = [tag for tag, _ in tags.most_common() if not TAG.fullmatch(tag)]
    if odd:
        raise SelfflError(
            f"{source}: {len(odd)} of {len(tags)} tags are in no BIO scheme (O, B-name, I-name), such as "
            f"{', '.join(odd[:5])}; write a word and its tag a line, the tag last"
        )
    if len(tags) > MOST_TAGS:
        names = ", ".join(tag for tag, _ in tags.most_common(5))
        raise SelfflError(
            f"{source}: has {len(tags):,} tags (such as {names}), more than {MOST_TAGS}; is another column the tag?"
        )
