"""What SQLite and the disk raise, as errors that tell a caller what is wrong.

Knows nothing of what was being done, or of how an error is told.
"""

import errno
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ribolex.errors import (
    CorruptArtefactError,
    NotReadyError,
    RibolexError,
    StorageFullError,
)

_LOG = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_AWAY = (
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
)


def error_of(error: Exception, where: Path) -> RibolexError | None:
    """Returns what an error of SQLite or of the system means; None if nothing known.

    Args:
        error: what was raised.
        where: the file or folder that was read or written.
    """
    if isinstance(error, OSError):
        return StorageFullError(where) if error.errno in _FULL else None
    # The low byte of a code is its kind. Errors of Python's own have none.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if kind == sqlite3.SQLITE_FULL:
        return StorageFullError(where)
    if kind in _DAMAGED:
        return CorruptArtefactError(where, f"not readable: {error}")
    return NotReadyError(f"{where}: {error}") if kind in _AWAY else None


@contextmanager
def translated(where: Path) -> Iterator[None]:
    """Turns what SQLite or the system raises within into an error of ours, and logs it.

    Args:
        where: the file or folder that is read or written.

    Raises:
        StorageFullError: there is no space left.
        CorruptArtefactError: the file is damaged.
        NotReadyError: it cannot be reached.
    """
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        found = error_of(error, where)
        if found is None:
            raise
        _LOG.error("%s", found)
        raise found from error
