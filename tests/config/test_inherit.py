"""Experiments that inherit: `extends`, `remove`, `cut`, `claims_from` and `[claim_defaults]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from selffl_cli.config.experiment import experiment_names, load_experiment
from selffl_cli.config.inherit import experiment_path, experiments_folder
from selffl_cli.errors import UsageError
from selffl_cli.files.toml import read_toml

BASE = """
title = "The full form"
description = "All of it."
seeds = [0, 1]

[data]
name = "digits"
clients = 20
partition = "iid"

[model]
name = "mlp"

[train]
rounds = 60
local_epochs = 1

[methods.fedavg]
[methods.ditto]
lam = 0.5

[tuning]
rounds = 5
[tuning.grids.ditto]
lam = [0.1, 1]
"train.learning_rate" = [0.1, 0.2]

[[claims]]
id = "first"
text = "Ditto beats FedAvg"
left = "ditto:test.personal.accuracy"
right = "fedavg:test.personal.accuracy"
relation = "greater"

[[claims]]
id = "second"
text = "Ditto's global model is FedAvg's"
left = "ditto:test.global.accuracy"
right = "fedavg:test.global.accuracy"
relation = "equal"
margin = 0.1
"""


def write(folder: Path, text: str, name: str = "child.toml") -> str:
    (folder / "base.toml").write_text(BASE)
    (folder / name).write_text(text)
    return str(folder / name)


def test_tables_are_merged_and_other_values_replaced(tmp_path: Path) -> None:
    made = load_experiment(
        write(tmp_path, 'extends = "base.toml"\nseeds = [7]\n[data]\nclients = 5\n[methods.ditto]\nlam = 2.0\n')
    )
    assert made.name == "child"  # a name is never inherited, since it names the folder of runs
    assert made.title == "The full form" and made.seeds == [7]
    assert made.data == {"name": "digits", "clients": 5, "partition": "iid"}
    assert made.methods == {"fedavg": {}, "ditto": {"lam": 2.0}}
    assert made.train.rounds == 60
    assert [claim.id for claim in made.claims] == ["first", "second"]


def test_keys_are_removed_claims_by_their_id(tmp_path: Path) -> None:
    keys = """["train.local_epochs", "claims.first", 'tuning.grids.ditto."train.learning_rate"', "data.clients"]"""
    made = load_experiment(write(tmp_path, f'extends = "base.toml"\nremove = {keys}\n[train]\nlocal_steps = 3\n'))
    assert (made.train.local_epochs, made.train.local_steps) == (None, 3)
    assert [claim.id for claim in made.claims] == ["second"]
    assert made.tuning is not None and made.tuning.grids == {"ditto": {"lam": [0.1, 1]}}
    assert "clients" not in made.data


def test_a_claim_with_a_known_id_takes_the_place_of_the_inherited_one(tmp_path: Path) -> None:
    claim = '[[claims]]\nid = "{}"\ntext = "t"\nleft = "fedavg:test.global.loss"\nright = 1\nrelation = "less"\n'
    made = load_experiment(write(tmp_path, 'extends = "base.toml"\n' + claim.format("first") + claim.format("third")))
    assert [claim.id for claim in made.claims] == ["first", "second", "third"]
    assert made.claims[0].right == 1 and made.claims[1].margin == 0.1


def test_what_was_cut_ends_the_description(tmp_path: Path) -> None:
    made = load_experiment(write(tmp_path, 'extends = "base.toml"\ncut = "Half of it."\n'))
    assert made.description == "All of it.\nHalf of it.\n"


def test_claims_come_from_a_shared_file_and_defaults_fill_them_in(tmp_path: Path) -> None:
    (tmp_path / "shared.toml").write_text(
        '[claim_defaults]\nrelation = "greater"\nleft = "ditto:test.personal.accuracy"\n'
        '[[claims]]\nid = "a"\ntext = "t"\nright = 0.5\n'
        '[[claims]]\nid = "b"\ntext = "t"\nright = 0.9\nrelation = "less"\n'
    )
    made = load_experiment(write(tmp_path, 'extends = "base.toml"\nclaims_from = "shared.toml"\nremove = ["claims"]\n'))
    assert [(claim.id, claim.relation) for claim in made.claims] == [("a", "greater"), ("b", "less")]
    assert made.claims[1].left == "ditto:test.personal.accuracy"


def test_a_chain_of_files_is_followed_and_a_circle_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 'extends = "base.toml"\n[train]\nrounds = 9\n', "middle.toml")
    made = load_experiment(write(tmp_path, 'extends = "middle.toml"\n[train]\nbatch_size = 4\n'))
    assert (made.train.rounds, made.train.batch_size, made.train.local_epochs) == (9, 4, 1)
    write(tmp_path, 'extends = "child.toml"\n', "middle.toml")
    with pytest.raises(UsageError, match="child.toml: extends = 'middle.toml' leads back|middle.toml: extends"):
        load_experiment(str(tmp_path / "child.toml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "mnist-writer"', "child.toml: extends: unknown experiment 'mnist-writer' .did you mean"),
        ('extends = "none.toml"', "none.toml: no such file"),
        ("extends = 3", "child.toml: extends = 3: write a text"),
        ('remove = ["train.rounds"]', "child.toml: remove is for a file that extends another"),
        ('extends = "base.toml"\nremove = "train"', "write a list of keys"),
        (
            'extends = "base.toml"\nremove = ["train.round"]',
            "'train.round': base.toml has no such key 'round' .did you",
        ),
        ('extends = "base.toml"\nremove = ["claims.frist"]', "no such key 'frist' .did you mean 'first'"),
        ('extends = "base.toml"\nremove = ["title.x"]', "no such key 'x'"),
        ('extends = "base.toml"\nremove = ["a b"]', "write a key as TOML does"),
        ('extends = "base.toml"\nremove = ["a = 1\\nb"]', "write one key in each text"),
        ('extends = "base.toml"\nclaims_from = "personalization"', "no such file of claims .did you mean"),
        ('extends = "base.toml"\nclaims_from = "base.toml"', "does not belong into a file of claims"),
        ('extends = "base.toml"\nclaim_defaults = 3', "claim_defaults = 3: write a table"),
        ('extends = "base.toml"\nextend = "x"', "child.toml: unknown key 'extend'"),
        ('extends = "base.toml"\nclaims = 3', "child.toml: claims = 3"),
    ],
)
def test_faults_are_one_line_that_names_the_file(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        load_experiment(write(tmp_path, text + "\n"))


@pytest.mark.parametrize("name", [name for name in experiment_names() if name.endswith("-short")])
def test_a_short_form_is_its_differences_and_a_sentence_that_says_what_was_cut(name: str) -> None:
    content = read_toml(experiment_path(name).read_text(encoding="utf-8"))
    assert content["extends"] == name.removesuffix("-short")
    assert content["cut"].startswith(f"A short form of `{content['extends']}`")
    full = read_toml(experiment_path(content["extends"]).read_text(encoding="utf-8"))
    for table in ("data", "model", "train", "tuning", "methods"):  # nothing is said twice
        for key, value in content.get(table, {}).items():
            if not isinstance(value, dict):
                assert full.get(table, {}).get(key) != value, f"[{table}] {key} is that of {content['extends']}"


def test_the_shipped_files_are_short() -> None:
    files = [*experiments_folder().glob("*.toml"), *experiments_folder().glob("claims/*.toml")]
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) < 2000


def test_the_example_of_the_page_on_experiments_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text(encoding="utf-8")
    (tmp_path / "my-digits.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    made = load_experiment(str(tmp_path / "my-digits.toml"))
    assert made.name == "my-digits" and made.data["clients"] == 50 and made.train.local_steps == 5
    assert [claim.id for claim in made.claims][-1] == "beats-ditto"
    assert made.description.endswith("A form of `digits` with 50 clients and 5 local steps.\n")


def written(name: str) -> dict[str, Any]:
    """An experiment's own file, as it is written."""
    return read_toml(experiment_path(name).read_text(encoding="utf-8"))


