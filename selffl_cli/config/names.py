"""Names of folders, where whoever needs them can import them at no cost."""

from __future__ import annotations

TRIALS = "tuning"  # the folder below an experiment's runs that holds the trials of its tuning
