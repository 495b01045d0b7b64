"""Experiments as validated data: what is refused and how, seeds, specs, overrides, and the hash of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import make_place, only_run

from selffl_cli import methods
from selffl_cli.config.experiment import (
    Experiment,
    TrainConfig,
    apply_setting,
    experiment_names,
    load_experiment,
    parse_seeds,
    warm_start_note,
)
from selffl_cli.config.run import RunConfig
from selffl_cli.config.spec import format_spec, parse_spec, parse_value
from selffl_cli.config.train import train_config
from selffl_cli.config.validation import validate
from selffl_cli.errors import UsageError, nearest
from selffl_cli.planning.plan import PlannedRun, Request, data_folder, plan, resolve_method

SMALL: dict[str, Any] = {
    "name": "x",
    "data": {"name": "d"},
    "model": {"name": "mlp"},
    "methods": {"fedavg": {}},
}

CLAIM = {"id": "a", "text": "b", "left": "l", "right": 1}


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as caught:
        validate(Experiment, {**SMALL, **values}, "x.toml")
    message = str(caught.value)
    assert "\n" not in message and message.startswith("x.toml: ") and caught.value.exit_code == 2
    return message


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"trian": {}}, "unknown key 'trian' (did you mean 'train'?)"),
        ({"train": {"round": 3}}, "unknown key 'train.round' (did you mean 'rounds'?)"),
        ({"train": {"eta": 3}}, "unknown key 'train.eta'"),
        ({"warm_start": {"round": 3}}, "unknown key 'warm_start.round' (did you mean 'rounds'?)"),
        ({"claims": [{**CLAIM, "relation": "less", "wher": {}}]}, "'claims.0.wher' (did you mean 'where'?)"),
        ({"train": {"rounds": 0}}, "train.rounds = 0"),
        ({"train": {"participation": 0}}, "train.participation = 0"),
        ({"train": {"participation": 1.1}}, "train.participation = 1.1"),
        ({"train": {"batch_size": 0}}, "train.batch_size = 0: a batch has at least one sample"),
        ({"train": {"batch_size": "half"}}, "batch_size"),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate = nan"),
        ({"train": {"learning_rate": float("inf")}}, "train.learning_rate = inf"),
        ({"train": {"learning_rate": 0}}, "train.learning_rate = 0"),
        ({"train": {"learning_rate": "fast"}}, "train.learning_rate = 'fast'"),
        ({"train": {"local_epochs": 1, "local_steps": 2}}, "give local_epochs or local_steps, not both"),
        ({"train": {"dtype": "float16"}}, "train.dtype = 'float16'"),
        ({"train": 3}, "train = 3"),
        ({"seeds": []}, "seeds = []"),
        ({"seeds": [1, 1]}, "seeds are different whole numbers"),
        ({"seeds": [-1]}, "seeds are different whole numbers"),
        ({"seeds": [2**31]}, "seeds are different whole numbers"),
        ({"name": "../x"}, "it names a folder"),
        ({"name": ""}, "it names a folder"),
        ({"methods": {}}, "methods = {}"),
        ({"data": {"clients": 3}}, 'needs a name'),
        ({"claims": [{**CLAIM, "relation": "equal"}]}, "needs a margin"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_is_refused_and_how(values: dict[str, Any], says: str) -> None:
    assert says in refusal(values)


def test_missing_tables_are_named() -> None:
    with pytest.raises(UsageError, match="data"):
        validate(Experiment, {"name": "x", "model": {"name": "m"}, "methods": {"fedavg": {}}}, "x.toml")


@pytest.mark.parametrize("text", ["= 3", "[a", "name = 'x'\nname = 'y'", "\xff\xfe"])
def test_a_file_that_is_not_toml(text: str, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="not a readable TOML file"):
        load_experiment(str(file))


def test_experiments_by_name_and_by_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown experiment 'digts' .did you mean 'digits'"):
        load_experiment("digts")
    with pytest.raises(UsageError, match="no such file; experiments by name: .*digits"):
        load_experiment(str(tmp_path / "none.toml"))
    (tmp_path / "mine.toml").write_text('[data]\nname="d"\n[model]\nname="m"\n[methods.local]\n')
    assert load_experiment(str(tmp_path / "mine.toml")).name == "mine"


@pytest.mark.parametrize("name", experiment_names())
def test_pfedme_takes_as_many_gradients_as_ditto_where_steps_are_given(name: str) -> None:
    """Two to a local step, whatever its loops are; the trials too."""
    experiment = load_experiment(name)
    steps = experiment.train.local_steps
    tables = [experiment.methods.get("pfedme", {})]
    if experiment.tuning:
        tables += [{**tables[0], **trial} for trial in experiment.tuning.trials().get("pfedme", [])]
    for table in tables:
        if steps and "local_rounds" in table:
            assert table["local_rounds"] * table.get("inner_steps", 5) == 2 * steps


@pytest.mark.parametrize("name", experiment_names())
def test_every_shipped_experiment_can_be_planned(name: str) -> None:
    """Each method of each setting resolves, and each claim speaks of a method of the experiment."""
    experiment = load_experiment(name)
    assert experiment.title and (len(experiment.seeds) >= 5 or not experiment.claims)
    for setting in experiment.settings():
        at = apply_setting(experiment, setting)
        for label, table in at.methods.items():
            resolve_method(at, label, table)
    for claim in experiment.claims:
        right = claim.right if isinstance(claim.right, list) else [claim.right]
        sides = [side for side in (claim.left, *right) if isinstance(side, str)]
        assert {side.partition(":")[0] for side in sides} <= set(experiment.methods), claim.id
        assert set(claim.where) <= set(experiment.sweep), claim.id


def test_overrides_reach_any_depth(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('[data]\nname="d"\n[model]\nname="m"\n[methods.local]\n')
    changed = load_experiment(str(file), {"train.rounds": 7, "methods.local.train.rounds": 3, "data.alpha": 0.1})
    assert changed.train.rounds == 7 and changed.methods["local"]["train"] == {"rounds": 3}
    assert changed.data["alpha"] == 0.1
    with pytest.raises(UsageError, match="'name' is a value, not a table"):
        load_experiment(str(file), {"data.name.x": 1})


def test_a_sweep_is_every_combination() -> None:
    sweep = {"data.clients": [5, 10], "train.rounds": [1, 2, 3]}
    experiment = validate(Experiment, {**SMALL, "sweep": sweep}, "x")
    settings = list(experiment.settings())
    assert len(settings) == 6 and len({str(setting) for setting in settings}) == 6
    at = apply_setting(experiment, settings[-1])
    assert at.data["clients"] == 10 and at.train.rounds == 3 and experiment.train.rounds == 100


# budgets


@given(st.integers(1, 500), st.integers(1, 60), st.integers(1, 5))
def test_the_budget_of_a_client(samples: int, batch_size: int, epochs: int) -> None:
    """Epochs over batches, the short last one counted; local_steps as they are."""
    batches = len(range(0, samples, batch_size))
    assert TrainConfig(batch_size=batch_size, local_epochs=epochs).budget(samples) == epochs * batches
    assert TrainConfig(batch_size=batch_size).budget(samples) == batches
    assert TrainConfig(batch_size="full", local_epochs=epochs).budget(samples) == epochs
    assert TrainConfig(batch_size=batch_size, local_steps=7).budget(samples) == 7


@pytest.mark.parametrize(
    ("share", "clients", "size"),
    [(0.1, 772, 77), (10 / 772, 772, 10), (0.25, 10, 2), (0.001, 10, 1), (1, 5, 5), (0.3, 10, 3)],
)  # fmt: skip
def test_clients_a_round(share: float, clients: int, size: int) -> None:
    """max(floor(C M), 1), floor of what is meant and not of a rounding error."""
    assert TrainConfig(participation=share).cohort_size(clients) == size


def test_a_methods_own_training() -> None:
    base = TrainConfig(local_epochs=3, participation=0.5, rounds=9)
    own = train_config(base, {"local_steps": 2, "clients_per_round": 4}, "x")
    assert own.local_epochs is None and own.local_steps == 2 and own.rounds == 9
    assert own.cohort_size(100) == 4 and own.cohort_size(3) == 3
    back = train_config(own, {"local_epochs": 1, "participation": 0.1}, "x")
    assert back.local_steps is None and back.cohort_size(100) == 10
    with pytest.raises(UsageError, match=r"x: unknown key 'lerning_rate' .did you mean 'learning_rate'"):
        train_config(base, {"lerning_rate": 1}, "x")


# seeds and specs


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8, unique=True))
def test_seeds_in_the_order_given(seeds: list[int]) -> None:
    assert parse_seeds(",".join(map(str, seeds))) == seeds
    assert parse_seeds(f"{seeds[0]}-{seeds[0] + 3}") == list(range(seeds[0], seeds[0] + 4))


@pytest.mark.parametrize("text", ["", "a", "3-", "-3", "1,,2", "4-2", "0-99999", "1;2", "1.5", "3,1-4", "2147483648"])
def test_seeds_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        parse_seeds(text)


WORDS = st.from_regex(r"[a-z][a-z_-]{0,9}", fullmatch=True).filter(lambda w: w not in ("true", "false", "inf", "nan"))
SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), WORDS
)


@given(WORDS, st.dictionaries(WORDS, SCALARS, max_size=4))
def test_specs_round_trip(name: str, options: dict[str, Any]) -> None:
    text = format_spec(name, options)
    assert parse_spec(text) == (name, options)
    assert {k: type(v) for k, v in parse_spec(text)[1].items()} == {k: type(v) for k, v in options.items()}
    assert format_spec(*parse_spec(text)) == text


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    parse_value(text)
    try:
        name, _ = parse_spec(text)
        assert name
    except UsageError as error:
        assert error.exit_code == 2


def test_values_too_long_to_read_are_text() -> None:
    for text in ("9" * 5000, "[" * 5000):
        assert parse_value(text) == text


def test_nearest_name_or_all_of_them() -> None:
    assert nearest("fedagv", ["fedavg", "local"]) == " (did you mean 'fedavg'?)"
    assert nearest("xyz", ["fedavg", "local"]) == " (known: fedavg, local)"


# names of methods


def test_endings_and_second_names_of_methods() -> None:
    assert methods.resolve("fedavg-e", {})[0] == {"name": "fedavg", "weighting": "equal"}
    assert methods.resolve("fedavg-w", {})[0] == methods.resolve("fedavg", {})[0]
    assert methods.resolve("self-fl", {}) == methods.resolve("actperfl", {})
    with pytest.raises(UsageError, match="contradict"):
        methods.resolve("fedavg-e", {"weighting": "samples"})
    for wrong in ("fedavg-x", "local-w", "", "actperfl-e"):
        with pytest.raises(UsageError, match="unknown method"):
            methods.resolve(wrong, {})


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_resolves_to_its_whole_self(name: str) -> None:
    """Every option written out; reading it back changes nothing; a wrong key is named with its nearest."""
    resolved, version = methods.resolve(name, {})
    options = {key: value for key, value in resolved.items() if key != "name"}
    assert methods.resolve(name, options) == (resolved, version) and version >= 1
    assert methods.build(resolved).traffic(10, 2)[0] >= 0
    for key in options:
        with pytest.raises(UsageError, match=f"did you mean '{key}'"):
            methods.resolve(name, {f"{key}s": 1})


# what names a run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("place"))


def planned(place: Path, method: str = "actperfl", seeds: list[int] | None = None, **overrides: Any) -> PlannedRun:
    settings = {key.replace("__", "."): value for key, value in overrides.items()}
    experiment = load_experiment(str(place / "tiny.toml"), settings)
    request = Request(experiment, [method], seeds=seeds, data=place / "blobs", runs=place / "whole")
    return plan(request)[-1]


NUMBERS: dict[str, Callable[[Path], PlannedRun]] = {
    "rounds": lambda place: planned(place, train__rounds=41),
    "participation": lambda place: planned(place, train__participation=0.7),
    "epochs": lambda place: planned(place, train__local_epochs=2),
    "batch": lambda place: planned(place, train__batch_size="full"),
    "rate": lambda place: planned(place, train__learning_rate=0.2),
    "evaluations": lambda place: planned(place, train__eval_every=4),
    "dtype": lambda place: planned(place, train__dtype="float64"),
    "a method's train": lambda place: planned(place, methods__actperfl__train={"learning_rate": 0.05}),
    "model": lambda place: planned(place, model__hidden=[9]),
    "method": lambda place: planned(place, "fedavg"),
    "option": lambda place: planned(place, "actperfl:init=global"),
    "seed": lambda place: planned(place, seeds=[1]),
}


def test_the_hash_covers_what_changes_numbers(place: Path) -> None:
    keys = {name: make(place).config.key() for name, make in NUMBERS.items()}
    keys["unchanged"] = planned(place).config.key()
    assert len(set(keys.values())) == len(keys), keys
    assert planned(place).folder == only_run(place / "whole")


def test_the_hash_covers_data_versions_and_start(place: Path, tmp_path: Path) -> None:
    config = planned(place).config
    keys = {config.key()}
    for part in ("engine", "model", "method"):
        keys.add(config.model_copy(update={"versions": {**config.versions, part: 99}}).key())
    keys.add(config.model_copy(update={"data": {**config.data, "hash": "other"}}).key())
    keys.add(config.model_copy(update={"init": "abc"}).key())
    assert len(keys) == 6


def test_the_hash_covers_nothing_else(place: Path, tmp_path: Path) -> None:
    """Where the shards lie, what the experiment and the method's line are called: the same numbers."""
    shutil.copytree(place / "blobs", tmp_path / "elsewhere")
    config = planned(place).config
    moved = load_experiment(str(place / "tiny.toml"), {"name": "other", "title": "another"})
    run = plan(Request(moved, ["actperfl"], data=tmp_path / "elsewhere"))[-1]
    assert run.config.key() == config.key()
    assert config.model_copy(update={"label": "x"}).key() == config.key()
    # an option written out with its default value, and a second name
    assert planned(place, "self-fl:intra=across-rounds").config.key() == config.key()
    assert planned(place, "actperfl:init=leave-one-out").config.key() == config.key()
    assert planned(place, "fedavg").config.key() == planned(place, "fedavg-w").config.key()
    assert planned(place, "fedavg").config.key() != planned(place, "fedavg-e").config.key()


