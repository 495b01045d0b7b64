"""From a data set's name and options to a folder of client shards, made once and found again."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selffl_cli.config.spec import parse_spec
from selffl_cli.config.validation import validate
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.files.locks import alone, sweep
from selffl_cli.registry import called, short
from selffl_cli.shards import ShardData, read_manifest, remove_leftovers, sha256, write_shards

from . import DATASETS
from .dealing.deal import deal
from .dealing.partition import PARTITIONERS
from .dealing.pool import TEST, TRAIN, VALIDATION, Assignment, Pool, PrepareOptions
from .reading import images
from .reading.sources import Stage, dataset, digest_source, local_source, silent

MOST_REPEATED = 0.01  # of the test images
ROWS = 4096  # samples looked at together


def read_options(name: str, options: Mapping[str, Any]) -> PrepareOptions:
    """Options as typed, validated; UsageError names the first key that is wrong."""
    return validate(dataset(name).options_type, options, f"data set {called(name)}")


@dataclass(frozen=True)
class Request:
    """What was asked for, and the folder it has or will have."""

    name: str
    options: PrepareOptions
    source: Path | None
    folder: Path

    @property
    def made(self) -> bool:
        """Whether the folder is there; one without a manifest is not ours."""
        return (self.folder / "manifest.json").exists()

    @property
    def lock(self) -> Path:
        """Held by who makes the folder."""
        return self.folder.parent / f".{self.folder.name}.lock"

    @contextmanager
    def alone(self, tell: Stage = silent) -> Iterator[None]:
        """Wait for whoever makes the same folder; what is left of one that was killed goes."""
        out = self.folder.parent
        new = [path for path in (out, *out.parents) if not path.exists()]
        out.mkdir(parents=True, exist_ok=True)
        try:
            with alone(self.lock, tell):
                remove_leftovers(self.folder)
                yield
        finally:
            with suppress(OSError):  # they hold something now
                for path in new:
                    path.rmdir()

    def describe(self) -> list[str]:
        """What was understood of the source, a line each, where the data set can say so before it is read in."""
        return dataset(self.name).describe(self.options, self.source)

    def make(self, force: bool = False, stage: Stage = silent) -> None:
        """Write the folder, whole or not at all; with `force` in the place of the one that is there."""
        data = dataset(self.name)
        stage("reading the data")
        pool = data.load(self.options, self.source, stage)
        if not isinstance(pool, Pool):
            raise UsageError(f"data set '{self.name}': load gave a {type(pool).__name__}, not a selffl.Pool")
        check_numbers(self.name, pool)
        stage("dealing samples to clients")
        assignment = deal(pool, self.options)
        _check_repeated(self.name, pool, assignment)
        _check_parts(self.name, pool, self.options, assignment)
        stage("finishing what needs the split to be known")
        data.finish(pool, assignment, self.options)
        stage("writing the shards")
        write_shards(self.folder, shard_data(self.name, self.options, pool, assignment), force)


def request(
    name: str,
    options: Mapping[str, Any] | PrepareOptions,
    out: Path | str = "data",
    source: Path | str | None = None,
    stage: Stage = silent,
) -> Request:
    """Check options and source (a file, a folder or a URL, which is fetched) and name the folder.

    Raises UsageError for impossible options and a missing source, SelfflError for a download that fails.
    """
    read = options if isinstance(options, PrepareOptions) else read_options(name, options)
    file = local_source(name, source, stage)
    if file is not None:
        stage("checking the source")
    digest = digest_source(file) if file is not None else ""
    if file is not None:
        dataset(name).preview(read, file, stage)
    asked = Request(name, read, file, Path(out) / folder_name(name, read, digest))
    if asked.made:  # by a process that may have been killed before it had cleaned up
        sweep(asked.lock, lambda: remove_leftovers(asked.folder))
    return asked


def prepare(
    name: str,
    options: Mapping[str, Any] | PrepareOptions,
    out: Path | str = "data",
    source: Path | str | None = None,
    force: bool = False,
) -> Path:
    """The folder of shards of a data set under `out`, made when it is not there yet (or again, with `force`).

    Raises UsageError and SelfflError as `request` does, and SelfflError for data that cannot be read; then
    nothing is left on the disk.
    """
    asked = request(name, options, out, source)
    if not asked.made or force:
        with asked.alone():
            if not asked.made or force:
                asked.make(force)
    read_manifest(asked.folder)  # of this format, or an error that says what to do
    return asked.folder


def find_or_prepare(
    name: str, options: Mapping[str, Any], out: Path | str = "data", source: Path | str | None = None
) -> Path:
    """The shards that training asks for: found under `out`, else prepared when that needs no source or one is
    given.

    Without a `source` any folder with these options will do, wherever its data came from; two are an error.
    """
    data, read = dataset(name), read_options(name, options)
    if source is not None or not data.source:
        return prepare(name, read, out, source)
    found = _with_arguments(name, read, Path(out))
    if len(found) == 1:
        return found[0]
    if found:
        raise SelfflError(f"{found[0]} and {found[1]} have the same options but another source; give --source")
    raise SelfflError(
        f"no shards of {name} with these options under {out}; first run: {command(name, read, out)} "
        f"(FILE: {data.source})"
    )


def _with_arguments(name: str, options: PrepareOptions, out: Path) -> list[Path]:
    """Folders of these options, made by the same code where a part of it is from outside the package."""
    found, wanted, code = [], arguments(options), outside(name, options)
    for path in sorted(out.glob(f"{called(name)}-*/manifest.json")):
        try:
            manifest = read_manifest(path.parent)
        except SelfflError:
            continue  # of another format: `prepare` will say so
        made_of = [source.model_dump() for source in manifest.sources]
        if manifest.name == called(name) and manifest.arguments == wanted and all(one in made_of for one in code):
            found.append(path.parent)
    return found


def command(name: str, options: PrepareOptions, out: Path | str = "data") -> str:
    """The command that prepares this, with the options that are not their default."""
    words = ["selffl", "prepare", name, "--source", "FILE"]
    for key, value in options:
        if value == type(options).model_fields[key].default or value is None:
            continue
        flag = "--" + key.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, str(value)]
    if Path(out) != Path("data"):
        words += ["--data", str(out)]
    return shlex.join(words)


def arguments(options: PrepareOptions) -> dict[str, Any]:
    """Options as the manifest keeps them; a file is known by its contents, not by where it lies."""
    values = options.model_dump(mode="json")
    values["partition"] = short(options.partition)
    if options.periods == 1:  # an option that is off leaves the record as it was before there was one
        del values["periods"], values["drift"]
    for key, value in options:
        info = type(options).model_fields[key]
        extra = info.json_schema_extra
        if isinstance(extra, dict) and extra.get("later") and value == info.default:
            del values[key]
        if isinstance(value, Path):
            if not value.is_file():
                raise UsageError(f"--{key.replace('_', '-')}: {value}: no such file")
            values[key] = f"{value.name} (sha256 {sha256(value)})"
    return values


def folder_name(name: str, options: PrepareOptions, source_digest: str) -> str:
    """NAME-PARTITION-cCLIENTS-sSEED-HASH, HASH over the name, every option and the source's sha256."""
    values, code = arguments(options), outside(name, options)
    key = json.dumps([called(name), values, source_digest, *([code] if code else [])], sort_keys=True)
    partition = re.sub(r"[^A-Za-z0-9.]+", "-", values["partition"].replace("=", ""))[:40]
    clients = f"-c{options.clients}" if options.clients else ""
    return f"{called(name)}-{partition}{clients}-s{options.seed}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def outside(name: str, options: PrepareOptions) -> list[dict[str, str]]:
    """Name and sha256 of the code from outside the package that makes these shards: they are sources of the data."""
    records = [DATASETS.record(name) if name in DATASETS else {}, PARTITIONERS.record(parse_spec(options.partition)[0])]
    return [{"name": short(one["name"]), "sha256": one["code"]} for one in records if "code" in one]


