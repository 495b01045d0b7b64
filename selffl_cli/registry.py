"""Names for things: what this package brings, what installed packages bring, and what a file of one's own brings.

A thing from outside is named `path/to/file.py:Class` or `package.module:Class`, by the name of an entry point of an
installed package, or by a name given to `register`. The sha256 of its source goes into a run's record.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from .errors import SelfflError, UsageError, nearest

Thing = TypeVar("Thing")
CODE = "__selffl_sha256__"  # a module's variable: of the source that it was made of
IN_FILE = re.compile(r"(?P<where>[^:]+\.py):(?P<cls>[A-Za-z_]\w*)")
IN_MODULE = re.compile(r"(?P<where>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<cls>[A-Z_]\w*)")


def reference(text: str) -> re.Match[str] | None:
    """The place and the class at the beginning of `file.py:Class` or `package.module:Class`; None for a plain name."""
    found = IN_FILE.match(text) or IN_MODULE.match(text)
    return found if found and text[found.end() : found.end() + 1] in ("", ":") else None


def absolute(text: str, folder: Path) -> str:
    """A reference with the path of its file made absolute, from `folder`; any other text as it is."""
    found = IN_FILE.match(text)
    if not found or not reference(text):
        return text
    return f"{(folder / Path(found['where']).expanduser()).resolve()}{text[len(found['where']) :]}"


def short(name: str) -> str:
    """The name without the folder that a file happens to lie in: what the hash of a run covers."""
    found = IN_FILE.match(name)
    return f"{Path(found['where']).name}{name[len(found['where']) :]}" if found else name


def called(name: str) -> str:
    """What files and folders are called after: the class of a reference, else the name itself."""
    found = reference(name)
    return found["cls"] if found else name


class Registry(Mapping[str, type[Thing]]):
    """Classes by name, imported when they are asked for. `what` is the word for one; `base` what each derives from."""

    def __init__(self, what: str, base: str, own: Mapping[str, str], group: str = "") -> None:
        """own: {name: "package.module:Class"}; group: of the entry points through which installed packages add."""
        self.what, self.base, self.own, self.group = what, base, dict(own), group
        self.added: dict[str, type[Thing]] = {}

    def __getitem__(self, name: str) -> type[Thing]:
        """The class; UsageError names the nearest name, or what is wrong with a class from outside."""
        if name in self.own:
            return _class(_module(self.own[name].partition(":")[0]), self.own[name].partition(":")[2], name)
        if name in self.added:
            return self.added[name]
        place = name if reference(name) else self.installed().get(name)
        if place is None:
            raise UsageError(f"unknown {self.what} '{name}'{nearest(name, self.names())}")
        found = reference(place)
        if found is None or found.end() != len(place):
            raise UsageError(f"{self.what} '{name}': write path/to/file.py:Class or package.module:Class")
        module = _file(place) if IN_FILE.match(place) else _module(found["where"])
        return self._checked(_class(module, found["cls"], found["where"]), place)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(
            name in self.own or name in self.added or reference(name) or name in self.installed()
        )

    def __iter__(self) -> Iterator[str]:
        return iter([*self.own, *self.added])

    def __len__(self) -> int:
        return len(self.own) + len(self.added)

    def installed(self) -> dict[str, str]:
        """{name: "package.module:Class"} of what installed packages bring."""
        return _entry_points(self.group) if self.group else {}

    def names(self) -> list[str]:
        """Every name that is known."""
        return [*self, *(name for name in self.installed() if name not in self.own)]

    def add(self, name: str, cls: type[Thing]) -> None:
        """Give a class a name in this process, as `selffl.register` does; a second class takes the first one's place.

        UsageError for a name that this package has itself.
        """
        if name in self.own:
            raise UsageError(f"{self.what} '{name}' is one of selffl's own; give yours another name")
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
            raise UsageError(f"{self.what} '{name}': a name is letters, digits, '.', '_', '+' and '-'")
        self.added[name] = self._checked(cls, name)

    def record(self, name: str) -> dict[str, str]:
        """What a run's record says of it: its name, and for one from outside the sha256 of its source."""
        return {"name": name} if name in self.own else {"name": absolute(name, Path()), "code": code(self[name])}

    def recorded(self, content: Mapping[str, Any]) -> tuple[type[Thing], dict[str, Any]]:
        """The class of a record and its options; SelfflError when its source is not the one of the record."""
        name, options = content["name"], {key: value for key, value in content.items() if key != "name"}
        return self.same(name, None if name in self.own else options.pop("code", None)), options

    def same(self, name: str, wanted: str | None) -> type[Thing]:
        """The class of a name; SelfflError when its source has another sha256 than the one that is wanted, if any."""
        cls = self[name]
        if wanted is not None and code(cls) != wanted:
            raise SelfflError(
                f"{self.what} '{name}' is another than the run's: its source has sha256 {code(cls)[:12]}…, the record "
                f"says {str(wanted)[:12]}…; bring that source back, or train again"
            )
        return cls

    def _checked(self, cls: Any, place: str) -> type[Thing]:
        where, _, name = self.base.partition(":")
        base = getattr(importlib.import_module(where), name)
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise UsageError(f"{self.what} '{place}' does not derive from selffl.{name}; write class NAME({name})")
        if missing := sorted(getattr(cls, "__abstractmethods__", ())):
            raise UsageError(f"{self.what} '{place}' has no {', '.join(missing)}; selffl.{name} says what each does")
        return cls


def code(cls: type) -> str:
    """sha256 of the file that a class stands in, or of its methods where it stands in none (a notebook)."""
    known = getattr(sys.modules.get(cls.__module__), CODE, None)
    if known is not None:
        return known
    try:
        path = inspect.getsourcefile(cls)
        return hashlib.sha256(Path(path or "").read_bytes()).hexdigest()
    except (OSError, TypeError):
        pass
    try:
        texts = [inspect.getsource(value) for value in vars(cls).values() if inspect.isfunction(value)]
    except (OSError, TypeError):
        texts = []
    if not texts:
        raise UsageError(f"class {cls.__name__} has no source that a record could name; write it to a file")
    return hashlib.sha256("".join(texts).encode()).hexdigest()


@lru_cache
def _entry_points(group: str) -> dict[str, str]:
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=group)}


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise UsageError(f"{name}: cannot be imported ({type(error).__name__}: {error})") from None


def _file(place: str) -> ModuleType:
    """The module of a file, imported once for each content it has had."""
    path = Path(place.rpartition(":")[0]).expanduser().resolve()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); the class of {place} is looked for there"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode() + content).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # of a path that ends in .py
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    setattr(module, CODE, digest)
    try:
        exec(compile(content, path, "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        line = _line(error, str(path))
        raise UsageError(f"{path}{line}: cannot be imported ({type(error).__name__}: {error})") from None
    return module


def _line(error: Exception, path: str) -> str:
    """ ":LINE" of the file in which an error arose, "" when it is not known."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    at, found = error.__traceback__, ""
    while at is not None:
        found = f":{at.tb_lineno}" if at.tb_frame.f_code.co_filename == path else found
        at = at.tb_next
    return found


def _class(module: ModuleType, name: str, where: str) -> Any:
    if not hasattr(module, name):
        classes = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        raise UsageError(f"{where} has no class {name}{nearest(name, classes)}")
    return getattr(module, name)