def test_the_hash_is_the_same_tomorrow() -> None:
    """Over content, not over order or objects: a change of this value orphans every run that exists."""
    config = RunConfig(
        experiment="e", label="l", seed=3, data={"name": "d", "hash": "0123456789abcdef"},
        model={"name": "mlp", "hidden": [32]}, train=TrainConfig(rounds=5),
        method={"name": "fedavg", "weighting": "samples"}, versions={"engine": 1, "model": 1, "method": 1},
    )  # fmt: skip
    assert config.key() == "6c34eb7c"
    again = RunConfig.model_validate(dict(reversed(config.model_dump(mode="json", exclude_none=True).items())))
    assert again.key() == config.key()


@pytest.mark.parametrize(("every", "rounds"), [(1, [0, 1, 2, 3]), (2, [0, 2, 3]), (3, [0, 3]), (4, [3])])
def test_rounds_that_are_evaluated(every: int, rounds: list[int]) -> None:
    train = TrainConfig(rounds=3, eval_every=every)
    assert [round_ for round_ in range(4) if train.evaluates(round_)] == rounds


def test_an_experiment_writes_nothing_outside_the_data_folder(tmp_path: Path) -> None:
    content = {"name": "x", "data": {"name": "speech-commands", "listen": str(tmp_path / "out")},
               "model": {"name": "cnn11"}, "methods": {"fedavg": {}}}  # fmt: skip
    experiment = validate(Experiment, content, "x")
    with pytest.raises(UsageError, match="listen is for the command line"):
        data_folder(experiment, 0, Request(experiment, data_folder=tmp_path / "data"))
    assert not list(tmp_path.iterdir())


