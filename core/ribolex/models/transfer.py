"""Gets one file over HTTP: resumed after every break, verified, whole or not at all.

Knows nothing of models, or of what the hosts tell about their files.
"""

import errno
import hashlib
import http.client
import json
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ribolex.disk import sync
from ribolex.errors import DownloadError
from ribolex.lm.hub import Check

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and those in all, None if nobody knows."""

_T = TypeVar("_T")

_STALL_S = 30.0
_WAITS_S = (1.0, 2.0, 4.0, 8.0)
"""Between attempts that brought nothing new; then it is given up."""
_LONGEST_WAIT_S = 300.0
"""That a host may ask for; where it asks for more it is given up at once."""
_CHUNK_BYTES = 1 << 20
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_AGENT = "ribolex (RNA feature dictionary)"
_OFFLINE = "this machine may be offline, or need its proxy in HTTPS_PROXY"


@dataclass(frozen=True, slots=True)
class Remote:
    """A file as its host describes it."""

    url: str
    size_bytes: int | None
    checks: tuple[Check, ...]
    """What it must be found to have; at least one."""
    revision: str = ""


class _BreakError(Exception):
    """Raised inside when an attempt failed in a way that may pass.

    Attributes:
        wait_s: How long the host asks to be left alone.
    """

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


def fetch(
    remote: Remote,
    target: Path,
    on_progress: Progress,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Brings a file to `target`; goes on where an earlier attempt broke off.

    What has arrived is kept as `target` + ".part" until the whole is verified. One
    caller at a time for one target.

    Raises:
        DownloadError: says what happened and what to do. A part that was found to
            be wrong is removed, any other is kept for the next attempt.
    """
    part = _Part(target, remote)
    try:
        _receive_all(remote, part, on_progress, sleep)
        _verify(remote, part)
        part.finish()
    except _DiskError as error:
        text = f"cannot be written to {target.parent} ({error})"
        if error.number in (errno.ENOSPC, errno.EDQUOT):
            text += "; make room, or name a folder on another disk in RIBOLEX_MODELS"
        raise DownloadError(remote.url, text) from error


def _receive_all(
    remote: Remote,
    part: "_Part",
    on_progress: Progress,
    sleep: Callable[[float], None],
) -> None:
    failures, most = 0, part.size
    while part.size != remote.size_bytes:
        try:
            return _receive(remote, part, on_progress)
        except _BreakError as error:
            failures = 0 if part.size > most else failures + 1
            most = max(most, part.size)
            if failures > len(_WAITS_S):
                message = f"{error}; gave up after {failures} attempts without progress"
                if part.size:
                    message += f". {part.size:,} bytes are kept: run it again to go on"
                raise DownloadError(remote.url, message) from error
            sleep(max(_WAITS_S[max(failures - 1, 0)], error.wait_s))
    return None


def read_json(url: str, sleep: Callable[[float], None] = time.sleep) -> Any:
    """Returns what a host answers in JSON.

    Raises:
        DownloadError: it cannot be reached, or answers something else.
    """

    def ask() -> bytes:
        with open_url(url) as response:
            content: bytes = response.read(_CHUNK_BYTES)
            return content

    try:
        return json.loads(with_patience(url, ask, sleep))
    except ValueError as error:
        raise DownloadError(url, "the host's answer is not JSON") from error


def with_patience(
    url: str, ask: Callable[[], _T], sleep: Callable[[float], None] = time.sleep
) -> _T:
    """Returns what `ask` does, asked again after failures that may pass.

    Raises:
        DownloadError: it failed for good, or too often.
    """
    for wait_s in _WAITS_S:
        try:
            return ask()
        except _BreakError as error:
            sleep(max(wait_s, error.wait_s))
    try:
        return ask()
    except _BreakError as error:
        message = f"{error}; gave up after {len(_WAITS_S) + 1} attempts"
        raise DownloadError(url, message) from error


def read_headers(url: str, wanted: str) -> Message:
    """Returns the headers of the first answer, along redirects, that has `wanted`.

    To be called through `with_patience`.
    """
    request = Request(url, method="HEAD", headers={"User-Agent": _AGENT})
    opener = build_opener(_HeadRedirect(wanted))
    with _told(url, is_first=True):
        try:
            with opener.open(request, timeout=_STALL_S) as response:
                headers: Message = response.headers
                return headers
        except HTTPError as error:
            error.close()
            if error.code // 100 == 3 and wanted in error.headers:
                return error.headers
            raise


