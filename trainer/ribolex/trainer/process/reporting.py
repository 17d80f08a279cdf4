"""What a trainer tells of itself: events, for whoever listens.

Knows nothing of how they are shown.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from ribolex.trainer.pipeline import Progress

Kind = Literal[
    "run",
    "progress",
    "stage",
    "published",
    "unchanged",
    "gate_failed",
    "failed",
    "end",
    "waiting",
    "changed",
    "requested",
    "stopped",
    "serving",
    "log",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    run: a run begins. progress: of a stage. stage: one is done, in so many seconds.
    published, unchanged: a dictionary is current, now or before. gate_failed: one gate
    of one dictionary. failed: a dictionary or a whole run. end: of a run. waiting,
    changed, requested: of a watch. serving: metrics, where.
    """

    kind: Kind
    fields: Mapping[str, object]
    time_s: float
    """UTC."""

    @property
    def stage(self) -> str:
        """The stage that it is of, or ""."""
        return str(self.fields.get("stage", ""))

    @property
    def dictionary(self) -> str:
        """The dictionary that it is of, or ""."""
        return str(self.fields.get("dictionary", ""))


@runtime_checkable
class Listener(Protocol):
    """Is told every event, in the thread that works; must be quick."""

    def take(self, event: Event) -> None:
        """Does what it does with an event."""


class Reporter:
    """Makes events of progress, and tells them all."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners
        self._at: tuple[str, str] | None = None
        self._began_s = 0.0
        self._rows = 0, 0.0

    def tell(self, kind: Kind, **fields: object) -> None:
        """Tells an event; fields that are None are left out. Ends the stage before."""
        if kind != "log":
            self.end_stage()
        self._tell(kind, fields)

    def progress(self, at: Progress) -> None:
        """Tells how far a stage is; whatever stage was before is done."""
        now = time.monotonic()
        if self._at != (at.stage, at.dictionary):
            self.end_stage()
            self._at = at.stage, at.dictionary
            self._began_s = now
            self._rows = at.n_rows or 0, now
        fields: dict[str, object] = {
            "stage": at.stage,
            "dictionary": at.dictionary or None,
            "done": at.done,
            "total": at.total,
            "fvu": None if at.fvu is None else round(at.fvu, 6),
            "dead": at.n_dead,
            "seconds": round(now - self._began_s, 3),
        }
        if at.n_rows is not None:
            n_before, then = self._rows
            if now > then:
                fields["rows_per_s"] = round((at.n_rows - n_before) / (now - then), 1)
        self._tell("progress", fields)

    def end_stage(self) -> None:
        """Tells that the stage at work is done, if one is."""
        if self._at is None:
            return
        stage, dictionary = self._at
        seconds = round(time.monotonic() - self._began_s, 3)
        self._at = None
        self._tell(
            "stage",
            {"stage": stage, "dictionary": dictionary or None, "seconds": seconds},
        )

    def _tell(self, kind: Kind, fields: Mapping[str, object]) -> None:
        known = {key: value for key, value in fields.items() if value is not None}
        event = Event(kind, known, time.time())
        for listener in self._listeners:
            listener.take(event)
