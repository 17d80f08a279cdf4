"""Asks a host for the address, size and checksum of a file that it publishes.

Checksums are the hosts' own statements: Zenodo's record gives the MD5, the Hugging
Face hub the SHA-256 of what it stores as large files. Fetches no weights.
"""

import os
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from ribolex.errors import DownloadError
from ribolex.lm.hub import BASES, Check, Source
from ribolex.models.transfer import Remote, read_headers, read_json, with_patience

_SHA256_DIGITS = 64


def describe(
    source: Source,
    mirror: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Remote:
    """Returns the file of a source as its host describes it today.

    Args:
        source: where the weights are published.
        mirror: address to ask in place of the host's own, which answers alike.
        sleep: waits between attempts.

    Raises:
        DownloadError: the host cannot be reached, or has no such file.
    """
    variable, own = BASES[source.host]
    base = (mirror or os.environ.get(variable) or own).rstrip("/")
    if urlsplit(base).scheme not in ("http", "https"):
        message = f"expected an address that begins with https:// (from {variable} "
        raise DownloadError(base, message + "or --mirror)")
    ask = _ask_zenodo if source.host == "zenodo" else _ask_hugging_face
    try:
        remote = ask(base, source, sleep)
    except DownloadError as error:
        message = (
            f"{error.message}. On another machine: fetch {source.address()}, then "
        )
        message += f"`ribolex models pull {source.model} --from FILE` here"
        raise DownloadError(error.url, message) from error
    pinned = (Check("sha256", source.sha256, "Ribolex"),) if source.sha256 else ()
    if not remote.checks and not pinned:
        message = "the host states no checksum; give the file's own with --sha256"
        raise DownloadError(remote.url, message)
    return Remote(
        remote.url, remote.size_bytes, (*pinned, *remote.checks), remote.revision
    )


def _ask_zenodo(base: str, source: Source, sleep: Callable[[float], None]) -> Remote:
    page = f"{base}/api/records/{source.shelf}"
    record = read_json(page, sleep)
    try:
        files = {file["key"]: file for file in record["files"]}
        revision = str(record.get("revision", ""))
        if source.file not in files:
            message = f"record {source.shelf} has no file {source.file}"
            raise DownloadError(page, f"{message}; try another --source")
        size, stated = files[source.file]["size"], files[source.file]["checksum"]
        algorithm, _, digest = stated.rpartition(":")
    except (KeyError, TypeError, AttributeError) as error:
        message = "the host's answer has not the form of a Zenodo record"
        raise DownloadError(page, message) from error
    check = Check(algorithm or "md5", digest.lower(), page)
    if not isinstance(size, int) or check.algorithm not in ("md5", "sha256"):
        raise DownloadError(page, f"cannot check {size!r} bytes of {stated!r}")
    return Remote(source.address(base), size, (check,), revision)


def _ask_hugging_face(
    base: str, source: Source, sleep: Callable[[float], None]
) -> Remote:
    url = source.address(base)
    headers = with_patience(url, lambda: read_headers(url, "X-Linked-ETag"), sleep)
    digest = headers.get("X-Linked-ETag", "").strip('"').lower()
    size, revision = (
        headers.get("X-Linked-Size", ""),
        headers.get("X-Repo-Commit", ""),
    )
    is_sha256 = len(digest) == _SHA256_DIGITS and set(digest) <= set("0123456789abcdef")
    if revision.isalnum():
        # What is fetched is then what was described, even if it is replaced meanwhile.
        url = source.address(base, revision)
    return Remote(
        url,
        int(size) if size.isdecimal() else None,
        (Check("sha256", digest, url),) if is_sha256 else (),
        revision,
    )
