"""Every small input of ../shared/cases that once went wrong: read as it must be, or refused in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from data_prep.prepare import prepare
from selffl_cli.config.experiment import load_experiment
from selffl_cli.errors import SelfflError

CASES = Path(__file__).parents[2].parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="needs the small inputs in ../shared/cases, not here")

MNIST: dict[str, Any] = {"clients": 2, "partition": "iid"}
TWEETS: dict[str, Any] = {"more_than": 10, "fraction": 1}
HAPPY: dict[str, Any] = {"wake_word": "happy"}
WORKS = [
    ("mnist", "pq-convert", MNIST), ("mnist", "pq-single", MNIST), ("mnist", "pq-types", MNIST),
    ("mnist", "pq-apple", MNIST), ("mnist", "mnist-both", MNIST), ("mnist", "mnist-fake-gz", MNIST),
    ("sent140", "sent140/zero-one.csv", TWEETS), ("sent140", "sent140/float4.csv", TWEETS),
    ("sent140", "sent140/newline.csv", TWEETS), ("sent140", "sent140/official.csv", TWEETS),
    ("sent140", "sent140/cr.csv", TWEETS), ("sent140", "sent140/bom.csv", TWEETS),
    ("snips", "snips-bom", {}), ("snips-tags", "snips-bom", {}), ("tags", "conll-bom", {}), ("snips", "snips-crlf", {}),
    ("snips", "snips-u2028", {}), ("tags", "conll-comments", {}), ("tags", "conll-plain", {}),
    ("speech-commands", "corpus-backslash-lists", HAPPY),
    ("speech-commands", "corpus-nfd", {"wake_word": "não"}),
]  # fmt: skip
REFUSED = [
    ("mnist", "torchvision-root", MNIST, "FashionMNIST.*--source"), ("mnist", "pq-two", MNIST, "fashion_mnist"),
    ("mnist", "pq-snapshots", MNIST, "bbbb"), ("mnist", "pq-words", MNIST, "label"),
    ("mnist", "pq-one-based", MNIST, "10"), ("mnist", "pq-cut", MNIST, "train-0"), ("mnist", "pq-lfs", MNIST, "LFS"),
    ("mnist", "mnist-cutgz", MNIST, "gz"), ("snips", "snips-blank", {}, "line"), ("snips-tags", "snips-blank", {}, ""),
    ("sent140", "sent140/semi.csv", TWEETS, "semi"),
    ("speech-commands", "corpus-no-test", HAPPY, "--split"),
]  # fmt: skip
EITHER = [("mnist", "pq-16bit", MNIST), ("tags", "bio-tag-first", {}), ("shakespeare", "plays-u2028.jsonl", {}),
          *(("sent140", f"sent140/{name}.csv", TWEETS) for name in (
              "index-col", "test-format", "userfirst", "backslash", "case", "dups", "escaped", "float"))]  # fmt: skip
AUDIO_CUT = [
    "cut-aiff.aiff",
    "cut-flac.flac",
    "cut-half.wav",
    "cut-rf64.wav",
    "cut-rifx.wav",
    "cut-u8.wav",
    "cut-w64.wav",
]
AUDIO_WHOLE = [
    "pcm16.wav",
    "rf64.wav",
    "rifx.wav",
    "w64.wav",
    "size-zero.wav",
    "odd-list.wav",
    "no-xing-vbr.mp3",
    "aiff.aiff",
    "8k.wav",
]


def made(name: str, case: str, options: Mapping[str, Any], tmp_path: Path) -> Path:
    if name == "speech-commands":
        pytest.importorskip("soundfile", reason="needs the extra 'audio': pip install 'selffl[audio]'")
    return prepare(name, options, tmp_path / "data", CASES / case)


@pytest.mark.parametrize(("name", "case", "options"), WORKS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_case_that_works(name: str, case: str, options: dict[str, Any], tmp_path: Path) -> None:
    assert (made(name, case, options, tmp_path) / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("name", "case", "options", "says"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_case_that_is_refused(name: str, case: str, options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(SelfflError, match=says) as refused:
        made(name, case, options, tmp_path)
    assert str(refused.value).count("\n") == 0 and not (tmp_path / "data").exists()


@pytest.mark.parametrize(("name", "case", "options"), EITHER, ids=lambda value: value if isinstance(value, str) else "")
def test_a_case_that_is_read_or_refused_in_one_line(
    name: str, case: str, options: dict[str, Any], tmp_path: Path
) -> None:
    try:
        made(name, case, options, tmp_path)
    except SelfflError as error:
        assert "\n" not in str(error) and not (tmp_path / "data").exists()


def test_an_experiment_with_a_byte_order_mark() -> None:
    assert load_experiment(str(CASES / "toml" / "bom.toml")).methods


@pytest.mark.parametrize("name", AUDIO_CUT)
def test_a_cut_recording_is_recognised(name: str) -> None:
    pytest.importorskip("soundfile", reason="needs the extra 'audio': pip install 'selffl[audio]'")
    from data_prep.speech.audio import Unusable, decode

    with pytest.raises(Unusable, match="truncated"):
        decode((CASES / "audio-odd" / name).read_bytes())


@pytest.mark.parametrize("name", AUDIO_WHOLE)
def test_a_whole_recording_is_read_to_its_end(name: str) -> None:
    pytest.importorskip("soundfile", reason="needs the extra 'audio': pip install 'selffl[audio]'")
    from data_prep.speech.audio import decode

    whole, _ = decode((CASES / "audio-odd" / "pcm16.wav").read_bytes())
    samples, _ = decode((CASES / "audio-odd" / name).read_bytes())
    long = 3 if "no-xing" in name else 1
    assert abs(len(samples) - long * len(whole)) < 0.2 * len(whole)


def test_fractions_beyond_full_scale_are_refused() -> None:
    pytest.importorskip("soundfile", reason="needs the extra 'audio': pip install 'selffl[audio]'")
    from data_prep.speech.audio import Unusable, decode

    with pytest.raises(Unusable, match="full scale"):
        decode((CASES / "audio-odd" / "float-int16-range.wav").read_bytes())
