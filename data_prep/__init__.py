"""Data sets, and how they are dealt to clients: one file a data set, one line here."""

from __future__ import annotations

# name: (module, what it is in one line). Listed by `selffl prepare --help`, so nothing is imported here.
DATASETS = {
    "digits": ("data_prep.digits", "1,797 handwritten digits that scikit-learn carries; no download."),
    "gaussian": ("data_prep.gaussian", "Two-level Gaussian with known centre, clients and variances."),
    "sent140": ("data_prep.sent140", "Sentiment140 tweets, positive or negative, by user or dealt out."),
}
