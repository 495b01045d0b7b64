"""LEAF's files: what FedProx, Ditto, pFedMe and others publish their data in, as JSON by user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from selffl_cli.errors import SelfflError
from selffl_cli.shards import sha256

from ..dataset import DataSet, Stage
from ..dealing.deal import split
from ..dealing.pool import PARTITION_HELP, TEST, TRAIN, VALIDATION, Assignment, Pool, PrepareOptions, generator
from ..reading.images import relative
from ..reading.tree import files, is_litter
from ..texts import text
from ..texts.lines import decode_text, nfc
from ..texts.tokens import TokenPool, finish_tokens

SOURCE = "a JSON file with users and user_data, or a folder of such files, with train/ and test/ in it or not"
CITATION = "in the format of S. Caldas et al.: LEAF: A Benchmark for Federated Settings, arXiv:1812.01097, 2018"
EXAMPLES = (
    "selffl prepare leaf leaf/data/femnist/data --shape 1,28,28",
    "selffl prepare leaf leaf/data/synthetic/data",
    "selffl prepare leaf leaf/data/sent140/data --tokens 25",
)
TEXT_AT = 4  # in LEAF's Sent140 a sample is [id, date, query, user, text, …]


class Options(PrepareOptions):
    partition: str = Field("natural", description=f"Natural clients are users. {PARTITION_HELP}")
    at_least: int = Field(1, ge=1, description="natural: a user with so many samples or more is a client.")
    shape: str | None = Field(None, description="Numbers as channels,height,width, such as 1,28,28 for FEMNIST.")
    tokens: int = Field(25, ge=1, le=1000, description="Texts: tokens (or characters) kept of a text.")
    unit: Literal["words", "characters"] = Field(
        "words", description="Texts: what a token is; LEAF's Shakespeare predicts the next of 80 characters."
    )
    min_count: int = Field(2, ge=1, description="Texts: rarer tokens of the training texts are unknown.")
    max_words: int = Field(50_000, ge=1, le=10_000_000, description="Texts: at most so many tokens are known.")
    embedding_dimensions: int = Field(100, ge=1, le=4096, description="Texts: width of the word vectors.")


Sample = tuple[Any, Any]


def users(path: Path) -> Iterator[tuple[str, list[Sample]]]:
    """Users of a file with their samples (x, y). SelfflError where it is not LEAF's."""
    try:
        content = json.loads(decode_text(path.read_bytes(), path))
        data, listed = content["user_data"], [str(user) for user in content["users"]]
        for user in listed:
            x, y = data[user]["x"], data[user]["y"]
            if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
                raise SelfflError(f"{path}: user '{user[:40]}' has not as many x as y; make the file again")
            yield nfc(user), list(zip(x, y, strict=True))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SelfflError(
            f"{path}: is no LEAF file (users, and user_data with x and y of each); give {SOURCE}"
        ) from None
    except OSError as error:
        raise SelfflError(f"{path}: cannot be read ({error.strerror})") from None


def _files(source: Path) -> list[tuple[Path, int]]:
    """JSON files with the part they are for: test where they lie in a folder test/, else train."""
    if source.is_file():
        return [(source, TRAIN)]
    found = []
    for path in files(source):
        inside = path.relative_to(source)
        if path.suffix == ".json" and not is_litter(inside.as_posix()):
            found.append((path, inside.parts[:-1]))
    dealt = [(path, folders) for path, folders in found if {"train", "test"} & set(folders)]
    chosen = dealt or found  # beside train/ and test/ LEAF leaves the data that they were made of
    if not chosen:
        raise SelfflError(f"{source}: has no JSON file; give {SOURCE}")
    return [(path, TEST if "test" in folders else TRAIN) for path, folders in chosen]


def _parts(client: np.ndarray, part: np.ndarray, options: Options) -> np.ndarray | None:
    if not (part == TEST).any():
        return None  # carved as for any other data set
    train = np.flatnonzero(part != TEST)
    own = split(client[train], options.validation, 0, generator(options.seed, "split"))
    part[train[own == VALIDATION]] = VALIDATION
    return part


