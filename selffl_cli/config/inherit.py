"""What an experiment's file says, with what it takes over from other files: one table that stands for itself.

    extends = "mnist-writers"         the experiment (a name, or a .toml file beside this one) that this is a form of
    remove = ["train.local_epochs"]   keys of that experiment that this one does without, written as TOML writes keys
    cut = "A short form of …"         a sentence that the description ends with: what was cut
    claims_from = "personalisation"   a file of claims in experiments/claims (or a .toml file beside this one)

    [claim_defaults]                  what each [[claims]] of this file says, unless it says otherwise
    relation = "greater"

Tables are merged key by key; every other value, lists included, takes the place of the one it inherits. Claims are
merged by their id, so that `remove = ["claims.beats-ditto"]` takes one away and a claim with a known id replaces it.
What is left holds no trace of the files it came from: the hash of a run does not depend on how its file is written.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError, nearest
from ..files.regular import read_regular
from ..files.toml import read_toml_bytes
from ..registry import absolute

DEEPEST = 10  # files in a chain of `extends`; the longest that ships has three
KEYS = ("extends", "remove", "cut", "claims_from", "claim_defaults")


def experiments_folder() -> Path:
    """Where the shipped TOMLs are: inside the wheel, or beside the package in a checkout."""
    inside = Path(__file__).parents[1] / "experiments"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "experiments"


def experiment_names() -> list[str]:
    """Every shipped experiment."""
    return sorted(path.stem for path in experiments_folder().glob("*.toml"))


def claims_names() -> list[str]:
    """Every shipped file of claims."""
    return sorted(path.stem for path in (experiments_folder() / "claims").glob("*.toml"))


def experiment_path(name: str, beside: Path | None = None) -> Path:
    """The file of a shipped experiment, or the .toml file itself; UsageError for an unknown name.

    beside: the folder that a relative path starts from, when that is not the current one.
    """
    if name.endswith(".toml"):
        return Path(name) if beside is None else beside / name
    if name not in experiment_names():
        raise UsageError(f"unknown experiment '{name}'{nearest(name, experiment_names())}, or give a .toml file")
    return experiments_folder() / f"{name}.toml"


def read_experiment(path: Path) -> dict[str, Any]:
    """The experiment of a file with everything it inherits; UsageError that names the file and the key at fault."""
    return _read(path, ())


def _read(path: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    """`children`: the files that led here by their `extends`."""
    content = _content(path)
    own = _inheritance(content, path)
    content.setdefault("name", path.stem)
    if own.get("claims_from"):
        content["claims"] = [*_shared_claims(own["claims_from"], path), *content.get("claims", [])]
    if "extends" in own:
        chain = (*children, path.resolve())
        try:
            parent = experiment_path(own["extends"], path.parent)
        except UsageError as error:
            raise UsageError(f"{path.name}: extends: {error}") from None
        if parent.resolve() in chain or len(chain) > DEEPEST:
            raise UsageError(f"{path.name}: extends = '{own['extends']}' leads back to this file, or too far")
        base = _read(parent, chain)
        for key in own.get("remove", []):
            _remove(base, key, f"{path.name}: remove", own["extends"])
        content = _merged(base, content)
    elif "remove" in own:
        raise UsageError(f"{path.name}: remove is for a file that extends another; leave it out")
    if "cut" in own:
        content["description"] = f"{content.get('description', '').rstrip()}\n{own['cut'].strip()}\n".lstrip()
    return content


def _content(path: Path) -> dict[str, Any]:
    """The file as it stands, but for the paths of classes in it."""
    try:
        return from_folder(read_toml_bytes(read_regular(path)), path.parent)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; experiments by name: {', '.join(experiment_names())}") from None
    except (OSError, ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"{path}: not a readable TOML file: {str(error).splitlines()[0]}") from None


def from_folder(content: Any, folder: Path) -> Any:
    """The content of a TOML with every `file.py:Class` in it made absolute: such a path starts at the TOML's folder."""
    if isinstance(content, dict):
        return {key: from_folder(value, folder) for key, value in content.items()}
    if isinstance(content, list):
        return [from_folder(value, folder) for value in content]
    return absolute(content, folder) if isinstance(content, str) else content


