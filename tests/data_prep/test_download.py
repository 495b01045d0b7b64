"""Downloads against a local server that misbehaves, and archives made to do harm."""

from __future__ import annotations

import hashlib
import io
import random
import stat
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_prep.reading.archive import Limits, members, open_member
from data_prep.reading.download import Patience, fetch
from selffl_cli.errors import SelfflError, UsageError

CONTENT = bytes(range(256)) * 4000  # 1 MB
DIGEST = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=3, backoff=0.01, timeout=0.5, total=20)


class Server(ThreadingHTTPServer):
    """Answers by the first part of the path; `log` holds (path, Range header) of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.log: list[tuple[str, str | None]] = []
        self.cut = 300_000  # bytes after which /cut breaks off
        self.tag = '"one"'
        self.content = CONTENT

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.log.append((self.path, asked))
        kind = self.path.split("/")[-2] if self.path.count("/") > 1 else self.path.strip("/")
        count = len(self.server.log)
        if kind == "missing":
            self.send_error(404)
        elif kind == "down" or (kind == "busy" and count < 3):
            self.send_error(500)
        elif kind == "moved":
            self._plain(302, Location="/file/data.bin")
        elif kind == "round":
            self._plain(302, Location="/round/data.bin")
        elif kind == "silent":
            time.sleep(QUICK.timeout * 1.5)
        elif kind == "ignores":  # a server that knows no ranges
            self._send(0, length=len(CONTENT), stop=self.server.cut if count == 1 else None)
        elif kind == "wrong-length":
            self._send(0, length=len(CONTENT) + 10)
        elif kind == "wrong-range":
            self._send(0 if count == 1 else 5, length=len(CONTENT), stop=self.server.cut if count == 1 else None)
        else:
            same = self.headers.get("If-Range") in (None, self.server.tag)
            begin = int(asked.split("=")[1].rstrip("-")) if asked and same else 0
            rest = len(self.server.content) - begin
            if kind == "cut" and rest > self.server.cut:
                self._send(begin, length=rest, stop=begin + self.server.cut)
            elif kind == "stall" and count == 1:
                self._send(begin, length=rest, stop=begin + self.server.cut, sleep=QUICK.timeout * 1.5)
            else:
                self._send(begin, length=rest)

    def _plain(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, begin: int, length: int, stop: int | None = None, sleep: float = 0.0) -> None:
        whole = self.server.content
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", self.server.tag)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(whole) - 1}/{len(whole)}")
        self.end_headers()
        self.wfile.write(whole[begin:stop])
        self.wfile.flush()
        time.sleep(sleep)
        self.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


def left(cache: Path) -> list[str]:
    """What lies in the cache, without hashes, locks and records."""
    return sorted(p.name[9:] for p in cache.iterdir() if p.suffix not in (".lock", ".sha256"))


def test_whole_file_and_cache(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = fetch(server.url("file/data.bin"), DIGEST, tmp_path, lambda *at: seen.append(at), QUICK)
    assert path.read_bytes() == CONTENT and left(tmp_path) == ["data.bin"]
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)
    assert fetch(server.url("file/data.bin"), DIGEST, tmp_path, None, QUICK) == path
    assert len(server.log) == 1  # the second one came from the cache


def test_cut_connections_are_resumed(server: Server, tmp_path: Path) -> None:
    path = fetch(server.url("cut/data.bin"), DIGEST, tmp_path, None, QUICK)
    assert path.read_bytes() == CONTENT
    assert [r for _, r in server.log] == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_resumed_by_a_later_command(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SelfflError):
        fetch(server.url("cut/data.bin"), DIGEST, tmp_path, None, Patience(1, 0.01, 0.5, total=1))
    assert left(tmp_path) == ["data.bin.part", "data.bin.part.json"]  # nothing that looks whole
    assert fetch(server.url("cut/data.bin"), DIGEST, tmp_path, None, QUICK).read_bytes() == CONTENT
    assert server.log[1][1] == "bytes=300000-" and left(tmp_path) == ["data.bin"]


def test_a_file_that_changed_meanwhile_is_begun_anew(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SelfflError):
        fetch(server.url("cut/data.bin"), None, tmp_path, None, Patience(1, 0.01, 0.5, total=1))
    server.tag, server.content, server.cut = '"two"', CONTENT[::-1], 10**9
    assert fetch(server.url("cut/data.bin"), None, tmp_path, None, QUICK).read_bytes() == CONTENT[::-1]


def test_a_part_without_its_notes_is_begun_anew(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SelfflError):
        fetch(server.url("cut/data.bin"), None, tmp_path, None, Patience(1, 0.01, 0.5, total=1))
    for notes in tmp_path.glob("*.json"):
        notes.write_text("{")
    assert fetch(server.url("cut/data.bin"), None, tmp_path, None, QUICK).read_bytes() == CONTENT
    assert server.log[1][1] is None


@pytest.mark.parametrize("kind", ["ignores", "wrong-range", "stall", "busy", "moved"])
def test_gets_through(server: Server, tmp_path: Path, kind: str) -> None:
    if kind == "wrong-range":  # the answer is not what was asked for, and never becomes so
        with pytest.raises(SelfflError, match="another part of the file"):
            fetch(server.url(f"{kind}/data.bin"), None, tmp_path, None, QUICK)
        assert left(tmp_path) == []
    else:
        path = fetch(server.url(f"{kind}/data.bin"), DIGEST, tmp_path, None, QUICK)
        assert path.read_bytes() == CONTENT and left(tmp_path) == ["data.bin"]


@pytest.mark.parametrize(
    ("kind", "message", "requests"),
    [
        ("missing", "404", 1),
        ("down", "500", 3),
        ("silent", "sent nothing for 0.5 s", 3),
        ("round", "redirects", 21),
        ("wrong-length", "expected 1024010", 4),
    ],
)
def test_gives_up_with_the_way_out(server: Server, tmp_path: Path, kind: str, message: str, requests: int) -> None:
    url = server.url(f"{kind}/data.bin")
    with pytest.raises(SelfflError, match=message) as caught:
        fetch(url, None, tmp_path, None, QUICK)
    assert len(server.log) == requests
    text = str(caught.value)
    assert url in text and "bring data.bin" in text and "--source FILE" in text and "\n" not in text
    assert "data.bin" not in left(tmp_path)


def test_wrong_checksum_is_thrown_away(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SelfflError, match=r"sha256 is .* where 00000000"):
        fetch(server.url("file/data.bin"), "0" * 64, tmp_path, None, QUICK)
    assert left(tmp_path) == []


def test_first_checksum_is_recorded_and_holds(server: Server, tmp_path: Path) -> None:
    path = fetch(server.url("file/data.bin"), None, tmp_path, None, QUICK)
    record = path.with_name(path.name + ".sha256")
    assert record.read_text().startswith(DIGEST)
    path.write_bytes(b"changed")
    with pytest.raises(SelfflError, match=r"delete .*data.bin to download it again"):
        fetch(server.url("file/data.bin"), None, tmp_path, None, QUICK)
    path.unlink()
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(SelfflError, match=r"delete .*data.bin.sha256 if another version is right"):
        fetch(server.url("file/data.bin"), None, tmp_path, None, QUICK)
    assert not path.exists()


def test_proxy_from_the_environment(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url("").rstrip("/"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    path = fetch("http://data.invalid/file/data.bin", DIGEST, tmp_path, None, QUICK)
    assert path.read_bytes() == CONTENT and server.log[0][0] == "http://data.invalid/file/data.bin"
    monkeypatch.setenv("HTTP_PROXY", "nonsense://x")
    with pytest.raises(SelfflError, match="proxy"):
        fetch("http://data.invalid/other.bin", None, tmp_path, None, QUICK)


def test_two_at_once(server: Server, tmp_path: Path) -> None:
    got: list[bytes] = []
    url = server.url("cut/data.bin")
    threads = [
        threading.Thread(target=lambda: got.append(fetch(url, DIGEST, tmp_path, None, QUICK).read_bytes()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got == [CONTENT] * 3 and len(server.log) == 4  # one of them downloaded


@pytest.mark.parametrize("url", ["ftp://host/x", "file:///etc/passwd", "nonsense", "http://", "http://[", ""])
def test_no_web_address(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="no web address"):
        fetch(url, None, tmp_path)


@pytest.mark.parametrize("name", ["../../x", "..%2f..%2fx", "", ".hidden", "a b?q=1", "x" * 300, "%00"])
def test_no_name_leaves_the_cache(server: Server, tmp_path: Path, name: str) -> None:
    path = fetch(server.url(f"file/{name}"), None, tmp_path / "cache", None, QUICK)
    assert path.parent == tmp_path / "cache" and path.read_bytes() == CONTENT


def test_cache_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SelfflError, match="SELFFL_CACHE"):
        fetch(server.url("file/data.bin"), None, tmp_path / "file", None, QUICK)


# ---- archives --------------------------------------------------------------------------------------------


def make_zip(path: Path, entries: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def make_tar(path: Path, entries: dict[str, bytes], kind: bytes = tarfile.REGTYPE, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = (
                kind,
                len(content) if kind == tarfile.REGTYPE else 0,
                "/etc/passwd",
            )
            archive.addfile(info, io.BytesIO(content))
    return path


FILES = {"a/one.txt": b"1" * 1000, "a/two.csv": b"2,3\n" * 5000}


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_members_of_every_kind(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "archive"
    make_zip(path, FILES) if mode == "zip" else make_tar(path, FILES, mode=mode)
    assert {name: stream.read() for name, stream in members(path)} == FILES
    assert [name for name, _ in members(path, lambda name: name.endswith(".csv"))] == ["a/two.csv"]
    with open_member(path, lambda name: name.endswith(".csv"), "a table") as stream:
        assert stream.readline() == b"2,3\n"
    with (
        pytest.raises(SelfflError, match=r"holds no picture \(but a/one.txt, a/two.csv\)"),
        open_member(path, lambda name: name.endswith(".png"), "picture"),
    ):
        pass


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "C:\\x", "\\\\host\\x", "a\\..\\..\\x", "a\nb"])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_climbing_names(tmp_path: Path, make, name: str) -> None:
    path = make(tmp_path / "archive", {"fine": b"1", name: b"2"})
    with pytest.raises(SelfflError, match="would leave its folder"):
        list(members(path))


def test_links_and_devices(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
        with pytest.raises(SelfflError, match="link or a device"):
            list(members(make_tar(tmp_path / "t", {"x": b""}, kind)))
    for mode in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        with pytest.raises(SelfflError, match="link or a device"):
            list(members(make_zip(tmp_path / "z", {"x": b"/etc/passwd"}, mode)))


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_bombs(tmp_path: Path, make) -> None:
    path = make(tmp_path / "archive", {"fine": b"1", "bomb": bytes(4_000_000)})
    for limits in (Limits(ratio=100, free=100_000), Limits(total=1_000_000), Limits(members=1)):
        with pytest.raises(SelfflError, match=r"bomb|more than 1 members"):
            for _, stream in members(path, limits=limits):
                while stream.read(1 << 16):
                    pass
    many = make(tmp_path / "many", {f"f{i}": bytes(400_000) for i in range(10)})  # the sum counts
    with pytest.raises(SelfflError, match="bomb"):
        for _, stream in members(many, limits=Limits(total=1_000_000)):
            stream.read()


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_cut_and_flipped_archives(tmp_path: Path, make) -> None:
    rng = random.Random(0)
    path = make(tmp_path / "archive", {"a": bytes(rng.randrange(256) for _ in range(5000)), "b": b"x" * 1000})
    whole = path.read_bytes()
    reads = 0
    for at in range(0, len(whole), 97):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            path.write_bytes(content)
            try:
                for _, stream in members(path):
                    stream.read()
                reads += 1  # a flipped date or such
            except SelfflError as error:
                assert "\n" not in str(error)
    assert reads < 30


def test_encrypted_and_foreign(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "z", {"x": b"content"})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1  # both headers say: encrypted
    path.write_bytes(content)
    with pytest.raises(SelfflError, match="cannot be unpacked"):
        list(members(path))
    path.write_text("no archive at all")
    with pytest.raises(SelfflError, match="not a whole archive"):
        list(members(path))
    with pytest.raises(SelfflError, match="cannot be read"):
        list(members(tmp_path / "none"))
