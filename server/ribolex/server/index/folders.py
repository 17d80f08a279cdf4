"""Folders of collections: locked, made, put in their place, deleted.

What is being made or deleted has a name that no collection can have. Knows nothing of
what is in a collection.
"""

import fcntl
import logging
import os
import re
import shutil
import uuid
from pathlib import Path

from ribolex.disk import sync
from ribolex.errors import CollectionExistsError, InvalidRequestError, NotReadyError

_LOG = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of a collection, and so of its folder."""

_COMING, _GOING = ".coming-", ".going-"
_LOCK = ".lock"


def lock(root: Path) -> int:
    """Returns the descriptor that holds a folder's lock until it is closed.

    Raises:
        NotReadyError: another server has it.
    """
    descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise NotReadyError(f"another server uses the data folder {root}") from error
    return descriptor


def check_name(name: str) -> None:
    """Does nothing if a collection can have a name; else raises InvalidRequestError."""
    if not NAME.fullmatch(name):
        raise InvalidRequestError(
            "name",
            f"{name!r} is no collection name, expected 1 to 64 of a-z, A-Z, 0-9, "
            "'-', '_', '.', the first a letter or digit",
        )


def tidy(root: Path) -> list[Path]:
    """Removes what a killed server left half-made; returns the folders that stay."""
    for pattern in (f"{_COMING}*", f"{_GOING}*"):
        for left in root.glob(pattern):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return there(root)


def there(root: Path) -> list[Path]:
    """Returns the folders of collections."""
    hidden = _COMING[0]
    return sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != hidden)


def coming(root: Path) -> Path:
    """Returns a path for something that is being made."""
    return root / f"{_COMING}{uuid.uuid4().hex}"


def place(made: Path, folder: Path) -> None:
    """Puts what was made in its place, on disk when this returns.

    Raises:
        CollectionExistsError: the place is taken.
    """
    sync(made)
    try:
        # A folder that is not empty is never replaced, so only one of two makers wins.
        made.rename(folder)
    except OSError as error:
        raise CollectionExistsError(folder.name) from error
    try:
        sync(folder.parent)
    except OSError:
        folder.rename(made)  # nobody knows of it yet
        raise


def delete(folder: Path) -> None:
    """Deletes a folder, all at once for who looks for it.

    Raises:
        OSError: it is still there.
    """
    going = folder.with_name(f"{_GOING}{uuid.uuid4().hex}")
    folder.rename(going)
    try:
        sync(folder.parent)
        shutil.rmtree(going)
    except OSError as error:
        _LOG.error("%s: what is left goes at the next start: %s", going, error)
