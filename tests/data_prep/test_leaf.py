"""LEAF's files: users, parts, pictures, vectors and texts, as the published tools write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.prepare import prepare
from selffl_cli.errors import SelfflError
from selffl_cli.shards import Shards

Users = dict[str, list[tuple[Any, Any]]]


def write(path: Path, users: Users) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {user: {"x": [x for x, _ in own], "y": [y for _, y in own]} for user, own in users.items()}
    content = {"users": list(users), "num_samples": [len(own) for own in users.values()], "user_data": data}
    path.write_text(json.dumps(content))
    return path


def vectors(users: int, each: int, seed: int = 0) -> Users:
    rng = np.random.default_rng(seed)
    return {f"f{u:05d}": [(rng.normal(size=6).tolist(), float(i % 3)) for i in range(each)] for u in range(users)}


def made(source: Path, out: Path, **options: Any) -> Shards:
    return Shards.open(prepare("leaf", options, out, source))


def test_train_and_test_files_give_the_parts(tmp_path: Path) -> None:
    """all_data, of which LEAF's tools made them, lies beside and is not read again."""
    train, test = vectors(4, 10), vectors(4, 5, seed=1)
    write(tmp_path / "data/train/all_data_0_keep_0_train_9.json", train)
    write(tmp_path / "data/test/all_data_0_keep_0_test_9.json", test)
    write(tmp_path / "data/all_data/all_data_0.json", vectors(9, 9))
    shards = made(tmp_path / "data", tmp_path / "out")
    assert shards.num_clients == 4 and shards.clients["name"].to_pylist() == sorted(train)
    assert shards.clients["n_train"].to_pylist() == [9] * 4  # a tenth for validation
    assert shards.clients["n_validation"].to_pylist() == [1] * 4
    wanted = np.concatenate([[x for x, _ in own] for own in test.values()]).astype(np.float32)
    assert np.array_equal(shards.part("test").arrays["x"].numpy(), wanted)
    assert shards.manifest.classes == ["0", "1", "2"]
    assert [source["name"] for source in shards.manifest.model_dump()["sources"]] == [
        "data/test/all_data_0_keep_0_test_9.json", "data/train/all_data_0_keep_0_train_9.json",
    ]  # fmt: skip


def test_users_of_several_files_and_without_test_data(tmp_path: Path) -> None:
    users = vectors(3, 6)
    write(tmp_path / "data/train/a.json", {"f00000": users["f00000"][:2], "f00001": users["f00001"]})
    write(tmp_path / "data/train/b.json", {"f00000": users["f00000"][2:]})
    write(tmp_path / "data/test/a.json", {"f00001": users["f00001"], "f00002": users["f00002"]})
    shards = made(tmp_path / "data", tmp_path / "out", validation=0.0)
    assert shards.clients["n_train"].to_pylist() == [6, 6] and shards.clients["n_test"].to_pylist() == [0, 6]
    assert shards.manifest.notes["users_left_out"] == "1 with fewer than 1 training samples"


def test_one_file_is_split_inside_each_user(tmp_path: Path) -> None:
    shards = made(write(tmp_path / "all.json", vectors(5, 20)), tmp_path / "out")
    assert shards.clients["n_test"].to_pylist() == [4] * 5


def test_pictures_have_the_shape_that_is_said(tmp_path: Path) -> None:
    users = {f"u{u}": [(np.full(16, u + i).tolist(), i % 2) for i in range(6)] for u in range(3)}
    source = write(tmp_path / "all.json", users)
    assert made(source, tmp_path / "out", shape="1,4,4").manifest.input.shape == [1, 4, 4]
    with pytest.raises(SelfflError, match=r"--shape 1,5,5: does not hold a sample's 16 numbers"):
        made(source, tmp_path / "out", shape="1,5,5")


def test_tweets_and_characters(tmp_path: Path) -> None:
    tweets = {
        f"u{u}": [([str(i), "date", "NO_QUERY", f"u{u}", f"so {'good' if i % 2 else 'bad'} a day"], i % 2)
                  for i in range(8)] for u in range(3)
    }  # fmt: skip
    shards = made(write(tmp_path / "s.json", tweets), tmp_path / "out", tokens=6, embedding_dimensions=3)
    words = bytes(shards.shared["vocabulary"].numpy()).decode().split("\n")
    assert set(words) == {"<pad>", "<unk>", "so", "good", "bad", "a", "day"}, "no date, no name"
    plays = {f"r{u}": [("to be\nor not"[i:] + "to be\nor not"[:i], "abc"[i % 3]) for i in range(9)] for u in range(2)}
    shards = made(write(tmp_path / "p.json", plays), tmp_path / "out", tokens=11, unit="characters")
    words = bytes(shards.shared["vocabulary"].numpy()).decode().split("\n")
    assert set(words) == {"<pad>", "<unk>", *"to bern", "<n>"} and shards.manifest.classes == ["a", "b", "c"]
    assert (shards.part("train").arrays["x"].numpy() > 1).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "is no LEAF file"),
        ('{"users": ["a"], "user_data": {}}', "is no LEAF file"),
        ('{"users": ["a"], "user_data": {"a": {"x": [[1]], "y": []}}}', "has not as many x as y"),
        ('{"users": ["a"], "user_data": {"a": {"x": [[1], [1, 2]], "y": [0, 1]}}}', "not of one shape"),
        ('{"users": ["a"], "user_data": {"a": {"x": [[1], [2]], "y": [0, 0]}}}', "hold one class"),
        ('{"users": ["a"], "user_data": {"a": {"x": [["t"], ["u"]], "y": [0, 1]}}}', "has no text"),
        ('{"users": [], "user_data": {}}', "no user has 1 training samples"),
    ],
)
def test_what_is_no_leaf_is_one_line(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(SelfflError, match=said):
        made(tmp_path / "x.json", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))
