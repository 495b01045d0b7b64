"""Time and memory of `selffl prepare sent140` at the size of the full Sentiment140.

    python benchmarks/prepare_sent140.py [FOLDER]

The file is SYNTHETIC: made here, with the official layout, member name and number of rows (1.6 million),
about as many users (660,000) and tweets a user as LEAF reports (mean 2.42, standard deviation 4.71), and word
frequencies and tweet lengths like real ones, but words of random letters. It measures speed and memory and
says nothing about accuracy. Prints a line a command: wall time, and the peak of resident memory of its
process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

ROWS = 1_600_000
TYPES = 500_000  # distinct words before lower-casing and punctuation
MEMBER = "training.1600000.processed.noemoticon.csv"
COMMANDS: tuple[list[str], ...] = (
    [],
    ["--clients", "772", "--partition", "dirichlet:alpha=2,spread=0.6"],
)


def tweets_a_user(rng: np.random.Generator) -> np.ndarray:
    """Sizes that sum to ROWS, from n^-2 exp(-n/40): mean 2.42, standard deviation 4.5, 0.46 % above 30."""
    n = np.arange(1.0, 600.0)
    share = n**-2.0 * np.exp(-n / 40)
    sizes = rng.choice(n.astype(int), 1_000_000, p=share / share.sum())
    users = int(np.searchsorted(np.cumsum(sizes), ROWS)) + 1
    sizes = sizes[:users]
    sizes[-1] -= sizes.sum() - ROWS
    return sizes


def words(rng: np.random.Generator) -> np.ndarray:
    """Distinct words, shorter ones more frequent."""
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    lengths = np.clip(1 + np.log(np.arange(1, TYPES + 1)) / 2 + rng.normal(0, 1, TYPES), 1, 12).astype(int)
    made = dict.fromkeys("".join(rng.choice(letters, n)) for n in lengths)
    return np.array(list(made), object)


def write(path: Path, seed: int = 0) -> str:
    """The zip; returns its statistics."""
    rng = np.random.default_rng(seed)
    sizes = tweets_a_user(rng)
    users = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    vocabulary = words(rng)
    share = 1 / (np.arange(len(vocabulary)) + 2.7) ** 1.07
    cumulative = np.cumsum(share / share.sum())
    lengths = np.clip(rng.normal(13, 7, ROWS), 1, 33).astype(int)
    ends = np.array(["", "", ".", "!", "...", " http://t.co/x1", " &quot;ok&quot;", "?"], object)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(MEMBER, "w", force_zip64=True) as member,
    ):
        for begin in range(0, ROWS, 20_000):
            rows = range(begin, min(begin + 20_000, ROWS))
            drawn = vocabulary[np.searchsorted(cumulative, rng.random(int(lengths[rows].sum())))]
            end, at, lines = ends[rng.integers(len(ends), size=len(rows))], 0, []
            for i, row in enumerate(rows):
                text = " ".join(drawn[at : at + lengths[row]]) + end[i]
                at += lengths[row]
                day = "Mon Apr 06" if 2 * row < ROWS else "Tue Jun 16"
                polarity = 0 if 2 * row < ROWS else 4
                lines.append(
                    f'"{polarity}","{1467810369 + row}","{day} 22:19:45 PDT 2009","NO_QUERY",'
                    f'"user_{users[row]}","{text} "\n'
                )
            member.write("".join(lines).encode("latin-1"))
    return (
        f"synthetic: {ROWS:,} tweets by {len(sizes):,} users, mean {sizes.mean():.2f}, standard deviation "
        f"{sizes.std():.2f}, {(sizes > 30).sum():,} users with more than 30, "
        f"{path.stat().st_size / 1e6:.0f} MB"
    )


def measure(source: Path, out: Path, options: list[str]) -> None:
    words = ["-m", "selffl_cli", "prepare", "sent140", "--source", str(source), "--data", str(out)]
    command = [sys.executable, *words, *options]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    shown = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = status
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30
    print(f"prepare sent140 {' '.join(options) or '(natural)'}: {seconds:.1f} s, peak {peak:.2f} GiB resident")
    print(
        "\n".join(f"  {line}" for line in shown.splitlines() if "│ clients" in line or "│ samples" in line),
        flush=True,
    )


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        source = Path(folder) / "trainingandtestdata.zip"
        print(write(source), flush=True)
        for options in COMMANDS:
            measure(source, Path(folder) / "out", options)


if __name__ == "__main__":
    main()
