"""Data sets, and how they are dealt to clients: one file a data set, one line here."""

from __future__ import annotations

# name: (module, what it is in one line). Listed by `selffl prepare --help`, so nothing is imported here.
DATASETS = {
    "digits": ("data_prep.sets.digits", "1,797 handwritten digits that scikit-learn carries; no download."),
    "gaussian": ("data_prep.sets.gaussian", "Two-level Gaussian with known centre, clients and variances."),
    "mnist": ("data_prep.sets.mnist", "MNIST by its 836 writers, or two digits a client as FedProx dealt it."),
    "cifar10": ("data_prep.sets.cifar10", "CIFAR-10, 60,000 colour images in ten classes, dealt out by label skew."),
    "femnist": ("data_prep.sets.femnist", "FEMNIST, 814,000 handwritten characters by some 3,600 writers."),
    "synthetic": ("data_prep.sets.synthetic", "FedProx's Synthetic(alpha, beta); drawn, no download."),
    "speech-commands": ("data_prep.sets.speech_commands", "Spoken words as wake words, on five devices."),
    "audio": ("data_prep.sets.audio_folder", "Your own spoken words, on your devices or simulated ones."),
    "snips": ("data_prep.sets.snips", "SNIPS, 14,484 voice commands in seven intents, for a language model."),
    "snips-tags": ("data_prep.sets.snips_tags", "SNIPS with slot tags, for a tagger; a canary can be planted."),
    "table": ("data_prep.sets.table", "Your own table: rows with a client, a target and features or a text."),
    "images": ("data_prep.sets.images", "Your own pictures, as folders CLIENT/LABEL or by a table."),
    "leaf": ("data_prep.sets.leaf", "Files in LEAF's format: pictures, texts or vectors by user."),
    "tags": ("data_prep.sets.tags", "Your own tagged texts, for a tagger; a canary can be planted."),
    "wisdm": ("data_prep.sets.wisdm", "WISDM, six activities of 36 people by the accelerometer of a phone."),
    "speeches": ("data_prep.sets.speeches", "State of the Union addresses by president, 1790 to 2021."),
    "shakespeare": ("data_prep.sets.shakespeare", "Shakespeare's plays, by role, for a language model."),
    "sent140": ("data_prep.sets.sent140", "Sentiment140 tweets, positive or negative, by user or dealt out."),
}
