"""Pictures of one's own, as folders by client and label or as a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.prepare import prepare
from selffl_cli.errors import SelfflError
from selffl_cli.shards import Shards


def draw(path: Path, value: int, size: tuple[int, int] = (4, 3), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for client in range(3):
        for i in range(8):
            draw(tmp_path / f"photos/c{client}/{'cat' if i % 2 else 'dog'}/{i}.png", 100 * client + i)
    return tmp_path / "photos"


def made(source: Path, **options: object) -> Shards:
    return Shards.open(prepare("images", options, source.parent / "out", source))


def pixels(shards: Shards) -> np.ndarray:
    return np.concatenate([shards.part(part).arrays["x"].numpy() for part in ("train", "validation", "test")])


def test_folders_and_a_table_give_the_same(photos: Path) -> None:
    (photos / "readme.txt").write_text("mine")
    shards = made(photos)
    assert shards.num_clients == 3 and shards.manifest.classes == ["cat", "dog"]
    assert shards.manifest.input.shape == [1, 3, 4]
    rows = [p.relative_to(photos.parent).as_posix() for p in sorted(photos.glob("*/*/*.png"))]
    table = photos.parent / "photos.csv"
    table.write_text("path,client,label\n" + "".join(f"{r},{r.split('/')[1]},{r.split('/')[2]}\n" for r in rows))
    again = made(table)
    assert np.array_equal(pixels(shards), pixels(again))
    assert again.clients["name"].to_pylist() == ["c0", "c1", "c2"]


def test_one_picture_in_colour_makes_all_of_them_so(photos: Path) -> None:
    draw(photos / "c0/cat/9.jpg", 9, mode="RGB")
    assert made(photos).manifest.input.shape == [3, 3, 4]
    assert made(photos, colour="no").manifest.input.shape == [1, 3, 4]


def test_sizes_are_said_and_changed_only_when_told_to(photos: Path) -> None:
    draw(photos / "c0/cat/9.png", 9, (8, 6))
    with pytest.raises(SelfflError, match=r"2 sizes \(4x3 24 times, 8x6 1 times\); .* --size width,height"):
        made(photos)
    shards = made(photos, size="4,3")
    assert shards.manifest.notes["resized"] == "1 pictures, to 4x3" and shards.manifest.input.shape == [1, 3, 4]


def test_partitioners_and_fewer_clients(photos: Path) -> None:
    assert made(photos, clients=2).num_clients == 2
    assert made(photos, partition="dirichlet:alpha=1", clients=4).num_clients == 4


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("path,client\nx.png,a\n", "must name the columns path, client and label; it has path, client"),
        ("path,client,label\nphotos/c0/cat/1.png,,cat\n", "line 2 has no path, no client or no label"),
        ("path,client,label\n../secret.png,a,b\n", "leads out of"),
        ("path,client,label\nphotos/none.png,a,b\n", "no such file"),
        ("path,client,label\nphotos/c0/cat/1.png,a,cat\n", "all pictures have the label 'cat'"),
        ("path,client,label\n", "names no pictures"),
    ],
)
def test_bad_tables_are_one_line(table: str, said: str, photos: Path) -> None:
    (photos.parent / "t.csv").write_text(table)
    with pytest.raises(SelfflError, match=said):
        made(photos.parent / "t.csv")


def test_folders_of_another_shape_say_what_was_seen(tmp_path: Path) -> None:
    draw(tmp_path / "photos/cat/1.png", 1)
    with pytest.raises(SelfflError, match=r"no pictures as CLIENT/LABEL/NAME.png; it has cat/1.png"):
        made(tmp_path / "photos")


def test_a_broken_picture_is_named(photos: Path) -> None:
    (photos / "c1/cat/1.png").write_bytes(b"\x89PNG\r\n\x1a\n none")
    with pytest.raises(SelfflError, match=r"c1/cat/1.png: no whole PNG or JPEG image"):
        made(photos)