# what `cut` must speak of when a key differs from the experiment that is extended
SPOKEN_OF = {
    r"data\.(clients|name)": r"clients|writers",
    r"data\.partition": r"sizes",
    r"data\.periods": r"periods",
    r"data\.max_words": r"vocabulary",
    r"model\..*": r"hidden|LSTM|channels|regression",
    r"model\.embedding": r"embeddings",
    r"train\.rounds": r"\brounds\b",
    r"train\.(clients_per_round|participation)": r"clients\s+a\s+round|writers a round",
    r"train\.local_(steps|epochs)": r"local (steps|epochs)",
    r"train\.batch_size": r"batches|clips",
    r"train\.learning_rate": r"\brate\b",
    r"train\.memory_size|sweep\.train\.memory_size": r"kept samples|sizes\s+of the memory",
    r"train\.eval_every": r"evaluated",
    r"train\.eval_parts": r"test part alone",
    r"warm_start\..*": r"start",
    r"warm_start\.train\.stop_at": r"stops at",
    r"methods\.pfedme\.local_rounds": r"local rounds of\s+pFedMe",
    r"methods\.[\w-]+": r"methods",
    r"tuning\.rounds": r"tried\s+for",
    r"tuning\.grids\..*": r"grids have\s+lower\s+rates|methods",
    r"report\.target": r"target",
}


@pytest.mark.parametrize("name", sorted(name for name in experiment_names() if "cut" in written(name)))
def test_what_is_cut_says_every_change(name: str) -> None:
    content = written(name)
    own, base = (flat(load_experiment(one).model_dump(mode="json")) for one in (name, content["extends"]))
    changed = {key for key in own.keys() | base.keys() if own.get(key) != base.get(key)}
    for key in changed - {"name", "title", "description", "source"}:
        if key.startswith("claims"):
            continue
        wanted = [words for pattern, words in SPOKEN_OF.items() if re.fullmatch(pattern, key)]
        assert wanted, f"{key}: SPOKEN_OF does not know it"
        assert all(re.search(words, content["cut"]) for words in wanted), f"{name}: cut says nothing of {key}"


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: value}"""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found
