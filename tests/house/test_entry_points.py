"""An installed package adds names of every kind by entry points; a name that nobody brings is told the nearest one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pages import DOCS, files

GROUPS = {
    "selffl.methods": ("clipped", "own-method.md", "my_method", "Clipped"),
    "selffl.models": ("wide", "own-model.md", "my_model", "Wide"),
    "selffl.metrics": ("top-two", "own-metric.md", "my_metric", "TopTwo"),
    "selffl.datasets": ("activities", "own-data.md", "my_set", "Activities"),
    "selffl.partitioners": ("stretches", "own-data.md", "my_partition", "Stretches"),
    "selffl.samplers": ("small", "own-data.md", "my_sampler", "Small"),
}
PROGRAM = """
import importlib, json
from selffl_cli.api import REGISTRIES
from selffl_cli.errors import UsageError
said = {}
for place in REGISTRIES.values():
    module, _, name = place.partition(":")
    kind = getattr(importlib.import_module(module), name)
    for brought in kind.installed():
        record = kind.record(brought)
        try:
            kind[brought + "x"]
        except UsageError as error:
            said[kind.group] = [kind[brought].__name__, record["name"], len(record["code"]), str(error)]
print(json.dumps(said))
"""


def test_a_package_adds_names_of_every_kind(tmp_path: Path) -> None:
    points = []
    for group, (name, page, module, cls) in GROUPS.items():
        (tmp_path / f"{module}.py").write_text(files(page)[f"{module}.py"])
        points.append(f"[{group}]\n{name} = {module}:{cls}\n")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(points))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env={"PYTHONPATH": f"{tmp_path}:{DOCS.parent}"}
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for group, (name, _, _, cls) in GROUPS.items():
        made, recorded, code, hint = said[group]
        assert (made, recorded, code) == (cls, name, 64)
        assert f"unknown {group.removeprefix('selffl.').removesuffix('s')[:4]}" in hint.replace("data set", "dataset")
        assert f"did you mean '{name}'" in hint
