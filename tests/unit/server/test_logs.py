"""Events in both forms, and errors that do not quote what they met."""

import json
import logging
import sqlite3
from collections.abc import Callable

import pytest

from ribolex.server.logs import (
    JsonFormatter,
    TextFormatter,
    current_request,
    log_event,
    log_fault,
    traceback_of,
)

LOG = logging.getLogger("ribolex.test")
SECRET = "ACGUGGAUUC"

Formatter = Callable[[], logging.Formatter]
FORMS = [TextFormatter, JsonFormatter]


def failed() -> ValueError:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(f"bad {SECRET}\nline") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize("form", FORMS)
def test_an_event_is_one_line_with_its_fields(
    caplog: pytest.LogCaptureFixture, form: Formatter
) -> None:
    caplog.set_level(logging.INFO)
    current_request.set("r7")
    log_event(LOG, logging.INFO, "call", method="Encode", n_sequences=3)
    current_request.set("")
    line = form().format(caplog.records[-1])
    assert "\n" not in line
    if form is JsonFormatter:
        event = json.loads(line)
        assert (event["message"], event["level"]) == ("call", "info")
        assert (event["request_id"], event["n_sequences"]) == ("r7", 3)
    else:
        assert line.endswith("call, request_id r7, method Encode, n_sequences 3")


@pytest.mark.parametrize("form", FORMS)
def test_a_fault_tells_where_and_what_kind_but_not_its_words(
    caplog: pytest.LogCaptureFixture, form: Formatter
) -> None:
    log_fault(LOG, "a batch failed", failed())
    LOG.error("by the book", exc_info=failed())
    for record in caplog.records:
        line = form().format(record)
        assert "\n" not in line
        assert SECRET not in line
        assert "in failed" in line
        assert "KeyError" in line
        assert "ValueError" in line


def test_an_operator_reads_what_the_disk_said() -> None:
    assert "No space left" in traceback_of(OSError(28, "No space left on device", "x"))
    with pytest.raises(sqlite3.OperationalError) as caught:
        sqlite3.connect(":memory:").execute("SELECT 1 FROM nowhere")
    assert "SQLITE_ERROR" in traceback_of(caught.value)
