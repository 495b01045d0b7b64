"""What a model cannot do is said in one line before anything starts: state, chance, other data, another start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from problems import class_shards

from selffl_cli import models
from selffl_cli.cli.main import main
from selffl_cli.engine.trial import try_model
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.shards import Shards

MODEL = """
import torch
from torch import nn
from selffl import Model, ModelOptions

class Own(Model):
    options_type = ModelOptions
    head = ("output.weight", "output.bias")

    def __init__(self, inputs, classes):
        super().__init__()
        self.between = {between}
        self.output = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.output(self.between(x.flatten(1)))

    @classmethod
    def build(cls, options, manifest, shared):
        return cls(manifest.input.shape[0], len(manifest.classes))
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return class_shards(tmp_path_factory.mktemp("trial") / "blobs")


def tried(shards: Shards, name: str, start: dict[str, torch.Tensor] | None = None) -> None:
    try_model(models.resolve({"name": name})[0], shards, start, "float32")


@pytest.mark.parametrize(
    ("between", "says"),
    [
        ("nn.Identity()", None),
        ("nn.Dropout(0.0)", None),
        ("nn.GroupNorm(1, inputs)", None),
        ("nn.Dropout(0.5)", "draws at random while it trains, as dropout does.*set its dropout to 0"),
        ("nn.BatchNorm1d(inputs)", "normalise by GroupNorm"),
        ("nn.BatchNorm1d(inputs, track_running_stats=False)", "BatchNorm1d.*normalise by GroupNorm"),
        (
            "nn.Linear(inputs + 1, inputs)",
            r"cannot take blobs \(classification, samples float64 .*\): RuntimeError",
        ),
    ],
)
def test_models_of_ones_own(between: str, says: str | None, shards: Shards, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODEL.format(between=between))
    name = f"{tmp_path / 'own.py'}:Own"
    if says is None:
        tried(shards, name)
        return
    with pytest.raises((SelfflError, UsageError), match=says) as error:
        tried(shards, name)
    assert "\n" not in str(error.value)


def test_a_model_for_other_data_names_those_that_can(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and nothing is written, though five seeds were asked for."""
    monkeypatch.chdir(tmp_path)
    words = ["train", "digits", "--data", str(shards.path), "--set", "model.name=lstm", "-m", "fedavg"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.count("error:") == 1 and said.rstrip().count("\n") == 0
    assert "hold no word vectors" in said and "models that can: softmax, mlp" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda saved: saved.pop("output.bias"),
            "parameter output.bias of this model has .* the saved one none",
        ),
        (lambda saved: saved.update({"more.weight": torch.zeros(2)}), "has no parameter more.weight"),
        (lambda saved: saved.update({"output.bias": torch.zeros(9)}), "parameter output.bias .* the saved one"),
        (lambda saved: saved.update({"output.bias": saved["output.bias"].double()}), "is saved as float64"),
    ],
)
def test_a_start_is_this_model_and_no_part_of_another(change: object, says: str, shards: Shards) -> None:
    module = models.build(models.resolve({"name": "mlp"})[0], shards, 0)
    saved = {name: value.detach().clone() for name, value in module.named_parameters()}
    tried(shards, "mlp", dict(saved))
    change(saved)  # type: ignore[operator]
    with pytest.raises(SelfflError, match=says):
        tried(shards, "mlp", saved)
