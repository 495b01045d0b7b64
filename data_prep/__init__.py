"""Data sets, and how they are dealt to clients: one file a data set, one line here, or a file of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selffl_cli.registry import Registry

if TYPE_CHECKING:
    from .dataset import DataSet

# name: (class, what it is in one line). Listed by `selffl prepare --help`, so nothing is imported here.
_OWN = {
    "digits": ("digits:Digits", "1,797 handwritten digits that scikit-learn carries; no download."),
    "gaussian": ("gaussian:Gaussian", "Two-level Gaussian with known centre, clients and variances."),
    "mnist": ("mnist:MNIST", "MNIST by its 836 writers, or two digits a client as FedProx dealt it."),
    "cifar10": ("cifar10:CIFAR10", "CIFAR-10, 60,000 colour images in ten classes, dealt out by label skew."),
    "femnist": ("femnist:FEMNIST", "FEMNIST, 814,000 handwritten characters by some 3,600 writers."),
    "synthetic": ("synthetic:Synthetic", "FedProx's Synthetic(alpha, beta); drawn, no download."),
    "speech-commands": ("speech_commands:SpeechCommands", "Spoken words as wake words, on five devices."),
    "audio": ("audio_folder:AudioFolder", "Your own spoken words, on your devices or simulated ones."),
    "snips": ("snips:SNIPS", "SNIPS, 14,484 voice commands in seven intents, for a language model."),
    "snips-tags": ("snips_tags:SNIPSTags", "SNIPS with slot tags, for a tagger; a canary can be planted."),
    "table": ("table:Table", "Your own table: rows with a client, a target and features or a text."),
    "images": ("images:Images", "Your own pictures, as folders CLIENT/LABEL or by a table."),
    "leaf": ("leaf:Leaf", "Files in LEAF's format: pictures, texts or vectors by user."),
    "tags": ("tags:Tags", "Your own tagged texts, for a tagger; a canary can be planted."),
    "wisdm": ("wisdm:WISDM", "WISDM, six activities of 36 people by the accelerometer of a phone."),
    "speeches": ("speeches:Speeches", "State of the Union addresses by president, 1790 to 2021."),
    "shakespeare": ("shakespeare:Shakespeare", "Shakespeare's plays, by role, for a language model."),
    "sent140": ("sent140:Sent140", "Sentiment140 tweets, positive or negative, by user or dealt out."),
}
ABOUT = {name: about for name, (_, about) in _OWN.items()}
DATASETS: Registry[DataSet] = Registry(
    "data set",
    "data_prep.dataset:DataSet",
    {name: f"data_prep.sets.{place}" for name, (place, _) in _OWN.items()},
    group="selffl.datasets",
)
