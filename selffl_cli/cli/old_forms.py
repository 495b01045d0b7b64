"""Options that have another name now: each answers with one line that names the new one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ..errors import UsageError

# of `train`: flags that only set a key of the experiment
KEYS = {
    "--new-clients": "train.new_clients",
    "--sampler": "train.sampler",
    "--weighting": "train.weighting",
    "--privacy": "train.privacy",
    "--memory": "train.memory",
    "--memory-size": "train.memory_size",
    "--precision": "train.precision",
}
# {command: {old option: what to type instead}}; VALUE stands for what was typed after the option
OLD = {
    "train": {
        **{flag: f"--set {key}=VALUE" for flag, key in KEYS.items()},
        "--periods": "--set train.periods=true",
        "--no-periods": "--set train.periods=false",
        "--from": "selffl rerun VALUE",
        "--tune": "selffl tune EXPERIMENT, and after it selffl train EXPERIMENT",
        "--list-methods": "selffl methods",
        "--data-folder": "--data VALUE/",
    },
    "prepare": {"--out": "--data VALUE", "-o": "--data VALUE"},
    "report": {"-r": "--runs VALUE"},
    "doctor": {"-r": "--runs VALUE"},
    "eval": {"-p": "--part VALUE"},
}


def refuse_old(command: str, arguments: Sequence[str]) -> None:
    """UsageError for an option of an older selffl among the arguments of `command`."""
    known = OLD.get(command, {})
    words = list(arguments)
    words = words[: words.index("--")] if "--" in words else words
    for position, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag not in known or (position and words[position - 1] == "--set"):
            continue
        following = words[position + 1 : position + 2]
        shown = value if equals else following[0] if following and not following[0].startswith("-") else "VALUE"
        new = known[flag].replace("VALUE/", f"{shown.rstrip('/')}/").replace("VALUE", shlex.quote(shown))
        raise UsageError(f"selffl {command} {flag} has another form now; type {new}")
