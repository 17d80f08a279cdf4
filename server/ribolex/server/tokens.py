"""Tokens and the file that holds them: hashed, never the tokens themselves.

A token is 256 random bits, so that one round of SHA-256 hides it: there is no guessing
what a slower hash would slow down. Knows nothing of calls.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from ribolex.errors import CorruptInputError, InvalidRequestError

Scope = Literal["read", "write", "admin"]
"""What a token may do: each one holds those before it."""

SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
_PREFIX = "ribolex_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Token(BaseModel):
    """A token as it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Of whoever holds it; appears in the log."""
    scope: Scope
    sha256: str
    """Of the token, in hexadecimal."""
    created: str
    """When it was made, UTC."""


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    tokens: tuple[Token, ...] = ()


class Added(NamedTuple):
    """A token that was made, which is shown this once."""

    secret: str
    token: Token


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Returns the tokens of a file.

    Raises:
        CorruptInputError: it is no file of tokens.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    try:
        found = _File.model_validate_json(content).tokens
    except ValidationError as error:
        # Without pydantic's words, which quote the file.
        raise CorruptInputError(path, "is no file of tokens") from error
    if len({token.name for token in found}) < len(found):
        raise CorruptInputError(path, "has a name twice")
    return found


def add_token(path: Path, name: str, scope: Scope) -> Added:
    """Makes a token and notes it in a file, which is made if it is not there.

    Raises:
        InvalidRequestError: the name is taken, or cannot be one.
        CorruptInputError: it is no file of tokens.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            "name",
            f"{name!r} is no name of a token, expected 1 to 64 of a-z, A-Z, 0-9, '-', "
            "'_', '.', the first a letter or digit",
        )
    known = read_tokens(path) if path.exists() else ()
    if name in {token.name for token in known}:
        raise InvalidRequestError("name", f"there is a token {name!r}: revoke it first")
    secret = _PREFIX + secrets.token_urlsafe(32)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    token = Token(name=name, scope=scope, sha256=_hashed(secret), created=created)
    _write(path, (*known, token))
    return Added(secret, token)


def revoke_token(path: Path, name: str) -> None:
    """Takes a token out of a file.

    Raises:
        InvalidRequestError: there is none of that name.
        CorruptInputError: it is no file of tokens.
    """
    known = read_tokens(path)
    left = tuple(token for token in known if token.name != name)
    if len(left) == len(known):
        raise InvalidRequestError("name", f"there is no token {name!r}")
    _write(path, left)


def match(secret: str, tokens: Sequence[Token]) -> Token | None:
    """Returns the token that a secret is, or None.

    Takes as long for each secret: all tokens are compared, each in constant time.
    """
    hashed = _hashed(secret)
    found = None
    for token in tokens:
        if hmac.compare_digest(hashed, token.sha256):
            found = token
    return found


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _write(path: Path, tokens: tuple[Token, ...]) -> None:
    """Replaces the file so that a reader sees all of it.

    A new file is for its owner's eyes only. One that was there keeps mode and owner, so
    that a server of another user goes on reading it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(_File(tokens=tokens).model_dump_json(indent=1) + "\n")
        file.flush()
        if path.exists():
            before = path.stat()
            if before.st_uid != os.geteuid():  # which root alone may keep
                with suppress(PermissionError):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
        os.fsync(file.fileno())
    temporary.replace(path)