def _labels(values: list[Any]) -> tuple[np.ndarray, list[str]]:
    """Classes as they are written, whole numbers in their order; a label in a list of one is that one."""
    plain = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]
    whole = all(isinstance(value, int | float) and float(value).is_integer() for value in plain)
    keys = [int(value) if whole else str(value) for value in plain]
    classes = sorted(set(keys))
    if len(classes) < 2:
        raise SelfflError("the LEAF files hold one class, so there is nothing to predict")
    index = {value: i for i, value in enumerate(classes)}
    return np.array([index[key] for key in keys], np.int64), [str(value) for value in classes]


def _numbers(options: Options, source: Path, values: list[Any]) -> np.ndarray:
    try:
        x = np.array(values, np.float32)
    except (ValueError, TypeError):
        raise SelfflError(f"{source}: its samples are not of one shape; make the files again") from None
    if options.shape is None:
        return x if x.ndim > 1 else x[:, None]
    try:
        return x.reshape(len(x), *(int(side) for side in options.shape.split(",")))
    except ValueError:
        raise SelfflError(f"--shape {options.shape}: does not hold a sample's {x[0].size} numbers") from None


def _texts(options: Options, source: Path, values: list[Any], y: np.ndarray, common: dict[str, Any]) -> TokenPool:
    try:
        texts = [value if isinstance(value, str) else value[TEXT_AT] for value in values]
    except IndexError:
        raise SelfflError(f"{source}: a sample has no text where LEAF's Sent140 has it, at place {TEXT_AT}") from None
    encoder = text.Characters(options.tokens) if options.unit == "characters" else text.Encoder(limit=options.tokens)
    x = encoder.encode(texts)
    size = len(encoder.words)
    return TokenPool(
        arrays={"x": x, "y": y}, words=encoder.words, features=lambda: text.tfidf(x, size, options.seed), **common
    )


def finish(pool: Pool, assignment: Assignment, options: Options) -> None:
    """Once the split is known: vocabulary and vectors of texts, from the training samples alone."""
    if isinstance(pool, TokenPool):
        finish_tokens(
            pool, assignment.rows(TRAIN), None, options.embedding_dimensions, options.min_count, options.max_words,
            options.seed,
        )  # fmt: skip


class Leaf(DataSet):
    """Files in LEAF's format: pictures, texts or vectors by user."""

    options_type = Options
    source = SOURCE
    examples = EXAMPLES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """x float32 [n, …] or token indices int32 [n, tokens]; y int64 [n]. Where test files are at hand, their samples
        are the test part, whatever the share asked for; validation comes out of each user's training samples."""
        assert source is not None
        found = _files(source)
        samples: dict[str, dict[int, list[Sample]]] = {}
        for path, use in found:
            for user, own in users(path):
                samples.setdefault(user, {}).setdefault(use, []).extend(own)
        names = sorted(user for user, own in samples.items() if len(own.get(TRAIN, [])) >= options.at_least)
        if not names:
            raise SelfflError(f"{source}: no user has {options.at_least} training samples; lower --at-least")
        notes: dict[str, Any] = {}
        if len(names) < len(samples):
            notes["users_left_out"] = (
                f"{len(samples) - len(names):,} with fewer than {options.at_least} training samples"
            )
        flat = [
            (u, part, *sample)
            for u, user in enumerate(names)
            for part in samples[user]
            for sample in samples[user][part]
        ]
        samples.clear()
        client = np.array([row[0] for row in flat], np.int64)
        part = np.array([row[1] for row in flat], np.int64)
        y, classes = _labels([row[3] for row in flat])
        common: dict[str, Any] = {
            "classes": classes, "citation": CITATION, "client": client, "client_names": names, "notes": notes,
            "part": _parts(client, part, options),
            "sources": [{"name": relative(path, source), "sha256": sha256(path)} for path, _ in found],
        }  # fmt: skip
        values = [row[2] for row in flat]
        if isinstance(values[0], str) or (isinstance(values[0], list) and any(isinstance(v, str) for v in values[0])):
            return _texts(options, source, values, y, common)
        return Pool(arrays={"x": _numbers(options, source, values), "y": y}, **common)

    def finish(self, pool: Pool, assignment: Assignment, options: Any) -> None:
        finish(pool, assignment, options)