def test_setting_one_of_two_alternatives_drops_the_other() -> None:
    """As [methods.X.train] does; both at once are still refused."""
    assert load_experiment("digits").train.local_epochs is not None
    set_ = load_experiment("digits", {"train.local_steps": 5})
    assert set_.train.local_steps == 5 and set_.train.local_epochs is None
    assert apply_setting(load_experiment("digits"), {"train.local_steps": 7}).train.local_epochs is None
    with pytest.raises(UsageError, match="give local_epochs or local_steps, not both"):
        load_experiment("digits", {"train.local_steps": 5, "train.local_epochs": 1})


def test_a_value_that_changes_the_warm_start_too_is_said() -> None:
    name = "table1-2-wakeword-short"
    assert warm_start_note(load_experiment(name), {"train.rounds": 3, "train.eval_every": 2}) is None
    said = warm_start_note(load_experiment(name), {"train.batch_size": 4})
    assert said is not None and "--set warm_start.train.batch_size=" in said
    assert warm_start_note(load_experiment("digits"), {"train.learning_rate": 0.1}) is None


def test_the_name_of_another_model_drops_the_options_of_the_one_before() -> None:
    """As docs/own-model.md types it: the hidden layers are those of the experiment's own model."""
    assert "hidden" in load_experiment("digits").model
    assert load_experiment("digits", {"model.name": "my_model.py:Wide"}).model == {"name": "my_model.py:Wide"}
    other = load_experiment("digits", {"model.width": 8, "model.name": "my_model.py:Wide"})
    assert other.model == {"name": "my_model.py:Wide", "width": 8}
    same = load_experiment("digits", {"model.name": "mlp", "model.hidden": [9]})
    assert same.model == {**load_experiment("digits").model, "hidden": [9]}
