"""Which commands there are, what their options are called, and what the old forms answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from selffl_cli.cli import complete
from selffl_cli.cli.main import COMMANDS, _load, main
from selffl_cli.cli.old_forms import KEYS, OLD
from selffl_cli.cli.start import read_data
from selffl_cli.config.experiment import Experiment, experiment_names, load_experiment
from selffl_cli.config.train import TrainConfig
from selffl_cli.config.validation import validate
from selffl_cli.errors import UsageError
from selffl_cli.files.toml import read_toml
from selffl_cli.runs.folder import RESULT

SMALL = ["-m", "fedavg", "-r", "2", "-s", "0", "--set", "data.clients=4", "--workers", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run of the digits."""
    folder = tmp_path_factory.mktemp("commands")
    assert main(["train", "digits", *SMALL, "--runs", str(folder / "runs"), "--data", f"{folder}/data/"]) == 0
    return folder


def leaves(name: str) -> list:
    """The command, or those of a group."""
    command = _load(name)
    if not hasattr(command, "commands"):
        return [command]
    if name == "prepare":
        from selffl_cli.cli.prepare import _command

        return [_command(each) for each in ("digits", "mnist", "audio")]
    return list(command.commands.values())


def test_the_help_of_train_has_its_panels_on_at_most_100_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 100 and max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for panel in ("What", "How long", "Where", "How runs are carried out", "Privacy", "Periods"):
        assert f"╭─ {panel}" in text
    assert "Examples" in text and "selffl train digits --seeds 0-4 --dry-run" in text
    for key in ("train.privacy", "train.sampler", "train.memory", "train.periods"):
        assert key in text


def test_every_key_that_the_help_shows_is_one_of_train() -> None:
    from selffl_cli.cli.keys import panels

    shown = {key.removeprefix("train.") for rows in panels().values() for key, _ in rows}
    assert shown <= set(TrainConfig.model_fields)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Examples" in shown and f"selffl {name}" in shown


def test_a_short_letter_means_one_thing_and_a_folder_has_one_name() -> None:
    letters, folders = defaultdict(set), set()
    for name in COMMANDS:
        for command in leaves(name):
            for parameter in command.params:
                long = [flag for flag in parameter.opts if flag.startswith("--")]
                for flag in parameter.opts:
                    if len(flag) == 2 and long:
                        letters[flag].add(long[0].removesuffix("s"))  # --seed of data, --seeds of runs
                if any(word in (parameter.help or "") for word in ("folder of run folders", "folder to keep shards")):
                    folders.add(long[0])
    assert {flag: names for flag, names in letters.items() if len(names) > 1} == {}
    assert folders == {"--runs", "--data"}


@pytest.mark.parametrize(("command", "flag"), [(command, flag) for command, flags in OLD.items() for flag in flags])
@pytest.mark.parametrize("joined", [True, False])
def test_an_old_form_answers_with_one_line_that_names_the_new_one(
    command: str, flag: str, joined: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, "digits", *([f"{flag}=value"] if joined else [flag, "value"])]
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and f"selffl {command} {flag} has another form now; type " in shown
    new = shown.rpartition("; type ")[2].strip()
    if new.startswith("--"):
        option = new.split()[0].partition("=")[0]
        assert any(option in parameter.opts for leaf in leaves(command) for parameter in leaf.params)
    else:
        assert new.split()[1] in COMMANDS


@pytest.mark.parametrize("key", KEYS.values())
def test_what_an_old_flag_is_told_to_set_exists(key: str) -> None:
    assert key.removeprefix("train.") in TrainConfig.model_fields


def test_a_value_that_looks_like_an_old_form_is_left_alone(tmp_path: Path) -> None:
    words = ["train", "digits", "--dry-run", "--data", f"{tmp_path}/", "--set", "title=--tune", "-m", "fedavg"]
    assert main(words) == 0


