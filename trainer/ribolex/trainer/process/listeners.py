"""Who listens to a trainer: lines of JSON, bars in a terminal, a file of its state.

Knows nothing of what is trained.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from ribolex.trainer.commands.bars import StageBars
from ribolex.trainer.ledger import write_json
from ribolex.trainer.process.reporting import Event, Reporter

STATE_FILE = "state.json"

_A_LINE_S = 1.0
"""Progress of one stage is written so often at most."""
_A_STATE_S = 2.0


class JsonLines:
    """Writes an object a line; not every progress."""

    def __init__(self, write: Callable[[str], object]) -> None:
        """Takes what writes a line."""
        self._write = write
        self._last_s = 0.0
        self._at = ("", "")

    def take(self, event: Event) -> None:
        """Writes the event, unless it is progress and the last is not long ago."""
        at = event.stage, event.dictionary
        if event.kind == "progress":
            is_last = event.fields["done"] == event.fields["total"]
            is_late = time.monotonic() - self._last_s >= _A_LINE_S
            if at == self._at and not is_last and not is_late:
                return
            self._at, self._last_s = at, time.monotonic()
        fields = {"time": moment(event.time_s), "event": event.kind, **event.fields}
        self._write(json.dumps(fields))


class Bars:
    """Shows stages as bars, and a line for everything else."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: StageBars | None = None

    def take(self, event: Event) -> None:
        """Moves the bar of progress, or writes a line."""
        if event.kind == "progress":
            self._show(event)
        elif event.kind in ("end", "waiting", "stopped"):
            self.close()
        if event.kind not in ("progress", "stage"):
            self._console.print(sentence(event), highlight=False, markup=False)

    def close(self) -> None:
        """Leaves the bars as they are."""
        if self._bars is not None:
            self._bars.__exit__()
            self._bars = None

    def _show(self, event: Event) -> None:
        if self._bars is None:
            self._bars = StageBars(self._console)
            self._bars.__enter__()
        fields, note = event.fields, ""
        if "fvu" in fields:
            note = f"FVU {fields['fvu']:.3f}, {fields.get('dead', 0)} dead"
            note += f", {fields.get('rows_per_s', 0):,.0f} rows/s"
        name = f"{event.stage} {event.dictionary}".rstrip()
        done, total = int(str(fields["done"])), int(str(fields["total"]))
        self._bars.show(name, done, total, note)


class StateFile:
    """Keeps in a file what the trainer does just now, for `ribolex trainer status`."""

    def __init__(self, workdir: Path) -> None:
        self._file = workdir / STATE_FILE
        self._last_s = 0.0
        self._at: tuple[str, str] | None = None

    def take(self, event: Event) -> None:
        """Writes the event, unless the stage is the same and the last not long ago."""
        if event.kind in ("stage", "log", "serving"):
            return
        now = time.monotonic()
        at = event.stage, event.dictionary
        if event.kind == "progress":
            if at == self._at and now - self._last_s < _A_STATE_S:
                return
            self._at, self._last_s = at, now
        state = {"event": event.kind, "time_s": event.time_s, **event.fields}
        write_json(self._file, {**state, "pid": os.getpid()})


class LogEvents(logging.Handler):
    """Makes events of log records, so that all lines are of one kind."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        """Tells the record; with a traceback if there is one."""
        trace = None
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
        self._reporter.tell(
            "log",
            level=record.levelname.lower(),
            logger=record.name,
            message=record.getMessage(),
            traceback=trace,
        )


def sentence(event: Event) -> str:
    """Returns an event in words."""
    fields, name = event.fields, event.dictionary
    said = {
        "run": "{names} to {registry}",
        "published": "published {ref}, and made it current",
        "unchanged": "nothing to do: {ref} was published before",
        "failed": (f"{name}: " if name else "") + "failed: {error}",
        "end": "done in {seconds:.0f} s: {published} published, {unchanged} unchanged, "
        "{gate_failed} failed a gate, {failed} failed",
        "waiting": "waiting for the corpus to grow, or a request",
        "changed": "the corpus changed: {reason}",
        "requested": f"asked for {name}",
        "stopped": "stopped; the next run goes on from here",
        "serving": "metrics at {url}",
        "log": "{level}: {message}",
        "gate_failed": f"{name} is not published: gate " + "{gate} got {got:.4f}, "
        "expected {side} {limit:g}; it lies in {candidate}",
    }[event.kind]
    side = str(fields.get("bound", "")).replace("_", " ")
    names = fields.get("dictionaries")
    listed = ", ".join(map(str, names)) if isinstance(names, list) else ""
    return said.format(**fields, side=side, names=listed)


def moment(time_s: float) -> str:
    """Returns a time as ISO 8601, UTC."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_s))
    return f"{whole}.{int(time_s % 1 * 1000):03d}Z"
