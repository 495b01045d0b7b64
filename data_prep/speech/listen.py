"""What the simulated devices hear, for a person: a few WAVs and one picture."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from selffl_cli.errors import SelfflError

from ..dealing.pool import TEST
from .audio import LENGTH, RATE, loudest
from .channels import DEVICES, Channels
from .features import FFT, HOP, log_mel, samples_of
from .render import Stage

CLIPS = 3  # that every device renders


def listen(folder: Path, clips: dict[str, np.ndarray], channels: Channels, frames: int, stage: Stage) -> None:
    """Write each clip (float32 [16000], by its key) as every device hears it, and draw the first."""
    import soundfile

    stage(f"writing what the devices hear to {folder}")
    made: dict[str, io.BytesIO] = {}  # a few hundred kilobytes
    for key, clip in clips.items():
        for number, device in enumerate(DEVICES):
            heard = channels(number, clip, key, TEST)
            stream = made[f"{key.replace('/', '_')}-{device.name}-{device.kind}.wav"] = io.BytesIO()
            soundfile.write(stream, np.clip(heard, -1, 1), RATE, format="WAV", subtype="PCM_16")
    key, clip = next(iter(clips.items()))
    _draw(made.setdefault("devices.png", io.BytesIO()), key, clip, channels, frames)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    begun: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, stream in made.items():
            begun.append(folder / name)
            begun[-1].write_bytes(stream.getvalue())
    except OSError as error:
        with suppress(OSError):
            for path in begun:
                path.unlink()
            for path in new:
                path.rmdir()
        raise SelfflError(f"--listen {folder}: cannot be written ({error.strerror or error})") from None


def _draw(target: IO[bytes], key: str, clip: np.ndarray, channels: Channels, frames: int) -> None:
    """Two rows: the spectrogram of the whole second, and the log-mel energies that the network is given."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    heard = [channels(number, clip, key, TEST) for number in range(len(DEVICES))]
    start, length = loudest(clip, samples_of(frames)), samples_of(frames)
    spectra = [spectrogram(samples) for samples in heard]
    energies = log_mel(np.stack([samples[start : start + length] for samples in heard]))
    top, low, high = max(s.max() for s in spectra), energies.min(), energies.max()
    style: Any = {"font.size": 8, "figure.constrained_layout.use": True, "axes.titlesize": 8}
    with plt.rc_context(style):
        figure, axes = plt.subplots(2, len(DEVICES), figsize=(7.16, 3.4), sharex="row", sharey="row")
        for column, device in enumerate(DEVICES):
            upper = axes[0, column].imshow(
                spectra[column].T, origin="lower", aspect="auto", cmap="cividis", vmin=top - 80, vmax=top,
                extent=(0, LENGTH / RATE, 0, RATE / 2000), interpolation="nearest",
            )  # fmt: skip
            first = start / RATE
            lower = axes[1, column].imshow(
                energies[column].T, origin="lower", aspect="auto", cmap="cividis", vmin=low, vmax=high,
                extent=(first, first + frames * HOP / RATE, 0, energies.shape[2]), interpolation="nearest",
            )  # fmt: skip
            axes[0, column].set_title(f"{device.name}: {device.kind}")
            axes[1, column].set_xlabel("time (s)")
        axes[0, 0].set_ylabel("frequency (kHz)")
        axes[1, 0].set_ylabel("mel bin")
        figure.colorbar(upper, ax=axes[0], label="power (dB)", pad=0.01)
        figure.colorbar(lower, ax=axes[1], label="log energy", pad=0.01)
        figure.suptitle(f"{key} through the five devices: all of it, and its {frames} frames", fontsize=8)
        figure.savefig(target, dpi=200, metadata={"Software": None})
        plt.close(figure)


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Power in dB of windows of 32 ms every 10 ms: [frames, 257]."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, FFT)[::HOP] * np.hanning(FFT)
    return 10 * np.log10(np.abs(np.fft.rfft(windows, axis=1)) ** 2 + 1e-10)