def test_the_three_meanings_of_data(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (shards,) = (place / "data").iterdir()
    assert read_data([str(shards)]).shards == shards
    assert read_data(["./none"]).shards == Path("none")  # Shards.open says that there are none
    assert read_data([f"{place}/data"]).folder == place / "data"
    assert read_data(["new/"]).folder == Path("new")
    assert read_data(["digits:clients=5"]).spec == "digits:clients=5"
    both = read_data(["digits:clients=5", "new/"])
    assert (both.spec, both.folder, both.shards) == ("digits:clients=5", Path("new"), None)
    for wrong in (["a/", "b/"], ["digits", "mnist"], [str(shards), "digits"], [str(shards), str(shards)]):
        with pytest.raises(UsageError, match="--data '"):
            read_data(wrong)


def test_experiments_are_listed_and_printed_with_what_they_inherit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiments"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in experiment_names())
    assert main(["experiments", "cifar10-short"]) == 0
    whole = read_toml(capsys.readouterr().out)
    assert "extends" not in whole and validate(Experiment, whole, "printed") == load_experiment("cifar10-short")
    assert main(["experiments", "cifar11"]) == 2
    assert "did you mean 'cifar10'" in capsys.readouterr().err


def test_methods_are_printed_all_or_some(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    assert "perfedavg" in capsys.readouterr().out
    assert main(["methods", "self-fl"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("actperfl = self-fl") and "perfedavg" not in shown
    assert main(["methods", "dito"]) == 2
    assert "did you mean 'ditto'" in capsys.readouterr().err


def test_runs_are_listed_with_state_round_and_figures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ["--runs", str(place / "runs")]
    capsys.readouterr()
    assert main(["ls", "--json", *runs]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["experiment"], row["label"], row["seed"], row["state"]) == ("digits", "fedavg", 0, "finished")
    assert (row["round"], row["rounds"]) == (2, 2)
    final = json.loads((Path(row["path"]) / RESULT).read_text())["final"]["test"]
    assert row["figures"] == final
    assert main(["ls", *runs]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "fedavg seed 0" in shown and f"{final['personal']['accuracy']:.1%}" in shown
    assert main(["ls", "mnist", "--json", *runs]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_what_the_shell_offers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dig.toml").touch()
    (tmp_path / "digs").mkdir()
    assert complete.experiments("dig") == ["digits", "dig.toml", "digs/"]
    assert complete.data("dig") == ["digits", "digs/"]
    assert complete.settings("train.samp") == ["train.sampler="]
    assert complete.settings("train.sampler=p") == ["train.sampler=poisson"]
    assert complete.settings("train.privacy=u") == ["train.privacy=user"]
    assert complete.settings("train.weighting=") == [
        f"train.weighting={word}" for word in ("samples", "equal", "unbiased")
    ]
    assert "train.eval_parts=" in complete.settings("train.eval")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("selffl train fem", {"femnist", "femnist-short"}),
        ("selffl train ci --method ditto-", {"ditto-w", "ditto-0"}),
        ("selffl tune --method ditt", {"ditto"}),
        ("selffl methods pfed", {"pfedme"}),
        ("selffl train --data shake", {"shakespeare"}),
        ("selffl train --set train.sampler=poi", {"train.sampler=poisson"}),
        ("selffl rer", {"rerun"}),
    ],
)
def test_completion_in_a_shell(words: str, offered: set[str], tmp_path: Path) -> None:
    """As zsh asks for it: the words so far, of which the last one is to be completed."""
    environment = {**os.environ, "_SELFFL_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": words}
    done = subprocess.run(
        [sys.executable, "-c", "from selffl_cli.cli.main import app; app(prog_name='selffl')"],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    found = {word.strip('"').replace("\\", "") for word in done.stdout.split()}
    assert all(any(offer in word for word in found) for offer in offered), done.stdout + done.stderr


def test_completing_imports_no_torch() -> None:
    program = (
        "import sys; from selffl_cli.cli import complete\n"
        "complete.experiments(''); complete.data(''); complete.settings('train.sampler=')\n"
        "import selffl_cli.methods; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_commands_on_a_page_hold_no_folder_of_the_maker() -> None:
    from selffl_cli.report.page import _without_places

    words = ["train", "digits", "--data", "/home/me/data/", "--data", "digits:clients=5", "--runs", "/home/me/runs"]
    assert _without_places(words) == ["train", "digits", "--data", "digits:clients=5"]
    assert _without_places(["tune", "x", "-d", "data/blobs-s0"]) == ["tune", "x", "-d", "data/blobs-s0"]