def _inheritance(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Take the keys of this module out of `content`; the defaults of claims are filled in at once."""
    own = {key: content.pop(key) for key in KEYS if key in content}
    for key in ("extends", "cut", "claims_from"):
        if not isinstance(own.get(key, ""), str):
            raise UsageError(f"{path.name}: {key} = {own[key]!r}: write a text")
    removed = own.get("remove", [])
    if not isinstance(removed, list) or not all(isinstance(key, str) for key in removed):
        raise UsageError(f'{path.name}: remove = {removed!r}: write a list of keys, such as ["train.local_epochs"]')
    defaults = own.get("claim_defaults", {})
    if not isinstance(defaults, dict):
        raise UsageError(f"{path.name}: claim_defaults = {defaults!r}: write a table")
    claims = content.get("claims", [])
    if defaults and isinstance(claims, list):
        content["claims"] = [{**defaults, **claim} if isinstance(claim, dict) else claim for claim in claims]
    return own


def _shared_claims(name: str, path: Path) -> list[Any]:
    """The claims of a file that several experiments share."""
    if name.endswith(".toml"):
        file = path.parent / name
    elif name in claims_names():
        file = experiments_folder() / "claims" / f"{name}.toml"
    else:
        raise UsageError(f"{path.name}: claims_from = '{name}': no such file of claims{nearest(name, claims_names())}")
    content = _content(file)
    if others := sorted(set(content) - {"claims", "claim_defaults"}):
        raise UsageError(f"{file}: '{others[0]}' does not belong into a file of claims; leave it out")
    _inheritance(content, file)
    claims = content.get("claims", [])
    if not isinstance(claims, list):
        raise UsageError(f"{file}: claims = {claims!r}: write each claim as a table [[claims]]")
    return claims


def _remove(content: dict[str, Any], dotted: str, where: str, parent: str) -> None:
    """Take the key `a.b.c` (or the claim `claims.ID`) out of nested tables."""
    parts = _parts(dotted, where)
    table: Any = content
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if isinstance(table, list):  # the claims
            known = {claim.get("id"): position for position, claim in enumerate(table) if isinstance(claim, dict)}
        else:
            known = {key: key for key in table} if isinstance(table, dict) else {}
        if part not in known:
            near = nearest(part, [str(key) for key in known])
            raise UsageError(f"{where} '{dotted}': {parent} has no such key '{part}'{near}")
        if last:
            del table[known[part]]
        else:
            table = table[known[part]]


def _parts(dotted: str, where: str) -> list[str]:
    """A key as TOML writes it, in its parts: 'tuning.grids.ditto."train.learning_rate"' has four."""
    try:
        table: Any = tomllib.loads(f"{dotted} = 0")
    except (ValueError, RecursionError):
        raise UsageError(f"{where} '{dotted}': write a key as TOML does, such as train.local_epochs") from None
    parts = []
    while isinstance(table, dict):
        if len(table) != 1:
            raise UsageError(f"{where} '{dotted}': write one key in each text")
        part, table = next(iter(table.items()))
        parts.append(part)
    return parts


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`: tables key by key, the claims by their id, other values replaced."""
    merged = {**base}
    for key, value in over.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merged(before, value)
        elif key == "claims" and isinstance(before, list) and isinstance(value, list):
            merged[key] = _merged_claims(before, value)
        else:
            merged[key] = value
    return merged


def _merged_claims(base: list[Any], over: list[Any]) -> list[Any]:
    """The claims of both, in the order of `base`; one of `over` takes the place of one with the same id."""
    merged = list(base)
    places = {claim["id"]: number for number, claim in enumerate(base) if isinstance(claim, dict) and "id" in claim}
    for claim in over:
        place = places.get(claim.get("id")) if isinstance(claim, dict) else None
        if place is None:
            merged.append(claim)
        else:
            merged[place] = claim
    return merged
