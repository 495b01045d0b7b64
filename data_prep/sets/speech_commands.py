"""Google's Speech Commands as a wake-word task on five simulated devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from ..dataset import DataSet, Stage
from ..dealing.pool import Pool
from ..reading.commands_hub import HUB, from_hub
from ..speech import wakeword

SOURCE_URL = "https://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
SOURCE_SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
SOURCE = f"the official archive (v0.01 or v0.02; tar.gz, zip or unpacked), an address of it, or hub ({HUB})"
NAMED_SOURCES = {"hub": from_hub}
EXAMPLES = (
    "selffl prepare speech-commands",
    "selffl prepare speech-commands --source speech_commands_v0.02.tar.gz --wake-word sheila",
    "selffl prepare speech-commands --source FOLDER --wake-word happy --split 60/10/30 --listen heard",
)
CITATION = (
    "P. Warden: Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, arXiv:1804.03209, "
    "2018; CC BY 4.0. Heard through simulated devices"
)


class Options(wakeword.WakeWordOptions):
    wake_word: str = Field("marvin", description="The word that wakes the device; all others are negatives.")


class SpeechCommands(DataSet):
    """Spoken words as wake words, on five devices."""

    options_type = Options
    source = SOURCE
    source_url = SOURCE_URL
    source_sha256 = SOURCE_SHA256
    named_sources = NAMED_SOURCES
    examples = EXAMPLES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """See data_prep/speech/wakeword.py."""
        assert source is not None
        return wakeword.load(options, source, stage, CITATION)

    def preview(self, options: Any, source: Path, stage: Stage) -> None:
        wakeword.preview(options, source, stage)
