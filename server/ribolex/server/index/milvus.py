"""A Milvus: where it is, how it is asked, and that it may be away.

pymilvus, of the extra ribolex[milvus], is imported when it is first asked. Knows
addresses, errors and times; nothing of what is kept there.
"""

import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import grpc

from ribolex.disk import write_whole
from ribolex.errors import CorruptArtefactError, InvalidRequestError, NotReadyError

_LOG = logging.getLogger(__name__)

Result = TypeVar("Result")
Job = Callable[[Any], Result]
"""Asks a pymilvus.MilvusClient, and returns once it has answered."""

TIMEOUT_S = 10.0
"""For one answer."""
_REST_S = 1.0
"""After it was away, until it is asked again."""

_PATIENCE = 4
"""Times as long it rests as it was waited for."""

_IDENTITY = ".milvus"
"""Names the file, in the folder of all collections, that tells its own from others'."""

_ANSWERS = range(3, 1 << 16)
"""Codes of errors that a Milvus answered with; 1 and 2 may be of the connection."""


@dataclass(frozen=True, slots=True)
class MilvusAddress:
    """Where a Milvus is."""

    url: str
    database: str = ""
    token_file: Path | None = None
    """Holds "user:password", or a key; read whenever a connection is made."""

    @classmethod
    def parse(cls, text: str) -> "MilvusAddress":
        """Returns what a URL says: http://HOST:PORT?token_file=PATH&database=NAME.

        Raises:
            InvalidRequestError: it is no such URL.
        """
        parts = urlsplit(text)
        told = dict(parse_qsl(parts.query))
        database, token = told.pop("database", ""), told.pop("token_file", None)
        is_known = parts.scheme in ("http", "https") and parts.hostname and not told
        if not is_known or parts.username is not None:
            raise InvalidRequestError(
                "--milvus",
                "expected http://HOST:PORT or https://HOST:PORT, with token_file=PATH "
                "or database=NAME after a '?' at most",
            )
        url = f"{parts.scheme}://{parts.netloc}{parts.path}"
        return cls(url, database, None if token is None else Path(token))


class Milvus:
    """The Milvus that keeps the codes of a server's collections. Thread-safe.

    Attributes:
        address: Where it is.
        root: Folder of all collections.
        is_up: Whether it answered when it was asked last.
    """

    def __init__(self, address: MilvusAddress, root: Path) -> None:
        """Connects when it is first asked.

        Raises:
            InvalidRequestError: pymilvus is not installed.
        """
        if find_spec("pymilvus") is None:
            raise InvalidRequestError(
                "--milvus", "needs pymilvus: pip install 'ribolex[milvus]'"
            )
        self.address, self.root = address, root.absolute()
        self._client: Any = None
        self._lock = threading.Lock()
        self._prefix = ""
        self._next_s = 0.0
        self.is_up = True

    @property
    def prefix(self) -> str:
        """What the names of everything there begin with that is this folder's."""
        with self._lock:
            if not self._prefix:
                self._prefix = f"ribolex_{_identity(self.root)}_"
            return self._prefix

    def ask(self, job: Job[Result]) -> Result:
        """Returns what a job gives. Blocks, for TIMEOUT_S at most.

        A job may be done twice: a connection ends, and another one will do.

        Raises:
            NotReadyError: it is away, or cannot do that now; says where and why.
        """
        errors, begun_s = _errors(), time.monotonic()
        if not self._may_try(begun_s):
            raise NotReadyError(f"Milvus at {self.address.url} is away")
        try:
            result = self._do(job, errors, begun_s)
        except errors as error:
            text, is_answer = _text_of(error), _is_answer(error)
            if is_answer or self.is_up:
                _LOG.warning("Milvus at %s: %s", self.address.url, text)
            self.is_up = is_answer
            if not is_answer:
                self._give_up(begun_s)
            raise NotReadyError(f"Milvus at {self.address.url}: {text}") from error
        if not self.is_up:
            _LOG.info("Milvus at %s answers again", self.address.url)
        self.is_up = True
        return result

    def _do(
        self, job: Job[Result], errors: tuple[type[Exception], ...], begun_s: float
    ) -> Result:
        try:
            return job(self._connected())
        except errors as error:
            is_late = time.monotonic() > begun_s + _REST_S
            if not self.is_up or is_late or _is_answer(error):
                raise
        self.close()
        return job(self._connected())

    def tidy(self, kept: Callable[[], Iterable[str]]) -> None:
        """Drops what is this folder's and begins with none of what `kept` gives.

        Raises:
            NotReadyError: it is away; nothing, or not all of it, was dropped.
        """
        prefix = self.prefix

        def drop(client: Any) -> None:
            there = client.list_collections(timeout=TIMEOUT_S)
            # Asked afterwards: what is made meanwhile has its folder before.
            stems = tuple(kept())
            for name in there:
                if name.startswith(prefix) and not name.startswith(stems):
                    drop_collection(client, name)
                    _LOG.info("Milvus collection %s dropped", name)

        self.ask(drop)

    def close(self) -> None:
        """Ends the connection."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _connect(self.address)
            return self._client

    def _may_try(self, now_s: float) -> bool:
        """Returns whether to ask; while it is away that is one at a time."""
        with self._lock:
            if self.is_up:
                return True
            if now_s < self._next_s:
                return False
            self._next_s = now_s + TIMEOUT_S + _REST_S
            return True

    def _give_up(self, begun_s: float) -> None:
        """Has nobody ask for a while, and then by another connection.

        Longer where it was waited for in vain: who waits keeps a collection from all
        other work.
        """
        now_s = time.monotonic()
        with self._lock:
            self._next_s = now_s + max(_REST_S, _PATIENCE * (now_s - begun_s))
        self.close()


def _is_answer(error: Exception) -> bool:
    """Returns whether a Milvus answered, though with an error."""
    code = getattr(error, "code", None)
    return isinstance(code, int) and code in _ANSWERS


def _text_of(error: Exception) -> str:
    """Returns what an error of pymilvus, of gRPC or of the system says."""
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(getattr(error, "message", "") or error)


def drop_collection(client: Any, name: str) -> None:
    """Drops a Milvus collection and the aliases that it has."""
    found = client.list_aliases(name, timeout=TIMEOUT_S)
    for alias in found["aliases"]:
        client.drop_alias(alias, timeout=TIMEOUT_S)
    client.drop_collection(name, timeout=TIMEOUT_S)


def _identity(root: Path) -> str:
    path = root / _IDENTITY
    try:
        found = path.read_bytes().strip()
    except FileNotFoundError:
        found = secrets.token_hex(6).encode()
        write_whole(path, found + b"\n")
    if not re.fullmatch(rb"[0-9a-f]{12}", found):
        raise CorruptArtefactError(path, f"{found[:20]!r}, expected 12 digits")
    return found.decode()


def _errors() -> tuple[type[Exception], ...]:
    """Returns what pymilvus raises if a Milvus is away or refuses."""
    # It would take a .env above its own folder, compose's maybe, for ours.
    os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")
    from pymilvus.exceptions import MilvusException

    # A closed channel raises a ValueError, a token that cannot be read an OSError.
    return MilvusException, grpc.RpcError, ValueError, OSError


def _connect(address: MilvusAddress) -> Any:
    from pymilvus import MilvusClient

    # What it logs, with tracebacks, is raised as well.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    file = address.token_file
    return MilvusClient(
        address.url,
        token="" if file is None else file.read_text(encoding="utf-8").strip(),
        db_name=address.database,
        timeout=TIMEOUT_S,
        dedicated=True,
    )
