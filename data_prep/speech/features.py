"""Log-mel energies: 64 bins, windows of 25 ms every 10 ms, as speech recognisers take them.

The mel scale is 1127 ln(1 + f/700) with triangles in mel between 20 Hz and half the rate, the window a Hann
window over 400 samples in an FFT of 512, no pre-emphasis and no dither: Kaldi's filter bank with these
options (Povey et al., "The Kaldi Speech Recognition Toolkit", 2011), which the tests compare it with.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from .audio import RATE

if TYPE_CHECKING:
    from torch import Tensor

BINS = 64
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms
LOWEST = 20.0  # Hz
FLOOR = 1e-7  # energy; just above what the quantisation noise of 16 bits puts into a bin


def samples_of(frames: int) -> int:
    """Samples that `frames` windows cover."""
    return WINDOW + (frames - 1) * HOP


def mel(hertz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(hertz / 700.0)


@cache
def filters() -> np.ndarray:
    """Triangles [FFT/2 + 1, BINS] in mel, of height 1; float64."""
    edges = np.linspace(mel(np.array(LOWEST)), mel(np.array(RATE / 2)), BINS + 2)
    points = mel(np.arange(FFT // 2 + 1) * RATE / FFT)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    return np.clip(np.minimum((points - left) / (centre - left), (right - points) / (right - centre)), 0, None)


@cache
def _constants() -> tuple[Tensor, Tensor]:
    """The window, at the start of the FFT (torch would centre it: the same power spectrum), and filters."""
    import torch

    window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64).float()
    return torch.nn.functional.pad(window, (0, FFT - WINDOW)), torch.from_numpy(filters()).float()


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Natural logarithms of the energies: samples float32 [B, n] in -1…1 → float32 [B, frames, BINS].

    There are 1 + (n - 400) // 160 frames, all inside the samples: 98 of a second.
    """
    import torch

    window, triangles = _constants()
    signal = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
    signal = torch.nn.functional.pad(signal, (0, FFT - WINDOW))
    spectrum = torch.stft(signal, FFT, HOP, window=window, center=False, return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    # clip by clip: a product's last bits depend on its shape, and a clip's must not depend on its neighbours
    energies = torch.stack([clip.T @ triangles for clip in power])
    return energies.clamp_min(FLOOR).log().numpy()
