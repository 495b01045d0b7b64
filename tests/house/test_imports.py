"""What `train` needs of the machine it runs on: a folder of shards, and seven packages."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tiny import make_place

from selffl_cli.files.toml import toml_text

ALLOWED = {"torch", "numpy", "typer", "rich", "pydantic", "safetensors", "pyarrow"}
FORBIDDEN = (
    "sklearn", "threadpoolctl", "scipy", "pandas", "matplotlib", "PIL", "datasets", "httpx", "soundfile", "soxr",
    "pyroomacoustics", "tomli_w", "ray", "requests", "torchvision", "torchaudio",
)  # fmt: skip

HOOK = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FORBIDDEN!r}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path.insert(0, Absent())
from selffl_cli.cli.main import run
run()
"""


def test_training_on_shards_needs_seven_packages(tmp_path: Path) -> None:
    """Where nothing for audio, pictures, statistics or downloads is installed, a run from shards is trained."""
    place = make_place(tmp_path)
    for engine, jobs in (("sequential", "1"), ("stacked", "2")):
        words = ["train", "tiny.toml", "--data", "./blobs", "--method", "actperfl", "--rounds", "2"]
        words += ["--engine", engine, "--runs", engine, "--jobs", jobs, "--seeds", f"1-{jobs}"]
        done = subprocess.run(
            [sys.executable, "-c", HOOK, *words], cwd=place, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        records = [path.read_text() for path in (place / engine).glob("tiny/*/environment.json")]
        assert len(records) == int(jobs) == len(list((place / engine).glob("tiny/*/result.json")))
        assert all(f'"engine": "{engine}"' in text for text in records)


def test_the_forbidden_are_what_is_declared_beside_the_seven() -> None:
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {line.split(">")[0].strip() for line in declared}
    modules = {"scikit-learn": "sklearn", "pillow": "PIL"}
    assert {modules.get(name, name) for name in names - ALLOWED} <= set(FORBIDDEN)


WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
VALUES = st.recursive(
    WORDS | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(WORDS, VALUES, max_size=5))
def test_toml_is_read_back_as_it_was(content: dict[str, object]) -> None:
    assert tomllib.loads(toml_text(content)) == content
