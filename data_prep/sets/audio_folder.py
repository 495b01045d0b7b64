"""Any folder (or archive) of spoken words, LABEL/SPEAKER_….wav, as a wake-word task.

With a clients.csv (file,client,group) beside the words, clients are the real devices it names and recordings
stay as they are; without one, five devices are simulated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..dataset import DataSet, Stage
from ..dealing.pool import Pool
from ..speech import wakeword

SOURCE = (
    "LABEL/SPEAKER_….wav (or .flac, …) in a folder, tar or zip; with clients.csv (file,client,group) where "
    "devices are real"
)
EXAMPLES = (
    "selffl prepare audio --source FOLDER --wake-word computer",
    "selffl prepare audio --source words.zip --wake-word computer --split 60/10/30 --max-bad 0.05",
    "selffl train wakeword-own --data data/audio-natural-s0-HASH",
    "selffl report wakeword-own",
)
CITATION = "brought by the person who prepared it; cite its own source"

Options = wakeword.WakeWordOptions


class AudioFolder(DataSet):
    """Your own spoken words, on your devices or simulated ones."""

    options_type = Options
    source = SOURCE
    examples = EXAMPLES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """See data_prep/speech/wakeword.py."""
        assert source is not None
        return wakeword.load(options, source, stage, CITATION)

    def preview(self, options: Any, source: Path, stage: Stage) -> None:
        wakeword.preview(options, source, stage)
