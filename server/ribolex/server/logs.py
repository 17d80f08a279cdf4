"""How events are written: a line for people, or a JSON object.

An event is a short message and fields; both forms show the same. What went wrong is
told by where it was raised and of what kind it is, never by an error's own words,
which may quote a sequence. Knows nothing of what is logged.
"""

import json
import logging
import sqlite3
import sys
import time
import traceback
from contextvars import ContextVar
from typing import Literal

_FIELDS = "ribolex_fields"


current_request: ContextVar[str] = ContextVar("current_request", default="")
"""The id of the call that the code that runs serves; "" if it serves none."""


def log_event(logger: logging.Logger, level: int, event: str, **fields: object) -> None:
    """Logs an event with fields, which are numbers or short words.

    Args:
        logger: of the module that logs.
        level: as in `logging`.
        event: what happened.
        **fields: a Logger's own attributes are no names for them.
    """
    if logger.isEnabledFor(level):
        if request_id := current_request.get():
            fields = {"request_id": request_id, **fields}
        logger.log(level, event, extra={_FIELDS: fields})


def log_fault(
    logger: logging.Logger, event: str, error: BaseException, **fields: object
) -> None:
    """Logs a fault of ours: where it was raised, through what, and of what kind."""
    log_event(
        logger,
        logging.ERROR,
        event,
        **fields,
        error=type(error).__qualname__,
        traceback=traceback_of(error),
    )


def traceback_of(error: BaseException) -> str:
    """Returns an error's traceback, with those behind it, without their words.

    Words are kept of the few kinds that never quote a sequence and that an operator
    must read: those of the system (no space left) and of SQLite (disk is full).
    """
    parts = []
    behind = error.__cause__ or (
        None if error.__suppress_context__ else error.__context__
    )
    if behind is not None:
        parts.append(traceback_of(behind))
        parts.append("which led to:")
    frames = traceback.extract_tb(error.__traceback__)
    parts += [f"{each.filename}:{each.lineno} in {each.name}" for each in frames]
    words = ""
    if isinstance(error, OSError):
        words = f": {error.strerror}"
    elif isinstance(error, sqlite3.Error):
        words = (
            f": {error.sqlite_errorname}" if hasattr(error, "sqlite_errorname") else ""
        )
    parts.append(f"{type(error).__module__}.{type(error).__qualname__}{words}")
    return "\n".join(parts)


def configure_logging(
    level: Literal["debug", "info", "warning", "error"],
    form: Literal["text", "json"],
) -> None:
    """Sends all events to standard error; for once, at the start of a process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=level.upper())
    # Tells at INFO which of its builds it tried.
    logging.getLogger("faiss").setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """One line an event: "time LEVEL logger: message, field value, field value"."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line of one event."""
        # Not by way of the base: it would show a traceback that another one formatted.
        event = {"message": record.getMessage(), **_fields(record)}
        words = [str(event.pop("message"))]
        words += [f"{key} {value}" for key, value in event.items()]
        line = f"{_moment(record)} {record.levelname:7} {record.name}: "
        return " | ".join((line + ", ".join(words)).splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object a line; the time is UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line of one event."""
        event = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        return json.dumps(event, default=str)


def _moment(record: logging.LogRecord) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03d}Z"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    found: dict[str, object] = dict(getattr(record, _FIELDS, {}))
    if record.exc_info and record.exc_info[1] is not None:
        found["traceback"] = traceback_of(record.exc_info[1])
    return found