def check_numbers(name: str, pool: Pool) -> None:
    """SelfflError where an array holds NaN or infinity: training on it would diverge, and evaluation lie."""
    for key, values in pool.arrays.items():
        if values.dtype.kind != "f":
            continue
        for begin in range(0, len(values), ROWS):  # a map from disk is never in memory as a whole
            bad = ~np.isfinite(values[begin : begin + ROWS])
            if bad.any():
                row = begin + int(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))[0])
                raise SelfflError(f"{name}: sample {row} has a number in '{key}' that is not finite; mend the source")


def _check_repeated(name: str, pool: Pool, assignment: Assignment) -> None:
    """SelfflError where more than `MOST_REPEATED` of the test images are training images too; a note of fewer."""
    x = pool.arrays["x"]
    if x.dtype != np.uint8 or x.ndim != 4:
        return
    again, tests = images.repeated(x, assignment.part, TRAIN, TEST)
    if again > MOST_REPEATED * tests:
        raise SelfflError(
            f"{name}: {again:,} of {tests:,} test images are among the training images to the pixel, more than "
            f"{MOST_REPEATED:.0%}; the source holds copies of the same images, so bring one set as published"
        )
    if again:
        pool.notes["warning"] = f"{again:,} of {tests:,} test images are among the training images too, to the pixel"


def _check_parts(name: str, pool: Pool, options: PrepareOptions, assignment: Assignment) -> None:
    """SelfflError where a test part was asked for and has no sample; a note where the validation part has none."""
    asked = {"test": (TEST, options.test, 2), "validation": (VALIDATION, options.validation, 3)}
    for part, (number, share, least) in asked.items():
        if share <= 0 or (assignment.part == number).any():
            continue
        largest = int(np.bincount(assignment.client).max())
        todo = f"a client needs {least} samples to give one, and the largest has {largest}; ask for fewer --clients"
        if pool.part is not None:
            todo = f"the source has none; bring one that has, or add --{part} 0"
        if part == "test":
            raise SelfflError(f"{name}: no sample is in the {part} part ({todo})")
        pool.notes["no_validation"] = f"nothing can be tuned or stopped by it ({todo})"


def shard_data(name: str, options: PrepareOptions, pool: Pool, assignment: Assignment) -> ShardData:
    """A pool as it was dealt, in the form in which shards are written; `name` need not be a registered one."""
    natural = options.partition == "natural" and pool.client_names is not None
    names = pool.client_names if natural else [f"client-{i}" for i in range(assignment.num_clients)]
    return ShardData(
        name=called(name),
        partition=short(options.partition),
        task=pool.task,
        arrays=pool.arrays if assignment.period is None else {**pool.arrays, "period": assignment.period},
        periods=options.periods,
        client=assignment.client,
        part=assignment.part,
        client_names=list(names or []),
        classes=pool.classes,
        shared=pool.shared,
        client_columns=pool.client_columns,
        sources=[*pool.sources, *outside(name, options)],
        arguments=arguments(options),
        citation=pool.citation,
        notes=pool.notes,
    )
