"""Five kinds of device through which clean recordings are heard: simulations, with one fixed channel each.

    A  near-field   as recorded
    B  far-field    a room of RT60 0.4 to 0.6 s by the image-source method (Allen and Berkley 1979)
    C  small-mic    300 to 3400 Hz, and the resonance of a small microphone
    D  noisy        real noise or babble of training speakers at 0 to 10 dB SNR
    E  overdriven   a gain of ±12 dB, clipped, coded by 8-bit mu-law (ITU-T G.711's curve)

A channel is a pure function of (device, seed, clip): rooms and filters are drawn from the seed, what varies
from clip to clip (talker's place, noise, gain) from the seed, the device and the clip's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..dealing.pool import TRAIN, VALIDATION, generator
from .audio import LENGTH, RATE


class Device(NamedTuple):
    name: str
    kind: str
    share: float  # of the speakers


DEVICES = (
    Device("A", "near-field", 0.50),
    Device("B", "far-field", 0.25),
    Device("C", "small-mic", 0.12),
    Device("D", "noisy", 0.08),
    Device("E", "overdriven", 0.05),
)
PLACES = 4  # where the talker may stand in the room of device B
RT60 = (0.40, 0.47)  # s, by Sabine's formula; what the simulated room has is 0.03 to 0.12 s longer (measured)
BAND = (300.0, 3400.0)  # Hz
SNR = (0.0, 10.0)  # dB
GAIN = (-12.0, 12.0)  # dB
MU = 255.0
VOICES = 5  # talkers in a babble
FROM_TRAINING = 0.8  # share of each noise recording, from its start, that training clips hear


@dataclass
class Channels:
    """The channels of a seed. `noise`: recordings of background noise by name; `babble`: one-second clips of
    training speakers; both float32 in -1…1. Without either, the other is what device D hears.
    """

    seed: int
    noise: dict[str, np.ndarray] = field(default_factory=dict)
    babble: list[np.ndarray] = field(default_factory=list)

    def __call__(self, device: int, clip: np.ndarray, name: str, part: int) -> np.ndarray:
        """`clip` float32 [16000] as the device hears it; `part` says which noise it may hear."""
        rng = generator(self.seed, f"channel {DEVICES[device].name} {name}")
        kind = DEVICES[device].kind
        if kind == "far-field":
            return far_field(clip, self.room[int(rng.integers(PLACES))])
        if kind == "small-mic":
            return small_microphone(clip, self.resonance)
        if kind == "noisy":
            return mix(clip, self.interference(rng, part), rng.uniform(*SNR))
        if kind == "overdriven":
            return overdrive(clip, rng.uniform(*GAIN))
        return clip

    @cached_property
    def room(self) -> list[np.ndarray]:
        """Responses of one room from PLACES places of the talker to the one microphone, each of energy 1."""
        import pyroomacoustics

        pyroomacoustics.constants.set("num_threads", 1)  # sums in one order, so the same bits everywhere
        rng = generator(self.seed, "room")
        size = rng.uniform((4.5, 3.8, 2.4), (6.0, 4.8, 2.8))
        absorption, order = pyroomacoustics.inverse_sabine(rng.uniform(*RT60), size)
        room = pyroomacoustics.ShoeBox(size, fs=RATE, materials=pyroomacoustics.Material(absorption), max_order=order)
        room.add_microphone(np.array([0.5 * size[0], 0.4, 1.0]))  # on a shelf by the wall
        for place in range(PLACES):  # 1.5 to 3.5 m away, standing or sitting
            x = (0.15 + 0.7 * (place + rng.uniform()) / PLACES) * size[0]
            room.add_source(np.array([x, rng.uniform(0.6, 0.85) * size[1], rng.uniform(1.1, 1.7)]))
        room.compute_rir()
        responses = [np.asarray(response, dtype=np.float64) for response in room.rir[0]]
        # without the way from talker to microphone, which would only shift the word
        responses = [response[max(int(np.argmax(np.abs(response))) - 16, 0) :] for response in responses]
        return [response / np.sqrt((response**2).sum()) for response in responses]

    @cached_property
    def resonance(self) -> np.ndarray:
        """Second-order sections of device C: Butterworth band-pass, and a peak of 6 dB near 2 kHz."""
        from scipy.signal import butter

        centre = generator(self.seed, "microphone").uniform(1600.0, 2400.0)
        return np.vstack([butter(4, BAND, "bandpass", fs=RATE, output="sos"), peak(centre, 1.5, 6.0)])

    def interference(self, rng: np.random.Generator, part: int) -> np.ndarray:
        """A second of real noise or of babble, half of the clips each."""
        if self.noise and (not self.babble or rng.uniform() < 0.5):
            return self.crop(rng, part, list(self.noise)[int(rng.integers(len(self.noise)))])
        if not self.babble:
            raise ValueError("device D has neither noise nor babble to hear")
        total = np.zeros(LENGTH)
        for voice in rng.integers(len(self.babble), size=VOICES):
            clip = self.babble[voice]
            total += np.roll(clip, rng.integers(LENGTH)) / np.sqrt(power(clip))
        return total.astype(np.float32)

    def crop(self, rng: np.random.Generator, part: int, name: str) -> np.ndarray:
        """A second from the stretch of a noise recording that the part may hear: no part hears another's."""
        recording = self.noise[name]
        first, last = stretch(len(recording), part)
        piece = recording[first:last]
        if len(piece) < LENGTH:  # a short recording goes round
            piece = np.tile(piece, -(-LENGTH // max(len(piece), 1)))
        start = int(rng.integers(len(piece) - LENGTH + 1))
        return piece[start : start + LENGTH]


def stretch(length: int, part: int) -> tuple[int, int]:
    """First and last sample of a noise recording that a part hears: 80 % train, then validation and test."""
    train, half = int(FROM_TRAINING * length), int((1 + FROM_TRAINING) / 2 * length)
    return {TRAIN: (0, train), VALIDATION: (train, half)}.get(part, (half, length))


def power(samples: np.ndarray) -> float:
    """Mean square, never 0."""
    return max(float(np.mean(samples.astype(np.float64) ** 2)), 1e-12)


def far_field(clip: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The clip in a room, cut to its own length."""
    from scipy.signal import fftconvolve

    return fftconvolve(clip, response)[: len(clip)].astype(np.float32)


def peak(centre: float, quality: float, decibels: float) -> np.ndarray:
    """A second-order section [1, 6] that lifts `centre` Hz: Bristow-Johnson's cookbook's peaking filter."""
    gain, angle = 10 ** (decibels / 40), 2 * np.pi * centre / RATE
    width = np.sin(angle) / (2 * quality)
    b = np.array([1 + width * gain, -2 * np.cos(angle), 1 - width * gain])
    a = np.array([1 + width / gain, -2 * np.cos(angle), 1 - width / gain])
    return np.concatenate([b, a])[None] / a[0]


def small_microphone(clip: np.ndarray, sections: np.ndarray) -> np.ndarray:
    from scipy.signal import sosfilt

    return np.asarray(sosfilt(sections, clip)).astype(np.float32)


def mix(clip: np.ndarray, interference: np.ndarray, snr: float) -> np.ndarray:
    """Both together, the clip's mean power `snr` dB above the interference's."""
    scale = np.sqrt(power(clip) / power(interference)) * 10 ** (-snr / 20)
    return (clip + scale * interference).astype(np.float32)


def overdrive(clip: np.ndarray, decibels: float) -> np.ndarray:
    """Amplified, clipped at full scale, and through 8-bit mu-law."""
    loud = np.clip(clip.astype(np.float64) * 10 ** (decibels / 20), -1.0, 1.0)
    coded = np.round((np.sign(loud) * np.log1p(MU * np.abs(loud)) / np.log1p(MU) + 1) / 2 * MU)
    level = 2 * coded / MU - 1
    return (np.sign(level) * np.expm1(np.abs(level) * np.log1p(MU)) / MU).astype(np.float32)