class _HeadRedirect(HTTPRedirectHandler):
    """Follows a HEAD as a HEAD, and not beyond an answer that has the header."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if self._wanted in headers:
            return None
        return Request(newurl, method="HEAD", headers={"User-Agent": _AGENT})


@contextmanager
def open_url(
    url: str, headers: Mapping[str, str] | None = None, *, is_first: bool = True
) -> Iterator[http.client.HTTPResponse]:
    """Gives the answer to a GET; failures inside become ours.

    Args:
        url: the address; proxies are taken from the environment.
        headers: to be sent.
        is_first: nothing of this host was heard yet, so that it may be offline.
    """
    request = Request(url, headers={"User-Agent": _AGENT, **(headers or {})})
    with (
        _told(url, is_first=is_first),
        build_opener().open(request, timeout=_STALL_S) as response,
    ):
        yield response


@contextmanager
def _told(url: str, *, is_first: bool) -> Iterator[None]:
    """Turns the failures of a request into what to do about them."""
    try:
        yield
    except HTTPError as error:
        error.close()
        text = f"the host answers {error.code} {error.reason}"
        if error.code in _PASSING:
            wait_s = _asked_wait(error.headers.get("Retry-After", ""))
            if wait_s > _LONGEST_WAIT_S:
                message = f"{text} and asks to come back in {wait_s / 60:,.0f} minutes"
                raise DownloadError(url, message) from error
            raise _BreakError(text, wait_s) from error
        if error.code in (404, 410):
            text += ": it has no such file; try another --source"
        raise DownloadError(url, text) from error
    except (URLError, OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        text = str(reason) or type(reason).__name__
        if isinstance(reason, ssl.SSLCertVerificationError):
            message = f"the host's certificate is not trusted ({text}); behind a "
            message += "proxy of your own name its certificate in SSL_CERT_FILE"
            raise DownloadError(url, message) from error
        if is_first and isinstance(reason, socket.gaierror | ConnectionRefusedError):
            message = f"the host cannot be reached ({text}); {_OFFLINE}"
            raise DownloadError(url, message) from error
        raise _BreakError(f"the connection broke ({text})") from error


def _asked_wait(retry_after: str) -> float:
    """Returns the seconds that a header asks for: a number, or a date to come."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _receive(remote: Remote, part: "_Part", on_progress: Progress) -> None:
    """Asks for what is missing, once, and appends what comes."""
    start = part.size
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and part.etag:
        headers["If-Range"] = part.etag
    try:
        with open_url(remote.url, headers, is_first=not start) as response:
            start = part.begin(response, start)
            total = _total(response, start)
            _check_total(remote, total)
            on_progress(start, total or remote.size_bytes)
            while chunk := response.read1(_CHUNK_BYTES):
                part.append(chunk)
                _check_total(remote, total, at_least=part.size)
                on_progress(part.size, total or remote.size_bytes)
    except DownloadError as error:
        cause = error.__cause__
        if isinstance(cause, HTTPError) and cause.code == 416:
            part.remove()
            raise _BreakError("the host has no more than is here already") from error
        raise
    expected = total or remote.size_bytes
    if expected is not None and part.size < expected:
        text = f"the connection ended at {part.size:,} of {expected:,} bytes"
        raise _BreakError(text)


def _total(response: http.client.HTTPResponse, start: int) -> int | None:
    length = response.headers.get("Content-Length")
    return start + int(length) if length and length.isdecimal() else None


def _check_total(remote: Remote, total: int | None, *, at_least: int = 0) -> None:
    """Stops before a disk is filled with what cannot be the file."""
    stated = remote.size_bytes
    if stated is not None and (at_least > stated or total not in (None, stated)):
        sent = f"{total:,}" if total is not None else f"{at_least:,} or more"
        message = f"sends {sent} bytes, but states {stated:,}; was it just replaced?"
        raise DownloadError(remote.url, f"the host {message} Try again later")


def _verify(remote: Remote, part: "_Part") -> None:
    found = digest_file(part.file, [check.algorithm for check in remote.checks])
    for check in remote.checks:
        got = found[check.algorithm]
        if got != check.digest:
            part.remove()
            message = f"its {check.algorithm} is {got}, expected {check.digest} (by "
            message += f"{check.stated_by}); what was downloaded is removed: try again"
            raise DownloadError(remote.url, message)


def digest_file(file: Path, algorithms: list[str]) -> dict[str, str]:
    """Returns the digests of a file in hexadecimal, by algorithm."""
    running = {one: hashlib.new(one, usedforsecurity=False) for one in algorithms}
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            for digest in running.values():
                digest.update(chunk)
    return {one: digest.hexdigest() for one, digest in running.items()}


class _Part:
    """What has arrived of a file, and a note of which file it is a part of."""

    def __init__(self, target: Path, remote: Remote) -> None:
        """Takes up what is there; drops it if the host states other checksums now."""
        self._target = target
        self.file = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self._remote = remote
        self._about = {
            "url": remote.url,
            "checks": [list(check[:2]) for check in remote.checks],
        }
        self.etag = ""
        try:
            note = json.loads(self._note.read_text())
            self.etag = note.pop("etag")
            is_same = note == self._about
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            is_same = False
        if not is_same or self.size > (remote.size_bytes or self.size):
            self.remove()

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.file.stat().st_size if self.file.exists() else 0

    def begin(self, response: http.client.HTTPResponse, start: int) -> int:
        """Returns where the answer goes on; drops what is here if it starts anew."""
        stated = response.headers.get("Content-Range", "")
        is_rest = response.status == 206 and stated.startswith(f"bytes {start}-")
        if not is_rest:
            self.remove()
            start = 0
        if response.status == 206 and not is_rest:
            raise _BreakError(f"the host sends another range, {stated!r}, than asked")
        etag = response.headers.get("ETag", "")
        # A weak one vouches for no byte, and If-Range must not name it.
        self.etag = "" if etag.startswith("W/") else etag
        with _on_disk():
            free = shutil.disk_usage(self.file.parent).free
            missing = (self._remote.size_bytes or 0) - start
            if missing > free:
                text = f"{missing:,} bytes are to come, {free:,} are free"
                raise OSError(errno.ENOSPC, text)
            self._note.write_text(json.dumps({**self._about, "etag": self.etag}))
        return start

    def append(self, chunk: bytes) -> None:
        """Adds what has arrived, past all buffers of ours."""
        left = memoryview(chunk)
        with _on_disk(), self.file.open("ab", buffering=0) as stream:
            while left:
                left = left[stream.write(left) :]

    def remove(self) -> None:
        """Drops all that has arrived."""
        with _on_disk():
            self.file.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Gives the file its name, once it is on the disk."""
        with _on_disk():
            sync(self.file)
            self.file.replace(self._target)
            self._note.unlink(missing_ok=True)
            sync(self._target.parent)


class _DiskError(Exception):
    """Raised inside for failures of the disk, which are none of the connection."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.number = error.errno


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _DiskError(error) from error
