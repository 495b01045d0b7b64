"""Files from the network into a cache: resumed where a connection broke, and never taken for whole before
they are.

In the cache a file NAME has beside it NAME.sha256 (its checksum, and where it came from) and, while it is not
whole, NAME.part and NAME.part.json (what is needed to go on with it), and NAME.lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.files.locks import has_no_locks
from selffl_cli.machine.cache import default_cache

Progress = Callable[[int, int | None], None]  # bytes at hand, bytes in all where the server says so
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # worth another try


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server. Every attempt that brought new bytes gives the attempts back."""

    attempts: int = 5  # in a row without a new byte
    backoff: float = 1.0  # seconds before the second attempt, then doubled, 30 at most
    timeout: float = 30.0  # seconds without a byte
    total: int = 200  # attempts in all


def fetch(
    url: str,
    sha256: str | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Path:
    """The file at `url`, from the cache where it is already; its path.

    `sha256`: hexadecimal; where it is None, that of the first download is recorded and holds from then on.
    Proxies are taken from the environment (HTTPS_PROXY, NO_PROXY, …). Raises SelfflError, one line that says
    which file to bring.
    """
    cache, patience = cache or default_cache(), patience or Patience()
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        known = False
    if not known:
        raise UsageError(f"'{url}' is no web address; write http://… or https://…, or give a file by --source FILE")
    target = cache / _file_name(url)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            if not target.exists():
                part = target.with_name(target.name + ".part")
                _download(url, part, progress, patience)
                try:
                    _check(url, part, target, sha256)
                except SelfflError:
                    _discard(part)
                    raise
                os.replace(part, target)
                _discard(part)
            else:
                _check(url, target, target, sha256)
    except OSError as error:
        raise SelfflError(
            f"{url}: cannot be kept in {cache} ({error.strerror or error}); set SELFFL_CACHE to a folder "
            "with room, or give the file by --source FILE"
        ) from None
    return target


def _check(url: str, path: Path, target: Path, sha256: str | None) -> None:
    """Compare `path` with the checksum given, or with the recorded one, and record it where none was."""
    record = target.with_name(target.name + ".sha256")
    match = re.match(r"[0-9a-f]{64}\b", record.read_text("utf-8", "replace")) if record.exists() else None
    recorded = match.group() if match else None
    expected = (sha256 or recorded or "").lower()
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if expected and found != expected:
        way = f"delete {path} to download it again" if path == target else "the download was thrown away"
        accept = "" if sha256 else f", delete {record} if another version is right"
        raise SelfflError(
            f"{url}: the sha256 is {found[:16]}… where {expected[:16]}… is expected; {way}{accept}, or bring "
            "the published file by --source FILE"
        )
    if found != recorded:
        temporary = record.with_name(f"{record.name}.{os.getpid()}.tmp")
        temporary.write_text(f"{found}  {url}\n", encoding="utf-8")
        os.replace(temporary, record)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Lets one process at a time work on a file; the system frees the lock of one that died."""
    with target.with_name(target.name + ".lock").open("w") as lock:
        with suppress(ImportError):  # not on Windows
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                if not has_no_locks(error):
                    raise
        yield


def _file_name(url: str) -> str:
    """A plain name that two addresses never share: the last part of the path behind a hash of the address."""
    name = re.sub(r"[^\w.-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])[-100:].lstrip(".")
    return f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name or 'file'}"


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(part.name + ".json").unlink(missing_ok=True)


def _download(url: str, part: Path, progress: Progress | None, patience: Patience) -> None:
    """Fill `part`, attempt after attempt; returns when it has every byte the server announced."""
    failures, why = 0, ""
    headers = {"Accept-Encoding": "identity"}
    try:
        session = httpx.Client(follow_redirects=True, timeout=patience.timeout, headers=headers)
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise _failed(url, f"the proxy set in the environment cannot be used: {error}") from None
    with session as client:
        for _ in range(patience.total):
            before = part.stat().st_size if part.exists() else 0
            try:
                _attempt(client, url, part, progress)
                return
            except httpx.HTTPStatusError as error:
                if error.response.status_code not in AGAIN:
                    raise _failed(url, _answer(error)) from None
                why = _answer(error)
            except httpx.TimeoutException:
                why = f"the server sent nothing for {patience.timeout:g} s"
            except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL, _Compressed) as error:
                raise _failed(url, str(error)) from None
            except (httpx.TransportError, _Short) as error:
                why = str(error) or type(error).__name__
            after = part.stat().st_size if part.exists() else 0
            failures = 0 if after > before else failures + 1
            if failures >= patience.attempts:
                break
            time.sleep(min(patience.backoff * 2 ** max(failures - 1, 0), 30.0))
    raise _failed(url, why)


def _answer(error: httpx.HTTPStatusError) -> str:
    return f"the server answered {error.response.status_code} {error.response.reason_phrase}"


class _Compressed(Exception):
    """What would be written is not the file."""


class _Short(Exception):
    """The connection ended before every announced byte had come."""


def _failed(url: str, why: str) -> SelfflError:
    name = unquote(urlsplit(url).path).rpartition("/")[2] or "the file"
    return SelfflError(
        f"{url}: cannot be downloaded ({why}); bring {name} from that address by another way and give it by "
        "--source FILE"
    )


def _attempt(client: httpx.Client, url: str, part: Path, progress: Progress | None) -> None:
    """One request: goes on behind the bytes at hand if the file there is still the same, else begins anew."""
    notes = part.with_name(part.name + ".json")
    have, validator, length = 0, "", None
    if part.exists():
        with suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads(notes.read_text("utf-8"))
            validator, length = str(state["validator"]), state["length"]
            have = part.stat().st_size if validator and (length is None or isinstance(length, int)) else 0
    if have and have == length:
        return
    headers = {"Range": f"bytes={have}-", "If-Range": validator} if have else {}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416 and have:  # more bytes at hand than the file has: it is another one now
            _discard(part)
            raise _Short("the file on the server has changed")
        response.raise_for_status()
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _Compressed("the server sends the file compressed though it was asked not to")
        resumed = _resumed(response, have, length)
        if have and response.status_code == 206 and not resumed:
            _discard(part)
            raise _Short("the server answered with another part of the file than it was asked for")
        if not resumed:
            announced = response.headers.get("Content-Length", "")
            have, length = 0, int(announced) if announced.isdigit() else None
            # only a strong validator says that bytes are the same (RFC 9110, section 13.1.5)
            tag = response.headers.get("ETag", "")
            validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
            _discard(part)
            notes.write_text(json.dumps({"validator": validator, "length": length}), encoding="utf-8")
        with part.open("ab" if resumed else "wb") as stream:
            for chunk in response.iter_raw():
                stream.write(chunk)
                have += len(chunk)
                if progress:
                    progress(have, length)
                if length is not None and have > length:
                    break
            stream.flush()
            os.fsync(stream.fileno())
    if length is not None and have != length:
        if have > length:
            _discard(part)
        raise _Short(f"{have:,} bytes came where {length:,} were announced")


def _resumed(response: httpx.Response, have: int, length: int | None) -> bool:
    """Whether the answer is the rest of the file from byte `have`, of the same length as before."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if response.status_code != 206 or match is None or int(match[1]) != have:
        return False
    return length is None or match[2] in ("*", str(length))
