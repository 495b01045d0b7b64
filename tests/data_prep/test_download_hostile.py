"""Downloads against servers that lie, redirect elsewhere, break off or die, through a proxy, and after a SIGKILL."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from data_prep.reading import download
from data_prep.reading.download import Patience, fetch
from selffl_cli.cli.main import main
from selffl_cli.errors import SelfflError

CONTENT = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=3, backoff=0.01, timeout=0.5, total=20)
PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")

Answer = Callable[["Handler", int], None]  # told how many requests came before


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.log.append(self.path)
        self.server.answer(self, len(self.server.log) - 1)

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    """Answers by a function of the test; `log` holds the paths that were asked for."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.log = answer, list[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    with Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def plain(handler: Handler, before: int) -> None:
    handler.send(CONTENT)


def forward(handler: Handler, before: int) -> None:
    """A proxy: the request line holds the whole address, which it fetches and passes on."""
    parts = urlsplit(handler.path)
    if not parts.hostname:
        handler.send(b"not a proxy's request", 400)
        return
    upstream = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=5)
    upstream.request("GET", parts.path, headers={"Host": parts.netloc})
    answer = upstream.getresponse()
    handler.send(answer.read(), answer.status)
    upstream.close()


def refused(url: str, cache: Path, says: str, digest: str | None = None) -> None:
    """One line that says why, what to bring and how; and nothing in the cache that looks whole."""
    with pytest.raises(SelfflError, match=says) as caught:
        fetch(url, digest, cache, None, QUICK)
    text = str(caught.value)
    assert "\n" not in text and url in text and "--source FILE" in text
    whole = [path for path in cache.iterdir() if path.suffix not in (".lock", ".part", ".json", ".sha256")]
    assert whole == []


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "data:text/plain,x", "javascript:0", "//[", "http://"],
)
def test_redirects_elsewhere_are_refused(target: str, tmp_path: Path) -> None:
    with serving(lambda handler, before: handler.send(b"", 302, Location=target)) as server:
        refused(f"{server.url}/data.bin", tmp_path, "cannot be downloaded")
        assert len(server.log) <= 3


def test_a_redirect_to_another_server_is_followed_and_checked(tmp_path: Path) -> None:
    with serving(plain) as other:
        moved = f"{other.url}/moved"

        def elsewhere(handler: Handler, before: int) -> None:
            handler.send(b"", 307, Location=moved)

        with serving(elsewhere) as server:
            path = fetch(f"{server.url}/data.bin", DIGEST, tmp_path, None, QUICK)
            assert path.read_bytes() == CONTENT and other.log == ["/moved"]
            refused(f"{server.url}/other.bin", tmp_path / "second", "sha256", "0" * 64)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_through_a_proxy(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(plain) as origin, serving(forward) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        url = f"{origin.url}/data.bin"
        assert fetch(url, DIGEST, tmp_path / "a", None, QUICK).read_bytes() == CONTENT
        assert proxy.log == [url] and origin.log == ["/data.bin"]


@pytest.mark.parametrize("value", ["127.0.0.1", "example.org,127.0.0.1", "*"])
def test_past_a_proxy(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(plain) as origin, serving(forward) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", value)
        assert fetch(f"{origin.url}/data.bin", DIGEST, tmp_path, None, QUICK).read_bytes() == CONTENT
        assert proxy.log == [] and origin.log == ["/data.bin"]


def test_a_proxy_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(plain) as origin:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        refused(f"{origin.url}/data.bin", tmp_path, "cannot be downloaded")
        assert origin.log == []


def test_every_attempt_waits_twice_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    patience = Patience(attempts=8, backoff=1.0, timeout=1.0)
    with serving(lambda handler, before: handler.send(b"", 503)) as server, pytest.raises(SelfflError, match="503"):
        fetch(f"{server.url}/data.bin", None, tmp_path, None, patience)
    assert waits == [1, 2, 4, 8, 16, 30, 30], "30 seconds at most, and none after the last"


def test_chunks_that_break_off_are_no_end(tmp_path: Path) -> None:
    """Without a length the last chunk says that all came; a connection that closes before it does not."""

    def half(handler: Handler, before: int) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%b\r\n" % (1000, CONTENT[:1000]))

    with serving(half) as server:
        refused(f"{server.url}/data.bin", tmp_path, "cannot be downloaded")


def test_a_compressed_answer_is_not_the_file(tmp_path: Path) -> None:
    with serving(lambda handler, before: handler.send(CONTENT, Content_Encoding="gzip")) as server:
        refused(f"{server.url}/data.bin", tmp_path, "compressed")


@pytest.mark.parametrize("length", ["-5", "abc", "1e3", "99999999999999999999"])
def test_a_length_that_is_a_lie(length: str, tmp_path: Path) -> None:
    with serving(lambda handler, before: handler.send(CONTENT, Content_Length=length)) as server:
        refused(f"{server.url}/data.bin", tmp_path, "data.bin", "0" * 64)


def test_killed_in_the_middle_and_resumed(tmp_path: Path) -> None:
    """SIGKILL while bytes come: the file is not there, its part is, and the next command asks for the rest alone."""
    ranges: list[str | None] = []
    sent, tag = threading.Event(), '"v1"'

    def answer(handler: Handler, before: int) -> None:
        asked = handler.headers.get("Range")
        ranges.append(asked)
        begin = int(re.sub(r"\D", "", asked)) if asked else 0
        handler.send_response(206 if begin else 200)
        handler.send_header("Content-Length", str(len(CONTENT) - begin))
        handler.send_header("ETag", tag)
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.end_headers()
        handler.wfile.write(CONTENT[begin:] if begin else CONTENT[:200_000])
        handler.wfile.flush()
        if not begin:
            sent.set()
            time.sleep(2)

    with serving(answer) as server:
        url = f"{server.url}/data.bin"
        load = "from data_prep.reading.download import fetch; from pathlib import Path"
        script = f"{load}; fetch({url!r}, None, Path({str(tmp_path)!r}))"
        child = subprocess.Popen(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        assert sent.wait(60)
        parts: list[Path] = []
        for _ in range(600):
            parts = [path for path in tmp_path.glob("*.part") if path.stat().st_size]
            if parts:
                break
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert len(parts) == 1 and not list(tmp_path.glob("*data.bin"))
        path = fetch(url, DIGEST, tmp_path, None, QUICK)
        assert path.read_bytes() == CONTENT and len(ranges) == 2 and ranges[1] is not None
        assert not list(tmp_path.glob("*.part*"))


def test_the_command_says_which_file_to_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELFFL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with serving(lambda handler, before: handler.send(b"", 404)) as server:
        url = f"{server.url}/trainingandtestdata.zip"
        assert main(["prepare", "sent140", "--source", url]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "404" in shown and url in shown
    assert "bring trainingandtestdata.zip" in shown and "--source FILE" in shown
    assert not (tmp_path / "data").exists()
