"""Parts typed as `name:key=value,…`: help, errors and records speak of the same names and options."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from selffl_cli.cli.main import main
from selffl_cli.config import memory as replay
from selffl_cli.config import privacy as options
from selffl_cli.config import sampler as selection
from selffl_cli.config.spec import parse_spec, read_spec
from selffl_cli.errors import UsageError

# key of the experiment: the parts, how a record writes them, and what stands for options without a default
PARTS: dict[str, tuple[dict[str, Any], Callable[[str], str], dict[str, Any]]] = {
    "train.sampler": (selection.SAMPLERS, selection.canonical, {"q": 0.5, "fraction": 0.5}),
    "train.memory": (replay.MEMORIES, replay.canonical, {}),
    "train.privacy": (options.KINDS, options.canonical, {"noise": 0.7, "target-epsilon": 8, "adaptive": 0.5}),
}


def shown(option: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The text of a key in the panels of `selffl train --help`, as one line."""
    assert main(["train", "--help"]) == 0
    lines = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    start = next(i for i, line in enumerate(lines) if re.match(rf"{re.escape(option)}\s", line))
    own = [lines[start].removeprefix(option).strip()]
    for line in lines[start + 1 :]:
        if re.match(r"train\.\w+  |╰", line):  # the next key, or the end of them
            break
        own.append(line)
    return " ".join(own)


@pytest.mark.parametrize("option", PARTS)
def test_help_errors_and_records_agree(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    kinds, canonical, given = PARTS[option]
    text = shown(option, capsys)
    with pytest.raises(UsageError) as unknown:
        read_spec("zzzz", kinds, "part")
    for name, kind in kinds.items():
        assert name in str(unknown.value)
        keys = [info.alias or key for key, info in kind.model_fields.items()]
        listed = re.search(rf"\b{name} \((.*?)\)", text)
        assert [part.partition("=")[0] for part in listed[1].split(", ")] == keys if listed else not keys
        defaults = [part for part in (listed[1].split(", ") if listed else []) if not part.endswith("…")]
        own = {key: value for key, value in given.items() if key in keys}
        typed = ",".join([*(f"{key}={value}" for key, value in own.items()), *defaults])
        record = canonical(f"{name}:{typed}" if typed else name)
        assert set(parse_spec(record)[1]) == set(keys), "what help shows is read, and every option is recorded"
        plain = ",".join(f"{key}={value}" for key, value in own.items())
        assert canonical(f"{name}:{plain}" if plain else name) == record, "the defaults are the ones that help shows"
        if keys:
            with pytest.raises(UsageError) as wrong:
                read_spec(f"{name}:{typed},zzzz=1", kinds, "part")
            assert all(key in str(wrong.value) for key in keys)
