"""From what a user writes to the registry meant: a folder, Redis, or the box."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from ribolex.errors import InvalidRequestError
from ribolex.registry.folder import FolderRegistry
from ribolex.registry.protocol import Registry
from ribolex.registry.store import FolderStore, Store

if TYPE_CHECKING:
    from ribolex.registry.requests import Requests

BUNDLED = "bundled"
"""Stands for the dictionaries that come in the box."""

_REDIS = ("redis", "rediss", "unix")
_ARTEFACTS = "artefacts"


def open_registry(text: str) -> Registry:
    """Returns the registry at a path, a URL, or in the box for "bundled".

    Args:
        text: "redis://HOST:PORT/0?artefacts=FOLDER" or the same with rediss:// or
            unix://, where FOLDER may be any URL that fsspec knows, percent-encoded.
            Everything without :// is a path.

    Raises:
        InvalidRequestError: the text is another URL, or tells of no artefacts.
    """
    if text == BUNDLED:
        from ribolex_bundle import dictionaries_path

        return FolderRegistry(dictionaries_path())
    if "://" not in text:
        return FolderRegistry(Path(text))
    url, artefacts = _split(text)
    if not artefacts:
        raise InvalidRequestError(
            "registry", "a Redis keeps no files, expected ?artefacts=FOLDER at its end"
        )
    from ribolex.registry.redis_registry import RedisRegistry

    return RedisRegistry(url, _open_store(artefacts))


def open_requests(text: str) -> "Requests":
    """Returns the requests that are kept beside a registry.

    Args:
        text: as `open_registry` takes it; of a Redis, artefacts are not needed.

    Raises:
        InvalidRequestError: the text is another URL, or the registry in the box.
    """
    if text == BUNDLED:
        raise InvalidRequestError(
            "registry", "the one in the box takes no requests, expected your own"
        )
    from ribolex.registry.requests import FolderRequests, RedisRequests

    if "://" not in text:
        return FolderRequests(Path(text))
    return RedisRequests(_split(text)[0])


def _split(text: str) -> tuple[str, str]:
    """Returns the URL of a Redis, and where the files are; "" if it does not say."""
    address, _, query = text.partition("?")
    options = dict(parse_qsl(query))
    artefacts = options.pop(_ARTEFACTS, "")
    scheme = text.partition("://")[0]
    if scheme not in _REDIS:
        raise InvalidRequestError(
            "registry", f"{scheme}:// is none, expected a path or redis://"
        )
    return f"{address}?{urlencode(options)}", artefacts


def _open_store(text: str) -> Store:
    if "://" not in text:
        return FolderStore(Path(text))
    from ribolex.registry.url import UrlStore

    return UrlStore(text)
