"""The simulated devices, by what one would measure of real ones: reverberation, pass-band, SNR, clipping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pyroomacoustics", reason="needs the extra 'audio': pip install 'selffl[audio]'")

from data_prep.dealing.pool import TEST, TRAIN, VALIDATION, generator
from data_prep.speech import channels as ch
from data_prep.speech.audio import LENGTH, RATE

A, B, C, D, E = range(5)


def voice(seed: int, level: float = 0.1) -> np.ndarray:
    """A second of something like speech: noise with syllables."""
    rng = np.random.default_rng(seed)
    shape = np.clip(np.sin(2 * np.pi * 3 * np.arange(LENGTH) / RATE), 0, None)
    return (level * shape * rng.standard_normal(LENGTH)).astype(np.float32)


@pytest.fixture(scope="module")
def channels() -> ch.Channels:
    noise = {"hum": 0.02 * np.random.default_rng(5).standard_normal(10 * RATE).astype(np.float32)}
    return ch.Channels(3, noise, [voice(i) for i in range(10, 20)])


def decay(response: np.ndarray) -> float:
    """RT60 from the energy decay curve between -5 and -25 dB (Schroeder 1965; T20 of ISO 3382)."""
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0] + 1e-12)
    inside = np.flatnonzero((level <= -5) & (level >= -25))
    slope = np.polyfit(inside / RATE, level[inside], 1)[0]
    return -60 / slope


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_far_field_reverberates_for_0_4_to_0_6_s(seed: int) -> None:
    places = ch.Channels(seed).room
    assert len(places) == ch.PLACES
    for response in places:
        assert 0.4 <= decay(response) <= 0.6
        assert np.argmax(np.abs(response)) < 0.005 * RATE  # the word is not shifted
        assert (response**2).sum() == pytest.approx(1)
    assert not np.array_equal(places[0][:2000], places[1][:2000])


def test_a_room_is_the_same_every_time() -> None:
    for one, other in zip(ch.Channels(4).room, ch.Channels(4).room, strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(ch.Channels(4).room[0][:1000], ch.Channels(5).room[0][:1000])


@pytest.mark.parametrize("seed", [0, 7])
def test_small_microphone_passes_300_to_3400_hz(seed: int) -> None:
    impulse = np.zeros(RATE, np.float32)
    impulse[0] = 1
    channels = ch.Channels(seed)
    response = 20 * np.log10(np.abs(np.fft.rfft(channels(C, impulse, "x", TRAIN))) + 1e-9)  # one bin a hertz
    assert (response[500:3000] > -1).all() and (response[500:3000] < 7).all()
    assert 5 < response[1500:2500].max() < 7  # the resonance
    assert np.allclose([response[300], response[3400]], -3, atol=2.5)
    assert (response[:140] < -24).all() and (response[6000:] < -24).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), snr=st.floats(-5, 20))
def test_mix_has_the_snr_asked_for(seed: int, snr: float) -> None:
    clip, noise = voice(seed), voice(seed + 1, 0.7)
    added = ch.mix(clip, noise, snr).astype(np.float64) - clip
    assert 10 * np.log10(ch.power(clip) / ch.power(added)) == pytest.approx(snr, abs=0.05)


def test_noisy_device_is_between_0_and_10_db(channels: ch.Channels) -> None:
    clip = voice(1)
    heard = [channels(D, clip, f"clip {i}", TRAIN).astype(np.float64) - clip for i in range(60)]
    snr = np.array([10 * np.log10(ch.power(clip) / ch.power(added)) for added in heard])
    assert (snr > -0.1).all() and (snr < 10.1).all()
    assert snr.min() < 2 and snr.max() > 8 and abs(snr.mean() - 5) < 1.5
    # half of them real noise, which is white here; babble has pauses
    steady = np.array([added[:LENGTH].reshape(50, -1).std(axis=1).min() / added.std() for added in heard]) > 0.8
    assert 15 < steady.sum() < 45


def test_parts_hear_different_stretches_of_a_noise() -> None:
    ramp = np.arange(100 * RATE, dtype=np.float32)
    channels = ch.Channels(0, {"ramp": ramp}, [])
    heard = {
        part: [channels.crop(generator(0, str(i)), part, "ramp") for i in range(50)]
        for part in (TRAIN, VALIDATION, TEST)
    }
    low = {part: min(piece.min() for piece in pieces) for part, pieces in heard.items()}
    high = {part: max(piece.max() for piece in pieces) for part, pieces in heard.items()}
    assert high[TRAIN] < low[VALIDATION] <= high[VALIDATION] < low[TEST]
    assert all(piece.shape == (LENGTH,) for pieces in heard.values() for piece in pieces)


def test_a_short_noise_goes_round() -> None:
    channels = ch.Channels(0, {"click": np.ones(2000, np.float32)}, [])
    assert channels.crop(generator(0, "x"), TEST, "click").shape == (LENGTH,)


@settings(max_examples=25, deadline=None)
@given(decibels=st.floats(-12, 12), seed=st.integers(0, 100))
def test_overdrive_clips_and_codes(decibels: float, seed: int) -> None:
    clip = voice(seed, 0.3)
    heard = ch.overdrive(clip, decibels)
    exact = np.clip(clip * 10 ** (decibels / 20), -1, 1)
    assert np.abs(heard).max() <= 1 + 1e-6
    assert len(np.unique(heard)) <= 256
    # mu-law: steps in proportion to the level, 255 of them over ln(256)/255 each
    assert (np.abs(heard - exact) <= 0.5 * np.log(256) / 127.5 * (np.abs(exact) + 1 / 255) * 1.05).all()


def test_gain_is_within_12_db_and_reaches_clipping(channels: ch.Channels) -> None:
    quiet = voice(2, 0.001)
    quiet[0] = 0.05  # one sample loud enough that coding does not matter
    gains = np.array([20 * np.log10(channels(E, quiet, f"{i}", TRAIN)[0] / 0.05) for i in range(80)])
    assert gains.min() < -9 and gains.max() > 9 and np.abs(gains).max() < 12.5
    loud = [channels(E, voice(3, 0.5), f"{i}", TRAIN) for i in range(20)]
    assert max((np.abs(heard) > 0.99).mean() for heard in loud) > 0.02


@pytest.mark.parametrize("device", range(5))
def test_a_channel_is_a_function_of_device_seed_and_clip(channels: ch.Channels, device: int) -> None:
    clip = voice(6)
    again = ch.Channels(3, channels.noise, channels.babble)
    for name in ("happy/a_1", "happy/a_2", "happy/a_1"):  # what was heard before changes nothing
        heard = channels(device, clip, name, TEST)
        assert heard.dtype == np.float32 and heard.shape == (LENGTH,) and np.isfinite(heard).all()
        assert np.array_equal(heard, again(device, clip, name, TEST))
    if device == A:
        assert np.array_equal(heard, clip)
    else:
        assert not np.array_equal(heard, clip)
    if device not in (A, C):
        others = [channels(device, clip, f"bed/b_{i}", TEST) for i in range(5)]
        assert any(not np.array_equal(heard, other) for other in others)


def test_shares_are_those_of_the_paper_s_stand_in() -> None:
    assert [device.share for device in ch.DEVICES] == [0.5, 0.25, 0.12, 0.08, 0.05]
    assert "".join(device.name for device in ch.DEVICES) == "ABCDE"
