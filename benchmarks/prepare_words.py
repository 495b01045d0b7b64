"""Time and memory of `selffl prepare speech-commands` at the size of the full set, 105,829 clips.

    python benchmarks/prepare_words.py SOURCE [SHARE]   # an archive of the official layout; 1.0

The folder is MADE here: recordings of SOURCE over again under new names, 35 words and as many speakers and clips a
speaker as the full set has (2,618; 40). It measures speed and memory and says nothing about accuracy. Prints wall time,
the largest peak of resident memory among its processes, and the throughput that the manifest states.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from hashlib import sha1
from pathlib import Path

from data_prep.speech.audio import is_recording, read_bytes, walk

CLIPS, WORDS, SPEAKERS = 105_829, 35, 2_618
POOL = 2_000  # different recordings that are kept at hand


def make(source: Path, target: Path, clips: int) -> None:
    """`clips` files LABEL/SPEAKER_nohash_N beside the background noise of SOURCE."""
    pool: list[tuple[str, bytes]] = []
    for name, stream in walk(source, is_recording):
        noise = "_background_noise_/" in name
        if noise:
            place = target / "_background_noise_" / name.rpartition("/")[2]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(read_bytes(stream))
        elif len(pool) < POOL:
            pool.append((name.rpartition(".")[2], read_bytes(stream)))
    speakers = max(round(SPEAKERS * clips / CLIPS), 50)
    for number in range(clips):
        suffix, data = pool[number % len(pool)]
        speaker = sha1(b"%d" % (number % speakers)).hexdigest()[:8]
        word = "marvin" if number % WORDS == 0 else f"word{number % WORDS}"
        place = target / word / f"{speaker}_nohash_{number // speakers}-{number}.{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def main() -> None:
    share = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    with tempfile.TemporaryDirectory() as place:
        words, out = Path(place) / "words", Path(place) / "data"
        make(Path(sys.argv[1]), words, round(CLIPS * share))
        command = ["-m", "selffl_cli", "prepare", "speech-commands", "--source", str(words), "--data", str(out)]
        begun = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begun
        # of the command or of a worker, whichever was larger: each maps the features, which the peak counts
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        manifest = json.loads(next(out.glob("*/manifest.json")).read_text())
        size = sum(path.stat().st_size for path in out.glob("*/*.safetensors")) / 2**30
    print(f"{round(CLIPS * share):,} clips: {seconds:.0f} s, peak {peak:.2f} GiB resident, shards {size:.2f} GiB")
    print(f"{manifest['samples']}; {manifest['notes']['audio_hours_a_second']} h of audio a second while rendering")


if __name__ == "__main__":
    main()
