"""Recordings to features to shards: filter bank against an oracle, speakers, devices, archives, bad input."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

soundfile = pytest.importorskip("soundfile", reason="needs the extra 'audio': pip install 'selffl[audio]'")

from data_prep.dealing.pool import TEST, TRAIN, VALIDATION  # noqa: E402
from data_prep.prepare import prepare, read_options  # noqa: E402
from data_prep.reading.commands_hub import write_zip  # noqa: E402
from data_prep.speech import audio, corpus, features, render, wakeword  # noqa: E402
from selffl_cli.errors import SelfflError, UsageError  # noqa: E402
from selffl_cli.shards import Shards  # noqa: E402

WORDS = {"bed": 300.0, "cat": 900.0, "happy": 1800.0}


def tone(pitch: float, seed: int, seconds: float = 1.0, rate: int = audio.RATE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    sound = 0.3 * np.sin(2 * np.pi * pitch * t) * np.exp(-(((t - 0.5) / 0.2) ** 2))
    return np.clip(sound + 0.01 * rng.standard_normal(len(t)), -1, 1)


def encoded(samples: np.ndarray, kind: str = "wav", rate: int = audio.RATE) -> bytes:
    stream = io.BytesIO()
    whole = np.round(32767 * samples).astype(np.int16)  # so that every format holds the same
    soundfile.write(stream, whole, rate, format=kind.upper(), subtype="PCM_16")
    return stream.getvalue()


def recordings(kind: str = "wav", speakers: int = 40) -> dict[str, bytes]:
    """A small corpus in the official layout: every speaker says every word, and 20 s of noise."""
    files = {
        f"{word}/{hashlib.sha1(b'%d' % s).hexdigest()[:8]}_nohash_0.{kind}": encoded(
            tone(pitch, 100 * s + i, 0.7 + 0.01 * s), kind
        )
        for s in range(speakers)
        for i, (word, pitch) in enumerate(WORDS.items())
    }
    noise = 0.05 * np.random.default_rng(0).standard_normal(20 * audio.RATE)
    return files | {
        f"_background_noise_/tap.{kind}": encoded(noise, kind),
        "README.md": b"words",
        "LICENSE": b"",
    }


def as_folder(files: dict[str, bytes], target: Path) -> Path:
    for name, data in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return target


def as_zip(files: dict[str, bytes], target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target


def as_tar(files: dict[str, bytes], target: Path, top: str = "./") -> Path:
    with tarfile.open(target, "w:gz") as archive:
        for name, data in reversed(files.items()):
            info = tarfile.TarInfo(top + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target


OPTIONS = {"wake_word": "happy", "split": "60/20/20"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Shards]:
    root = tmp_path_factory.mktemp("corpus")
    source = as_folder(recordings(), root / "words")
    return source, Shards.open(prepare("speech-commands", OPTIONS, root / "data", source))


# --- features


def test_log_mel_is_kaldi_s() -> None:
    oracle = pytest.importorskip("kaldi_native_fbank", reason="needs kaldi-native-fbank as the oracle")
    options = oracle.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq, frame.dither, frame.preemph_coeff, frame.window_type = 16000, 0, 0, "hanning"
    frame.remove_dc_offset, frame.snip_edges = False, True
    mel.num_bins, mel.low_freq, options.energy_floor = features.BINS, features.LOWEST, features.FLOOR
    clips = np.stack([tone(p, 3) for p in (200, 1000, 5000)]).astype(np.float32)
    ours = features.log_mel(clips)
    for clip, own in zip(clips, ours, strict=True):
        bank = oracle.OnlineFbank(options)
        bank.accept_waveform(16000, clip.tolist())
        bank.input_finished()
        theirs = np.array([bank.get_frame(i) for i in range(bank.num_frames_ready)])
        assert own.shape == theirs.shape == (98, 64)
        assert np.abs(own - theirs).max() < 1e-3


def test_log_mel_from_its_definition() -> None:
    clip = tone(440, 2).astype(np.float64)
    n, k = np.arange(400), np.arange(257)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 399)
    frame = clip[160 * 40 : 160 * 40 + 400] * window
    power = np.abs((frame * np.exp(-2j * np.pi * np.outer(k, n) / 512)).sum(axis=1)) ** 2
    mels = 1127 * np.log(1 + k * 31.25 / 700)
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), 66)
    expected = [np.log(max(1e-7, (power * np.interp(mels, edges[b : b + 3], [0, 1, 0])).sum())) for b in range(64)]
    assert np.allclose(features.log_mel(clip[None].astype(np.float32))[0, 40], expected, atol=1e-3)


def test_every_filter_hears_something() -> None:
    assert (features.filters().sum(axis=0) > 0.5).all()


def test_silence_is_the_floor() -> None:
    assert np.allclose(features.log_mel(np.zeros((1, 16000), np.float32)), np.log(features.FLOOR))


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, 22), frames=st.integers(16, 76))
def test_the_loudest_window_is_found(start: int, frames: int) -> None:
    length = features.samples_of(frames)
    samples = 1e-4 * np.ones(16000, np.float32)
    samples[160 * start : 160 * start + length] = 0.5
    assert audio.loudest(samples, length) == 160 * start


# --- decoding


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_decode_gives_the_samples(kind: str) -> None:
    samples, rate = audio.decode(encoded(tone(500, 0), kind))
    assert rate == 16000 and samples.dtype == np.float32
    assert np.abs(samples - tone(500, 0)).max() <= 2 / 32768


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_are_resampled(rate: int) -> None:
    samples, found = audio.decode(encoded(tone(1000, 0, rate=rate), "wav", rate))
    assert found == rate and abs(len(samples) - 16000) <= 1
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(np.argmax(spectrum) * 16000 / len(samples) - 1000) < 5


def bad_recordings() -> dict[str, bytes]:
    good = encoded(tone(400, 0))
    return {
        "empty": b"",
        "not audio": b"<html>404</html>" * 100,
        "truncated": good[: len(good) // 2],
        "stereo": encoded(np.stack([tone(400, 0), tone(500, 1)], axis=1)),
        "silent": encoded(np.zeros(16000)),
    }


@pytest.mark.parametrize("reason", ["empty", "not audio", "truncated", "stereo", "silent"])
def test_what_cannot_be_used_says_why(reason: str) -> None:
    with pytest.raises(audio.Unusable, match=reason):
        audio.decode(bad_recordings()[reason])


@pytest.mark.parametrize("kind", ["wav", "flac"])
@pytest.mark.parametrize("cut", [1, 10, 43, 44, 1000, 20000])
def test_a_cut_file_is_never_a_clip(kind: str, cut: int) -> None:
    data = encoded(tone(400, 0), kind)
    with pytest.raises(audio.Unusable):
        audio.decode(data[: min(cut, len(data) - 100)])


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"FORM"]))
def test_any_bytes_are_decoded_or_refused(data: bytes, head: bytes) -> None:
    with pytest.raises(audio.Unusable):
        audio.decode(head + data)


# --- speakers


def test_hash_rule_is_the_published_one() -> None:
    # SHA-1 modulo 2^27 is its last 27 bits; in per cent of 2^27 - 1
    names = [hashlib.md5(b"%d" % i).hexdigest()[:8] for i in range(300)]
    found = []
    for name in names:
        last = int.from_bytes(hashlib.sha1(name.encode()).digest()[-4:], "big") & (2**27 - 1)
        share = last / (2**27 - 1)
        found.append(VALIDATION if share < 0.1 else TEST if share < 0.2 else TRAIN)
        assert corpus.hash_part(name) == found[-1]
        assert corpus.hash_part(name, (20, 50, 30)) == (VALIDATION if share < 0.5 else TEST if share < 0.8 else TRAIN)
    assert np.allclose(np.bincount(found) / 300, [0.8, 0.1, 0.1], atol=0.05)


@settings(max_examples=50, deadline=None)
@given(names=st.sets(st.text(min_size=1, max_size=8), max_size=60), salt=st.text(max_size=4))
def test_devices_have_their_shares_in_every_part(names: set[str], salt: str) -> None:
    parts = {name: corpus.hash_part(name, (60, 20, 20)) for name in names}
    shares = [0.5, 0.25, 0.12, 0.08, 0.05]
    devices = corpus.deal_speakers(parts, shares, salt)
    assert set(devices) == names
    for part in (TRAIN, VALIDATION, TEST):
        counts = np.bincount([devices[n] for n in names if parts[n] == part], minlength=5)
        total = counts.sum()
        assert (np.abs(counts - total * np.array(shares)) <= 3.2).all()
        if total >= 5:
            assert counts.min() >= 1
    assert devices == corpus.deal_speakers(dict(reversed(parts.items())), shares, salt)


def test_another_salt_deals_otherwise() -> None:
    parts = dict.fromkeys(map(str, range(100)), TRAIN)
    assert corpus.deal_speakers(parts, [0.5, 0.5], "a") != corpus.deal_speakers(parts, [0.5, 0.5], "b")


@pytest.mark.parametrize("text", ["80/10", "80/10/20", "0/50/50", "90/10/0", "official ", "a/b/c"])
def test_a_split_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="split"):
        read_options("speech-commands", {"split": text})


# --- shards


def test_speakers_are_in_one_part_and_on_one_device(made: tuple[Path, Shards]) -> None:
    _, shards = made
    seen: dict[int, str] = {}
    for name in ("train", "validation"):
        part = shards.part(name)
        client = np.repeat(np.arange(5), part.sizes)
        for speaker, device in set(zip(part.arrays["speaker"].tolist(), client.tolist(), strict=True)):
            if speaker < 40:
                assert seen.setdefault(speaker, (name, device)) == (name, device)  # type: ignore[arg-type]
    assert not set(seen) & set(shards.part("test").arrays["speaker"].tolist())
    assert len(set(seen) | {s for s in shards.part("test").arrays["speaker"].tolist() if s < 40}) == 40


def test_shards_hold_what_was_said(made: tuple[Path, Shards]) -> None:
    _, shards = made
    manifest = shards.manifest
    assert manifest.classes == ["other", "happy"] and manifest.input.shape == [76, 64]
    assert manifest.input.dtype == "float16" and manifest.clients == 5
    assert shards.clients["name"].to_pylist() == list("ABCDE")
    assert shards.clients["group"].to_pylist()[1] == "far-field"
    test = shards.part("test")
    assert len(set(test.sizes)) == 1  # every test clip on every device
    y = test.arrays["y"].reshape(5, -1)
    speakers = test.arrays["speaker"].reshape(5, -1)
    assert (y == y[0]).all() and (speakers == speakers[0]).all()
    x = test.arrays["x"].float().reshape(5, -1, 76, 64)
    for one in range(5):
        for other in range(one):
            assert (x[one] - x[other]).abs().mean() > 0.02
    total = sum(shards.part(p).arrays["y"].sum().item() for p in ("train", "validation")) + y[0].sum().item()
    assert total == 40  # each speaker said it once
    assert manifest.notes["audio_hours_a_second"] > 0 and manifest.notes["skipped"] == 0


def test_bins_are_normalised_by_the_training_part(made: tuple[Path, Shards]) -> None:
    _, shards = made
    x = shards.part("train").arrays["x"].double()
    assert np.allclose(x.mean(dim=(0, 1)), 0, atol=5e-3)
    assert np.allclose(x.std(dim=(0, 1)), 1, atol=5e-3)


def test_float16_is_within_its_stated_error(made: tuple[Path, Shards]) -> None:
    """Device A hears clips as they are, so its rows can be computed again in float64."""
    source, shards = made
    mean, std = (shards.shared[name].double().numpy() for name in ("mean", "std"))
    stock = corpus.take_stock(source)
    speakers = sorted({clip.speaker for clip in stock.clips})
    parts = corpus.split_speakers(source, stock, "60/20/20")
    test = shards.part("test")
    first = test.sizes[0]
    rows = test.arrays["x"][:first].double().numpy()
    clips = [clip for clip in stock.clips if parts[clip.speaker] == TEST]
    keys = sorted([clip.key for clip in clips])
    assert [speakers.index(k.split("/")[1][:8]) for k in keys] == [
        s for s in test.arrays["speaker"][:first].tolist() if s < 40
    ]
    stated = float(shards.manifest.notes["float16_error"].split()[2])
    words = rows[[s < 40 for s in test.arrays["speaker"][:first].tolist()]]
    for key, row in zip(keys, words, strict=True):
        clip = audio.one_second(audio.decode((source / f"{key}.wav").read_bytes())[0])
        start = audio.loudest(clip, features.samples_of(76))
        exact = features.log_mel(clip[None, start : start + features.samples_of(76)])[0]
        assert np.abs(row - (exact - mean) / std).max() <= 1.05 * stated + 1e-6
    assert stated < 0.01


def test_every_form_of_the_corpus_gives_the_same_data(made: tuple[Path, Shards], tmp_path: Path) -> None:
    _, shards = made
    sources = [
        as_zip(recordings("flac"), tmp_path / "words.zip"),
        as_tar(recordings(), tmp_path / "words.tar.gz"),
    ]
    for source in sources:
        assert Shards.open(prepare("speech-commands", OPTIONS, tmp_path / source.stem, source)).hash == shards.hash
    again = prepare("speech-commands", OPTIONS, tmp_path / "again", sources[0])
    assert Shards.open(again).hash == shards.hash
    other = prepare("speech-commands", {**OPTIONS, "seed": 1}, tmp_path, sources[0])
    assert Shards.open(other).hash != shards.hash


def test_official_lists_come_first(tmp_path: Path) -> None:
    files = recordings()
    speakers = sorted({name.split("/")[1][:8] for name in files if "nohash" in name})
    held = {"validation": speakers[:6], "testing": speakers[6:14]}
    for name, chosen in held.items():
        lines = [f"{word}/{s}_nohash_0.wav" for s in chosen for word in WORDS]
        files[f"{name}_list.txt"] = "\n".join(lines).encode()
    source = as_tar(files, tmp_path / "x.tar.gz", "speech_commands_v0.02/")
    shards = Shards.open(prepare("speech-commands", {"wake_word": "cat", "noise": 0}, tmp_path, source))
    for part, chosen in (("validation", speakers[:6]), ("test", speakers[6:14])):
        found = {speakers[s] for s in shards.part(part).arrays["speaker"].tolist()}
        assert found == set(chosen)
    files["testing_list.txt"] += f"\nbed/{speakers[0]}_nohash_0.wav".encode()
    files["validation_list.txt"] = files["validation_list.txt"].replace(f"bed/{speakers[0]}".encode(), b"bed/zz")
    with pytest.raises(SelfflError, match=f"{speakers[0]} into two parts"):
        prepare("speech-commands", {"wake_word": "cat"}, tmp_path / "b", as_folder(files, tmp_path / "f"))


def test_bad_clips_are_skipped_counted_and_listed(tmp_path: Path) -> None:
    files = recordings()
    for i, (reason, data) in enumerate(bad_recordings().items()):
        files[f"bed/{reason.replace(' ', '')}_nohash_{i}.wav"] = data
    files["bed/\udcff_1.wav"] = encoded(tone(300, 0))  # as the disk gives a name that is no UTF-8
    files["bed/nameless.wav"] = files["loose_x.wav"] = encoded(tone(300, 0))
    files["bed/slow_nohash_0.wav"] = encoded(tone(300, 0, rate=8000), rate=8000)
    files["__MACOSX/bed/._x_nohash_0.wav"] = files["bed/.DS_Store"] = b"x"
    source = as_folder(files, tmp_path / "words")
    with pytest.raises(SelfflError, match=r"8 of 129 recordings cannot be used \(.*more than 1\.0%.*--max-bad"):
        prepare("speech-commands", OPTIONS, tmp_path / "data", source)
    assert not list((tmp_path / "data").glob("*"))
    shards = Shards.open(prepare("speech-commands", {**OPTIONS, "max_bad": 0.1}, tmp_path / "data", source))
    notes = shards.manifest.notes
    assert notes["skipped"] == 8 and notes["resampled"] == 1
    assert notes["skipped_why"]["stereo"] == 1 and notes["skipped_why"]["truncated"] == 1
    assert {"bed/stereo_nohash_3.wav: stereo", r"bed/\udcff_1.wav: its name is no UTF-8"} <= set(notes["skipped_files"])
    assert notes["clips"].startswith("121, 40 of them 'happy'")
    assert notes["labels"] == {"bed": 41, "cat": 40, "happy": 40}
    x = shards.part("train").arrays["x"].float()
    assert np.isfinite(x.numpy()).all() and (x.abs().amax(dim=(1, 2)) > 0).all()


def test_a_wake_word_that_is_not_there(made: tuple[Path, Shards], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recordings of 'marvin'.*bed \\(40\\), cat \\(40\\), happy \\(40\\)"):
        prepare("speech-commands", {}, tmp_path, made[0])
    with pytest.raises(UsageError, match="which word is the wake word"):
        prepare("audio", {}, tmp_path, made[0])


def test_fewer_speakers_than_devices(tmp_path: Path) -> None:
    source = as_folder(recordings(speakers=4), tmp_path / "words")
    with pytest.raises(SelfflError, match="fewer than the 5 devices"):
        prepare("speech-commands", OPTIONS, tmp_path / "data", source)


def test_an_archive_that_climbs_out_is_refused(tmp_path: Path) -> None:
    source = as_zip(recordings(speakers=6) | {"../bed/x_nohash_0.wav": b""}, tmp_path / "evil.zip")
    with pytest.raises(SelfflError, match="would leave its folder"):
        prepare("speech-commands", OPTIONS, tmp_path / "data", source)


def test_a_full_disk_leaves_nothing(made: tuple[Path, Shards], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SelfflError, match="no room for .* GB"):
        prepare("speech-commands", OPTIONS, tmp_path, made[0])
    assert not list(tmp_path.iterdir())


def test_listening_on_a_full_disk_leaves_nothing(
    made: tuple[Path, Shards], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[:100])
        if path.suffix == ".png":
            raise OSError(28, "No space left on device")

    options = read_options("speech-commands", {**OPTIONS, "listen": str(tmp_path / "new" / "heard")})
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SelfflError, match=r"--listen .*heard: cannot be written \(No space left"):
        prepare("speech-commands", options, made[1].path.parent, made[0])
    assert not list(tmp_path.iterdir())


def test_any_name_of_a_noise(tmp_path: Path) -> None:
    files = {name.replace("tap", "tap #1"): data for name, data in recordings(speakers=20).items()}
    shards = Shards.open(prepare("speech-commands", OPTIONS, tmp_path / "data", as_folder(files, tmp_path / "words")))
    assert shards.manifest.notes["clips"].endswith("and 7 of noise")


def test_a_worker_that_dies_is_an_error(
    made: tuple[Path, Shards], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        os._exit(1)

    monkeypatch.setattr(render, "log_mel", die)
    with pytest.raises(SelfflError, match="a worker died"):
        prepare("speech-commands", OPTIONS, tmp_path, made[0])
    assert not list(tmp_path.iterdir())


# --- a corpus of one's own


def owned(files: dict[str, bytes]) -> bytes:
    lines = ["file,client,group"]
    for name in files:
        if "nohash" in name:
            device = int(name.split("/")[1][0], 16) % 3
            lines.append(f"{name},unit-{device},{'far' if device else 'near'}")
    return ("\ufeff" + "\n".join(lines)).encode()


def test_real_devices_keep_their_recordings(tmp_path: Path) -> None:
    files = recordings()
    files["clients.csv"] = owned(files)
    source = as_zip({f"corpus/{name}": data for name, data in files.items()}, tmp_path / "own.zip")
    shards = Shards.open(prepare("audio", OPTIONS, tmp_path, source))
    assert shards.clients["name"].to_pylist() == ["unit-0", "unit-1", "unit-2"]
    assert shards.clients["group"].to_pylist() == ["near", "far", "far"]
    assert sum(shards.manifest.samples.model_dump().values()) == 120  # each clip once, no crops
    simulated = Shards.open(prepare("audio", OPTIONS, tmp_path, as_folder(recordings(), tmp_path / "f")))
    assert simulated.clients["name"].to_pylist() == list("ABCDE")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(b"client,", b"klient,"), "add client"),
        (lambda text: text.replace(b"near", b"far", 1), "is in groups"),
        (lambda text: text.replace(b"unit-0", b"", 1), "no file or no client"),
        (lambda text: text[: len(text) // 2], "not in clients.csv"),
        (lambda text: b"\xff\xfe\x00", "UTF-8"),
        (lambda text: text + text.split(b"\n")[1].replace(b"unit", b"UNIT"), "give it one"),
        (lambda text: text.replace(b"bed/", b"a/").replace(b"cat/", b"b/").replace(b"happy/", b"c/"), "names none"),
        (lambda text: text.replace(b",", b";"), "add client and file"),
    ],
)
def test_clients_csv_that_cannot_be(tmp_path: Path, change, message: str) -> None:
    files = recordings(speakers=12)
    files["clients.csv"] = change(owned(files))
    with pytest.raises(SelfflError, match=message):
        prepare("audio", OPTIONS, tmp_path / "data", as_folder(files, tmp_path / "words"))


def test_clients_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """Quoted commas, CRLF, a byte-order mark, a line twice, and lines without a recording."""
    files = recordings(speakers=20)
    lines = ["file,client,group"]
    for name in files:
        if "nohash" in name:
            device = int(name.split("/")[1][0], 16) % 2
            lines.append(f'"{name}","Phone ""{device}"", black",{"phone" if device else ""}')
    lines += [lines[1], "bed/nobody_1.wav,Phone,"]
    files["clients.csv"] = ("\ufeff" + "\r\n".join(lines) + "\r\n").encode()
    shards = Shards.open(prepare("audio", OPTIONS, tmp_path / "data", as_folder(files, tmp_path / "words")))
    assert shards.clients["name"].to_pylist() == ['Phone "0", black', 'Phone "1", black']
    assert shards.clients["group"].to_pylist() == ["", "phone"]
    assert shards.manifest.notes["only_in_clients_csv"] == 1 and shards.manifest.notes["skipped"] == 0


def test_a_client_whose_speakers_train_nothing_is_named(tmp_path: Path) -> None:
    files = recordings(speakers=20)
    names = [name for name in files if "nohash" in name]
    parts = {name: corpus.hash_part(name.split("/")[1].partition("_")[0], (60, 20, 20)) for name in names}
    lines = [f"{name},{'lonely' if parts[name] == TEST else 'shared'}" for name in names]
    files["clients.csv"] = "\n".join(["file,client", *lines]).encode()
    with pytest.raises(SelfflError, match="1 of 2 clients in clients.csv have no training clip .client lonely first"):
        prepare("audio", OPTIONS, tmp_path / "data", as_folder(files, tmp_path / "words"))


def test_listen_writes_wavs_and_a_picture(made: tuple[Path, Shards], tmp_path: Path) -> None:
    options = read_options("speech-commands", {**OPTIONS, "listen": str(tmp_path / "heard")})
    prepare("speech-commands", options, made[1].path.parent, made[0])  # found again: listening is no other data
    names = sorted(path.name for path in (tmp_path / "heard").iterdir())
    assert "devices.png" in names and len([n for n in names if n.endswith("-B-far-field.wav")]) == 3
    assert len(list(made[1].path.parent.iterdir())) == 1
    samples, rate = soundfile.read(tmp_path / "heard" / names[-1])
    assert rate == 16000 and len(samples) == 16000


def test_rows_of_the_hub_become_the_official_layout(tmp_path: Path) -> None:
    noise = {"file": "_background_noise_/tap.wav", "audio": {"bytes": b"n"}}
    splits = {
        "train": [{"file": "bed/a_nohash_0.wav", "audio": {"bytes": b"1"}}, noise],
        "validation": [{"file": "bed/b_nohash_0.wav", "audio": {"bytes": b"2"}}, noise],
        "test": [{"file": "cat/c_nohash_0.wav", "audio": {"bytes": b"3"}}],
    }
    write_zip(splits, tmp_path / "hub.zip", lambda text: None)
    with zipfile.ZipFile(tmp_path / "hub.zip") as archive:
        assert archive.read("testing_list.txt") == b"cat/c_nohash_0.wav\n"
        assert archive.read("validation_list.txt") == b"bed/b_nohash_0.wav\n"
        assert archive.read("bed/a_nohash_0.wav") == b"1" and len(archive.namelist()) == 6


def test_the_real_recordings(shared_data: Path) -> None:
    source = shared_data / "speech_commands" / "speech_commands_v0.01_bed_cat_happy.zip"
    asked = wakeword.plan(read_options("speech-commands", {"wake_word": "happy"}), source)
    assert dict(asked.corpus.labels) == {"bed": 1713, "cat": 1733, "happy": 1742}
    assert len(asked.parts) == 1734 and len(asked.corpus.noise) == 4
    shares = np.bincount(list(asked.parts.values())) / 1734
    assert np.allclose(shares, [0.8, 0.1, 0.1], atol=0.02)
    devices = {clip.speaker: client for clip, client in zip(asked.corpus.clips, asked.client, strict=True)}
    assert np.allclose(np.bincount(list(devices.values())) / 1734, [0.5, 0.25, 0.12, 0.08, 0.05], atol=0.01)
