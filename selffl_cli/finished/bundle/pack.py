"""Make a bundle: the same runs and report give the same archive, byte by byte, on the same day."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path

from ... import __version__
from ...config.inherit import experiment_names, experiment_path, read_experiment
from ...errors import SelfflError, UsageError
from ...files.atomic import sync_folder
from ...files.checksums import seal
from ...files.toml import toml_text
from ...runs.folder import FILES, MODELS, RESULT, RunFolder, find_runs
from ...shards import read_manifest, sha256
from .croissant import croissant

FORMAT = 1
INDEX, GUIDE, PAGES, DATA, RUNS = "bundle.json", "README.md", "report", "data", "runs"
TUNING = "tuning.json"  # the choices of `selffl tune`, without which the report would be another
STAMP = (1980, 1, 1, 0, 0, 0)  # of every member, so that the time of packing changes nothing


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle."""

    report: Path  # the folder of the report
    experiment: str  # the name, or the TOML file
    runs: Path
    models: bool = True
    shards: bool = False


@dataclass(frozen=True)
class Member:
    name: str
    source: Path | str  # a file, or the text itself


def pack(contents: Contents, out: Path) -> list[Member]:
    """Write the archive `out`, whole or not at all; SelfflError where a run is not finished or damaged."""
    members = list(_members(contents))
    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            digests = {member.name: _add(archive, member) for member in members}
            content = {"format": FORMAT, "experiment": _name(contents), "selffl": __version__, "files": digests}
            _add(archive, Member(INDEX, json.dumps(seal(content), indent=1) + "\n"))
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(out.parent)
    return members


def _add(archive: zipfile.ZipFile, member: Member) -> str:
    """Write one member and return its sha256."""
    import hashlib
    import shutil

    info = zipfile.ZipInfo(member.name, STAMP)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
    if isinstance(member.source, str):
        archive.writestr(info, member.source)
        return hashlib.sha256(member.source.encode()).hexdigest()
    with member.source.open("rb") as file, archive.open(info, "w", force_zip64=True) as target:
        shutil.copyfileobj(file, target, 1 << 20)
    return sha256(member.source)


def _name(contents: Contents) -> str:
    return str(read_experiment(experiment_path(contents.experiment))["name"])


def _members(contents: Contents) -> Iterator[Member]:
    content = read_experiment(experiment_path(contents.experiment))
    found = find_runs(contents.runs, content["name"])
    runs = [run for run in found if run.result is not None]
    if not runs:
        raise UsageError(
            f"{contents.runs / content['name']}: no finished run; train the experiment before it is bundled"
        )
    unfinished = [run.path.name for run in found if run.result is None]
    yield Member("experiment.toml", toml_text(content))
    for path in sorted(contents.report.iterdir()):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            yield Member(f"{PAGES}/{path.name}", path)
    for run in runs:
        yield from _run(run, contents.models)
    choices = contents.runs / content["name"] / TUNING
    if choices.is_file():
        yield Member(f"{RUNS}/{content['name']}/{TUNING}", choices)
    data = {Path(str(run.record["data"].get("path", ""))): str(run.record["data"]["hash"]) for run in runs}
    yield from _data(data, contents.shards)
    yield Member("packages.txt", "\n".join(_packages()) + "\n")
    yield from _own_files()
    yield Member(GUIDE, _guide(content["name"], runs, contents, unfinished))


def _run(run: RunFolder, models: bool) -> Iterator[Member]:
    where = f"{RUNS}/{run.record['experiment']}/{run.path.name}"
    for name in (*FILES, RESULT):
        if run.has(name) and (models or name != MODELS):
            yield Member(f"{where}/{name}", run.check(name))


def _data(data: Iterable[Path] | dict[Path, str], shards: bool) -> Iterator[Member]:
    """Manifest and Croissant description of each shard folder that is still there; the shards when asked for."""
    for path in sorted(data):
        if not path.is_dir():
            continue
        manifest = read_manifest(path)
        where = f"{DATA}/{path.name}"
        yield Member(f"{where}/manifest.json", path / "manifest.json")
        described = json.dumps(croissant(manifest, date.today().isoformat()), indent=1, ensure_ascii=False)
        yield Member(f"{where}/croissant.json", described + "\n")
        if shards:
            for name, digest in sorted(manifest.files.items()):
                if sha256(path / name) != digest:
                    raise SelfflError(f"{path / name}: is damaged; prepare the data again before it is bundled")
                yield Member(f"{where}/{name}", path / name)


def _packages() -> list[str]:
    """Every package of this environment with its version: what the bundle was made with."""
    return sorted(
        {f"{one.metadata['Name']}=={one.version}" for one in metadata.distributions() if one.metadata["Name"]}
    )


def _own_files() -> Iterator[Member]:
    """selffl's licence, its citation and its lock file, as far as this installation has them."""
    root = Path(__file__).parents[3]
    for name, source in (
        ("LICENSE", "LICENSE"),
        ("CITATION.cff", "CITATION.cff"),
        ("requirements.lock", ".ci/requirements.lock"),
    ):
        if (root / source).is_file():
            yield Member(name, root / source)


def _guide(name: str, runs: list[RunFolder], contents: Contents, unfinished: list[str]) -> str:
    shipped = name in experiment_names()
    commits = sorted({str(run.environment.get("commit", "")) for run in runs} - {""})
    lines = [
        f"# Runs of the experiment {name}",
        "",
        f"This archive holds {len(runs)} finished runs of `selffl` {__version__}, and the report made of them.",
        "",
        "| file | what it is |",
        "| --- | --- |",
        "| `report/README.md`, `report/report.html` | tables, curves and judged claims |",
        f"| `runs/{name}/` | one folder a run: its record, its metrics, its figures by client"
        + (", its models |" if contents.models else " (without models) |"),
        "| `experiment.toml` | the experiment, with all that it inherits |",
        f"| `data/` | manifests and Croissant descriptions of the data{', and the data' if contents.shards else ''} |",
        "| `packages.txt`, `requirements.lock` | versions of all packages; the versions that selffl is tested with |",
        "| `bundle.json` | the sha256 of every file |",
        "",
        "## How to check it",
        "",
        "```sh",
        f"pip install selffl=={__version__}",
        f"selffl verify {name}.zip            # checks every file, recomputes the figures, and makes the tables again",
        f"selffl verify {name}.zip --rerun    # trains every run again and compares every number",
        "```",
        "",
        "The data are prepared again from their source, unless this archive holds them. `--data FOLDER` names shards",
        "that are there already, and `--source FILE` names the source file. Numbers are the same to the bit on the",
        "same versions of torch and numpy and the same kind of processor. Elsewhere the first number that differs is",
        "named.",
        "",
        "## Licences",
        "",
        "selffl has the MIT licence. The data have the terms of their sources: see `citation` in each manifest.",
    ]
    if commits:
        lines += ["", f"The runs were made by commit {', '.join(commits)}."]
    if not shipped:
        lines += ["", "The experiment is not one that ships with selffl; it stands in `experiment.toml`."]
    if unfinished:
        lines += ["", f"Left out, since they are not finished: {', '.join(unfinished)}."]
    return "\n".join(lines) + "\n"
