"""`selffl prepare`: the data sets that need no file, folders made once and found again, and bad input."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import Field
from typer.testing import CliRunner

import data_prep
from data_prep.dataset import DataSet, Stage
from data_prep.dealing.pool import TRAIN, Pool, PrepareOptions, generator
from data_prep.pictures import summary
from data_prep.prepare import find_or_prepare, prepare, request
from selffl_cli.cli.main import main
from selffl_cli.cli.prepare import app
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.shards import PARTS, Shards


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# the data sets


def test_digits_are_all_there_once(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    shards = Shards.open(prepare("digits", {}, tmp_path))
    parts = [shards.part(name) for name in PARTS]
    x = np.concatenate([part.arrays["x"].numpy() for part in parts])
    y = np.concatenate([part.arrays["y"].numpy() for part in parts])
    assert x.dtype == np.float32 and x.min() == 0 and x.max() == 1
    bunch = load_digits()
    pixels, digits = bunch["data"], bunch["target"]
    expected = Counter((row.tobytes(), int(digit)) for row, digit in zip(pixels, digits, strict=True))
    assert Counter((row.tobytes(), int(d)) for row, d in zip(np.float64(x * 16), y, strict=True)) == expected
    assert shards.num_clients == 20 and shards.manifest.partition == "dirichlet:alpha=1"
    assert shards.manifest.classes == [str(digit) for digit in range(10)]
    assert sum(vars(shards.manifest.samples).values()) == 1797
    assert min(part.sizes.min() for part in parts) >= 1
    assert len(shards.manifest.sources[0].sha256) == 64


def test_gaussian_is_the_model(tmp_path: Path) -> None:
    """Moments over 20,000 clients, within five standard errors or so."""
    options = {"clients": 20_000, "s0": 4.0, "s": 0.5, "spread": 0.5, "theta0": 3.0}
    shards = Shards.open(prepare("gaussian", options, tmp_path))
    z, s = (shards.part("train").arrays[key].numpy() for key in ("x", "y"))
    truth = shards.part("test").arrays["x"].numpy()
    assert z.shape == truth.shape == (20_000, 1) and z.dtype == s.dtype == np.float64
    assert truth.mean() == pytest.approx(3.0, abs=0.07) and truth.var() == pytest.approx(4.0, rel=0.05)
    noise = (z - truth)[:, 0] / np.sqrt(s)
    assert noise.mean() == pytest.approx(0, abs=0.035) and noise.var() == pytest.approx(1, rel=0.05)
    assert s.mean() == pytest.approx(0.5, rel=0.02) and np.log(s).std() == pytest.approx(0.5, rel=0.03)
    assert abs(np.corrcoef(truth[:, 0], z[:, 0] - truth[:, 0])[0, 1]) < 0.04
    assert np.array_equal(shards.part("test").arrays["y"].numpy(), s)
    assert shards.clients["variance"].to_pylist() == s.tolist()
    assert shards.shared["theta_0"].tolist() == [3.0] and shards.manifest.notes["s0"] == 4.0
    assert shards.manifest.task == "gaussian" and len(shards.part("validation").arrays["x"]) == 0


def test_gaussian_without_spread_and_in_more_dimensions(tmp_path: Path) -> None:
    shards = Shards.open(prepare("gaussian", {"clients": 3, "dimension": 7, "s": 2.0, "s0": 0.0}, tmp_path))
    assert shards.part("train").arrays["x"].shape == (3, 7)
    assert shards.part("train").arrays["y"].tolist() == [2.0] * 3
    assert (shards.part("test").arrays["x"] == 0).all() and shards.shared["theta_0"].shape == (7,)


def test_gaussian_deviates_are_the_same_at_every_variance(tmp_path: Path) -> None:
    one, ten = (Shards.open(prepare("gaussian", {"s0": s0}, tmp_path)) for s0 in (1.0, 10.0))
    truths = [shards.part("test").arrays["x"].numpy() for shards in (one, ten)]
    assert truths[1] == pytest.approx(np.sqrt(10) * truths[0], rel=1e-12)


def test_random_numbers_depend_on_seed_and_purpose_alone() -> None:
    first = generator(3, "split").random(4)
    assert np.array_equal(first, generator(3, "split").random(4))
    assert not np.array_equal(first, generator(4, "split").random(4))
    assert not np.array_equal(first, generator(3, "partition").random(4))


# folders made once and found again


def test_the_same_arguments_are_the_same_folder(tmp_path: Path) -> None:
    folder = prepare("digits", {"clients": 10}, tmp_path)
    assert re.fullmatch(r"digits-dirichlet-alpha1-c10-s0-[0-9a-f]{8}", folder.name)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    spelled = {"clients": 10, "partition": "dirichlet: alpha=1.00,min=1", "seed": 0, "test": 0.2}
    assert prepare("digits", spelled, tmp_path) == find_or_prepare("digits", spelled, tmp_path) == folder
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    others: list[dict[str, Any]] = [{"clients": 11}, {"seed": 1}, {"test": 0.3}, {"partition": "iid"}]
    made = {find_or_prepare("digits", {"clients": 10, **other}, tmp_path) for other in others}
    assert len({folder, *made}) == len({Shards.open(path).hash for path in {folder, *made}}) == 5


def test_force_makes_the_same_numbers_again(tmp_path: Path) -> None:
    folder = prepare("digits", {}, tmp_path)
    reference = Shards.open(folder).hash
    (folder / "train.safetensors").write_bytes(b"damaged")
    prepare("digits", {}, tmp_path)  # is there: nothing to do
    with pytest.raises(SelfflError, match="--force"):
        Shards.open(folder)
    prepare("digits", {}, tmp_path, force=True)
    assert Shards.open(folder).hash == reference


def test_many_at_once_make_one_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        folders = set(threads.map(lambda _: find_or_prepare("digits", {}, tmp_path), range(8)))
    assert len(folders) == 1 and len(list(tmp_path.iterdir())) == 1
    Shards.open(folders.pop())


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> type[DataSet]:
    """A data set with a source: text files, a letter a sample, a line a natural client."""

    class LetterOptions(PrepareOptions):
        clients: int | None = Field(3, ge=1)
        partition: str = "iid"
        upper: bool = False
        extra: Path | None = None

    class Letters(DataSet):
        """Letters."""

        options_type = LetterOptions
        source = "a text file"

        def load(self, options: LetterOptions, source: Path | None, stage: Stage) -> Pool:
            assert source is not None
            files = [source] if source.is_file() else sorted(source.iterdir())
            lines = [line for file in files for line in file.read_text().split()]
            letters = np.array([ord(letter) - ord("a") for line in lines for letter in line])
            return Pool(
                arrays={"x": letters[:, None].astype(np.float32), "y": letters},
                classes=[chr(ord("a") + i) for i in range(letters.max() + 1)],
                citation="the alphabet",
                client=np.repeat(np.arange(len(lines)), [len(line) for line in lines]),
                client_names=lines,
            )

        def finish(self, pool: Pool, assignment: Any, options: LetterOptions) -> None:
            pool.shared["mean"] = pool.arrays["x"][assignment.rows(TRAIN)].mean(keepdims=True)

    monkeypatch.setitem(data_prep.DATASETS.added, "words", Letters)
    return Letters


def test_a_source_is_found_again_without_it(words: type[DataSet], tmp_path: Path) -> None:
    source, out = tmp_path / "a.txt", tmp_path / "data"
    source.write_text("abcabc\nbca\ncab\n")
    with pytest.raises(SelfflError, match="first run: selffl prepare words --source FILE --seed 5 --data") as caught:
        find_or_prepare("words", {"seed": 5}, out)
    typed = shlex.split(str(caught.value).split("first run: selffl ")[1].split(" (FILE")[0])
    assert main([str(source) if word == "FILE" else word for word in typed]) == 0
    folder = find_or_prepare("words", {"seed": 5}, out)
    assert find_or_prepare("words", {"seed": 5}, out, source) == folder
    with pytest.raises(SelfflError, match="first run: .*--seed 6"):
        find_or_prepare("words", {"seed": 6}, out)
    (tmp_path / "b.txt").write_text("abcabcabc\n")
    second = find_or_prepare("words", {"seed": 5}, out, str(tmp_path / "b.txt"))
    assert second != folder
    with pytest.raises(SelfflError, match="another source; give --source") as caught:
        find_or_prepare("words", {"seed": 5}, out)
    assert str(folder) in str(caught.value) and str(second) in str(caught.value)
    source.rename(tmp_path / "moved.txt")  # known by what it holds, not by where it is
    assert find_or_prepare("words", {"seed": 5}, out, tmp_path / "moved.txt") == folder


def test_a_folder_as_source(words: type[DataSet], tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "1.txt").write_text("abab")
    first = prepare("words", {}, tmp_path / "data", source)
    (source / "2.txt").write_text("ccc")
    second = prepare("words", {}, tmp_path / "data", source)
    assert first != second and Shards.open(second).manifest.classes == ["a", "b", "c"]


def test_finish_sees_the_split(words: type[DataSet], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcabcabcaaa")
    shards = Shards.open(prepare("words", {}, tmp_path / "data", tmp_path / "a.txt"))
    assert shards.shared["mean"].item() == pytest.approx(shards.part("train").arrays["x"].mean().item())


def test_natural_clients_keep_their_names_and_number(words: type[DataSet], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcabc\nbca\ncab\na\nbb")
    shards = Shards.open(prepare("words", {"partition": "natural"}, tmp_path, tmp_path / "a.txt"))
    assert shards.clients["name"].to_pylist() == ["abcabc", "bca", "cab", "a", "bb"]
    assert shards.clients["labels"].to_pylist()[4] == [0, 2, 0]
    with pytest.raises(UsageError, match="'natural' has 5 clients, not 4; leave --clients out"):
        prepare("words", {"partition": "natural", "clients": 4}, tmp_path, tmp_path / "a.txt")


def test_an_option_that_is_a_file_counts_by_its_contents(words: type[DataSet], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcabc")
    for name, content in (("one", "x"), ("two", "x"), ("three", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "extra").write_text(content)
    folders = [
        request("words", {"extra": tmp_path / name / "extra"}, tmp_path, tmp_path / "a.txt").folder
        for name in ("one", "two", "three")
    ]
    assert folders[0] == folders[1] != folders[2]
    with pytest.raises(UsageError, match="--extra: .*no such file"):
        request("words", {"extra": tmp_path / "none"}, tmp_path, tmp_path / "a.txt")


def test_addresses_and_names_of_sources(words: type[DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_text("abcabc")
    asked: list[tuple[str, str | None]] = []

    def fetch(url: str, sha256: str | None = None, progress: Any = None) -> Path:
        asked.append((url, sha256))
        progress(3, None)
        return file

    monkeypatch.setattr("data_prep.reading.download.fetch", fetch)
    with pytest.raises(UsageError, match="words needs --source: a text file"):
        prepare("words", {}, tmp_path)
    words.source_url, words.source_sha256 = "https://example.org/a", "12"
    words.named_sources = {"it": lambda _: file}
    assert prepare("words", {}, tmp_path) == prepare("words", {}, tmp_path, "https://example.org/b")
    assert asked == [("https://example.org/a", "12"), ("https://example.org/b", None)]
    assert prepare("words", {}, tmp_path, "it") and len(asked) == 2


# the command


def test_prepare_prints_a_summary_then_does_nothing(tmp_path: Path) -> None:
    arguments = ["digits", "--data", str(tmp_path), "--clients", "12", "--seed", "3"]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    folder = next(tmp_path.iterdir())
    for words in ("1,797", "12", "Dirichlet(1 p)", "median", str(folder), "selffl train digits --data"):
        assert words in first.output
    assert max(map(len, first.output.split("folder:")[0].splitlines())) <= 80
    before = everything(tmp_path)
    second = CliRunner().invoke(app, arguments)
    assert second.exit_code == 0 and "nothing to do" in second.output and str(folder) in second.output
    assert everything(tmp_path) == before
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0
    assert everything(tmp_path) == before  # the same bytes, the picture's too
    assert CliRunner().invoke(app, [*arguments[:-1], "4"]).exit_code == 0
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "name, options",
    [
        ("digits", {}),
        ("digits", {"clients": 200, "partition": "iid:spread=0.6"}),
        ("gaussian", {"clients": 5}),
        ("gaussian", {"clients": 100, "spread": 3.0}),
    ],
)
def test_the_picture(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    shards = Shards.open(prepare(name, options, tmp_path))
    path = summary.draw(shards)
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000
    first = hashlib.sha256(path.read_bytes()).hexdigest()
    assert hashlib.sha256(summary.draw(shards).read_bytes()).hexdigest() == first
    assert Shards.open(shards.path).hash == shards.hash
    assert not list(shards.path.glob(".*"))


def test_more_labels_than_colours(words: type[DataSet], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcdefghijklmnopqrstuvwxyz" * 9)
    for clients in (5, 100):
        assert summary.draw(Shards.open(prepare("words", {"clients": clients}, tmp_path, tmp_path / "a.txt"))).exists()


BAD = [
    (["digit"], 2, "unknown data set 'digit' (did you mean 'digits'?)"),
    (["digits", "--client", "3"], 2, "no such option: --client"),
    (["digits", "--clients", "0"], 2, "clients = 0: input should be greater than or equal to 1"),
    (["digits", "--clients", "x"], 2, "invalid value for '--clients'"),
    (["digits", "--clients", "1798"], 2, "1798 clients, but only 1797 samples"),
    (["digits", "--seed", "-1"], 2, "seed = -1"),
    (["digits", "--test", "1"], 2, "test = 1.0"),
    (["digits", "--validation", "nan"], 2, "validation = nan"),
    (["digits", "-p", "dirichlet:alpha=0"], 2, "alpha = 0: input should be greater than 0"),
    (["digits", "-p", "dirichlet:alpa=1"], 2, "unknown key 'alpa' (did you mean 'alpha'?)"),
    (["digits", "-p", "natural"], 2, "no clients of its own"),
    (["digits", "--source", "x"], 2, "no such option: --source"),
    (["gaussian", "--s", "0"], 2, "s = 0.0: input should be greater than 0"),
    (["gaussian", "--s0", "-1"], 2, "s0 = -1.0"),
    (["gaussian", "--partition", "iid"], 2, "no such option: --partition"),
    (["sent140", "--source", "nowhere.zip"], 2, "nowhere.zip: no such file"),
]


@pytest.mark.parametrize("arguments, code, words", BAD, ids=[" ".join(case[0]) for case in BAD])
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], code: int, words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and words in captured.err
    assert captured.out == "" and not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_bad_options_of_a_data_set_from_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data set digits: unknown key 'client' \(did you mean 'clients'\?\)"):
        find_or_prepare("digits", {"client": 3}, tmp_path)
    with pytest.raises(UsageError, match="needs a number of clients; add --clients"):
        find_or_prepare("digits", {"clients": None}, tmp_path)
    with pytest.raises(UsageError, match="digits takes no --source"):
        find_or_prepare("digits", {}, tmp_path, __file__)


def test_shards_of_another_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = prepare("digits", {}, tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    assert main(["prepare", "digits", "--data", str(tmp_path)]) == 1
    assert "shards of format 99" in capsys.readouterr().err
    with pytest.raises(SelfflError, match="format 99"):
        find_or_prepare("digits", {}, tmp_path)
    assert main(["prepare", "digits", "--data", str(tmp_path), "--force"]) == 0
    Shards.open(folder)


def test_a_failure_while_loading_leaves_nothing(
    words: type[DataSet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("abcabc")

    def fails(*arguments: Any) -> None:
        raise KeyboardInterrupt

    words.finish = fails  # type: ignore[method-assign]
    assert main(["prepare", "words", "--source", str(tmp_path / "a.txt"), "--data", str(tmp_path / "data")]) == 130
    assert not (tmp_path / "data").exists()


def test_options_become_flags(words: type[DataSet], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcabc")
    runner = CliRunner()
    shown = runner.invoke(app, ["words", "--help"], env={"COLUMNS": "100"}).output
    for text in (
        "--upper",
        "--no-upper",
        "--extra",
        "--source",
        "a text file",
        "-c",
        "default: 3",
        "default: iid",
    ):
        assert text in shown
    for flags, expected in (([], False), (["--upper"], True), (["--no-upper"], False)):
        made = runner.invoke(app, ["words", "--source", str(tmp_path / "a.txt"), "-d", str(tmp_path / "o"), *flags])
        assert made.exit_code == 0, made.output
        folder = Path(re.search(r"folder: +(.*)", made.output)[1])  # type: ignore[index]
        assert Shards.open(folder).manifest.arguments["upper"] is expected


@pytest.mark.parametrize("arguments", [["prepare", "--help"], ["prepare", "digits", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    heavy = {"torch", "sklearn", "scipy", "pandas", "matplotlib", "datasets", "pyarrow"}
    script = f"""
import sys
from selffl_cli.cli.main import main
assert main({arguments!r}) == 0
sys.exit(str({heavy!r} & set(sys.modules)) if {heavy!r} & set(sys.modules) else 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "digits" in done.stdout


def test_training_on_shards_needs_no_sklearn(tmp_path: Path) -> None:
    folder = prepare("gaussian", {}, tmp_path)
    script = f"""
import sys
from data_prep.prepare import find_or_prepare
from selffl_cli.shards import Shards
find_or_prepare("gaussian", {{}}, {str(tmp_path)!r})
Shards.open({str(folder)!r}).part("train")
sys.exit(any(name in sys.modules for name in ("sklearn", "scipy", "matplotlib", "pandas")))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
