"""`selffl train` refuses a claim that its runs could never bear out, before it prepares or trains anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from selffl_cli.cli.main import app
from selffl_cli.config.experiment import experiment_names, load_experiment
from selffl_cli.errors import UsageError
from selffl_cli.planning.claims import check

EXPERIMENT = """
name = "claimed"
data = {{ name = "digits", clients = 4 }}
model = {{ name = "softmax" }}
train = {{ rounds = 1, eval_parts = ["validation", "test"] }}
sweep = {{ "data.clients" = [4, 5] }}
methods = {{ actperfl = {{}}, fedavg = {{}}, local = {{}} }}
[[claims]]
id = "c"
text = "t"
left = "{left}"
right = {right}
relation = "greater"
where = {where}
"""
FINE: dict[str, Any] = {
    "left": "actperfl:test.personal.accuracy", "right": '"local:test.personal"', "where": '{ "data.clients" = 4 }'
}  # fmt: skip


def train(place: Path, *options: str, **changed: str):
    (place / "claimed.toml").write_text(EXPERIMENT.format(**{**FINE, **changed}))
    command, options = (options[0], options[1:]) if options[:1] == ("tune",) else ("train", options)
    return CliRunner().invoke(app, [command, str(place / "claimed.toml"), "--runs", str(place / "runs"),
                                    "--data", f"{place}/data/", *options])  # fmt: skip


WRONG = [
    ({"left": "actperl:test.personal"}, "names 'actperl', which is no method of claimed (did you mean 'actperfl'?)"),
    ({"right": '"ditto:test.personal"'}, "names 'ditto', which is no method"),
    ({"left": "tests"}, "'tests' is neither LABEL:part.model.metric nor a number"),
    ({"left": "nan"}, "'nan' is neither"),
    ({"left": "0.4", "right": "0.5"}, "compares two numbers"),
    ({"left": "fedavg:tset.personal"}, "'tset' is not scored (did you mean 'test'?)"),
    ({"left": "fedavg:train.personal"}, "'train' is not scored"),
    ({"left": "fedavg:new.personal"}, "'new' is not scored"),
    ({"left": "fedavg:test"}, "'' is no kind of model"),
    ({"left": "fedavg:test.persnal"}, "'persnal' is no kind of model (did you mean 'personal'?)"),
    ({"left": "local:test.global"}, "method 'local' has no global model"),
    ({"left": "fedavg:test.global.acuracy"}, "'acuracy' is no figure (did you mean 'accuracy'?)"),
    ({"left": "fedavg:test.global.accuracy.mean"}, "'accuracy.mean' is no figure"),
    ({"left": "fedavg:method"}, "name one of the figures of 'method'"),
    ({"where": "{}"}, "where fits 2 settings; name one, by data.clients"),
    ({"where": '{ "data.client" = 4 }'}, "'data.client', which is not swept (did you mean 'data.clients'?)"),
    ({"where": '{ "data.clients" = 6 }'}, "data.clients = 6, not swept (known: 4, 5)"),
]


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--method", "fedavg"), ("tune",)])
@pytest.mark.parametrize(("changed", "says"), WRONG)
def test_a_claim_that_nothing_can_bear_out(
    tmp_path: Path, changed: dict[str, str], says: str, options: tuple[str, ...]
) -> None:
    result = train(tmp_path, *options, **changed)
    assert isinstance(result.exception, UsageError) and says in str(result.exception)
    assert str(result.exception).startswith("claim 'c'")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claimed.toml"]


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (("--method", "fedavg"), {}),  # the claim's methods are left out
        (("--method", "fedavg:weighting=equal"), {"left": "fedavg:weighting=equal:test.personal"}),
        (("--set", "train.eval_parts=['validation']"), {}),
        (("--set", "train.new_clients=0.25"), {"left": "fedavg:new.personal"}),
        (("--set", "sweep={'train.rounds'=[1]}"), {}),
        (("--set", "methods.more={method='fedavg'}"), {"left": "more:test.global.worst_tenth"}),
        ((), {"left": "actperfl:method.s0", "right": "0.1"}),
        ((), {"left": "actperfl:membership.global.auc"}),
        ((), {"left": "actperfl:test.personal.relative_fa_A", "right": "1"}),
    ],
)
def test_what_the_command_line_leaves_out_is_no_fault_of_a_claim(
    tmp_path: Path, options: tuple[str, ...], changed: dict[str, str]
) -> None:
    result = train(tmp_path, "--dry-run", *options, **changed)
    assert result.exit_code == 0, result.exception


@pytest.mark.parametrize("name", experiment_names())
def test_every_shipped_claim_can_be_borne_out(name: str) -> None:
    check(load_experiment(name))
