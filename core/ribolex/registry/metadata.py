"""What Redis knows of dictionaries: versions, pointers, retirements, and the stream.

Knows nothing of files: whoever announces a version has put it in place.
"""

import re
from collections.abc import Sequence
from typing import Any

from ribolex.dictionary import Manifest
from ribolex.registry import scripts
from ribolex.registry.connection import Answer, Connection
from ribolex.registry.protocol import Event, EventKind
from ribolex.registry.scripts import EVENTS, MAX_EVENTS, NAMES, Keys

_START = "0-0"
"""Before the first event of a stream."""
_POSITION = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


class Metadata:
    """The metadata of a registry. Thread-safe.

    Any method raises NotReadyError if Redis does not answer.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def run(self, name: str, script: str, *arguments: str | int) -> Answer:
        """Runs a script on the keys of a name."""
        return self.connection.run(script, Keys.of(name), *arguments)

    def names(self) -> Sequence[str]:
        """Returns the names that anything was published under, in order."""
        with self.connection.reached() as redis:
            return sorted(redis.smembers(NAMES))

    def versions(self, name: str) -> set[int]:
        """Returns the versions of a name, those that were purged left out."""
        with self.connection.reached() as redis:
            return set(map(int, redis.hkeys(Keys.of(name).versions)))

    def manifests(self, name: str) -> dict[int, str]:
        """Returns the manifests of the versions of a name, as JSON."""
        with self.connection.reached() as redis:
            known = redis.hgetall(Keys.of(name).versions)
        return {
            int(version): text.partition("\n")[2] for version, text in known.items()
        }

    def manifest(self, name: str, version: int) -> str | None:
        """Returns the manifest of a version, as JSON; None if there is none."""
        with self.connection.reached() as redis:
            known = redis.hget(Keys.of(name).versions, str(version))
        return None if known is None else str(known).partition("\n")[2]

    def retired(self, name: str) -> set[int]:
        """Returns the retired versions of a name, purged or not."""
        with self.connection.reached() as redis:
            return set(map(int, redis.hkeys(Keys.of(name).retired)))

    def current(self, name: str) -> int | None:
        """Returns the current version of a name, or None."""
        with self.connection.reached() as redis:
            found = redis.hget(Keys.of(name).current, "version")
        return int(found) if found else None

    def announce(self, manifest: Manifest, token: str) -> bool:
        """Makes a version known whose files are there; returns whether it did.

        It does not if the token is not that of the lease.
        """
        answer = self.run(
            manifest.name,
            scripts.PUBLISH,
            token,
            manifest.name,
            manifest.version,
            manifest.content_id,
            manifest.to_bytes().decode("ascii"),
        )
        return answer.word == "ok"

    def history(self) -> Sequence[Event]:
        """Returns the events that the stream holds, oldest first."""
        with self.connection.reached() as redis:
            return [_event(*line) for line in redis.xrange(EVENTS)]

    def events(self, after: str | None, wait_s: float) -> Sequence[Event]:
        """Returns the events after a position, all that is so if it is not known."""
        if after is None or not _POSITION.fullmatch(after):
            return self._state(wait_s)
        with self.connection.reached() as redis:
            answer = redis.xread({EVENTS: after}, block=_block_ms(wait_s))
            # Read first, looked for second: what came after it when it was still
            # there had not been cut either.
            if after == _START:
                is_known = redis.xlen(EVENTS) < MAX_EVENTS
            else:
                is_known = bool(redis.xrange(EVENTS, after, after))
        if not is_known:
            return self._state(wait_s)
        return [_event(*line) for line in answer[0][1]] if answer else []

    def _state(self, wait_s: float) -> Sequence[Event]:
        """Returns all that is so now, as events; waits if that is nothing."""
        with self.connection.reached() as redis:
            newest = redis.xrevrange(EVENTS, count=1)
        position = newest[0][0] if newest else _START
        events = [event for name in self.names() for event in self._of(name, position)]
        if not events:
            with self.connection.reached() as redis:
                redis.xread({EVENTS: position}, block=_block_ms(wait_s))
        return events

    def _of(self, name: str, position: str) -> Sequence[Event]:
        events = []

        def add(kind: EventKind, version: str, time_s: str) -> None:
            events.append(Event(kind, name, int(version), float(time_s), position))

        keys = Keys.of(name)
        known, retired, current = self.connection.transaction(
            [("hgetall", key) for key in (keys.versions, keys.retired, keys.current)]
        )
        for version in sorted(known, key=int):
            add("published", version, known[version].partition("\n")[0])
        if current:
            add("current", current["version"], current["time_s"])
        for version in sorted(retired, key=int):
            add("retired", version, retired[version])
        return events


def _block_ms(wait_s: float) -> int | None:
    """Returns the wait as XREAD takes it, to which 0 is for ever."""
    return max(1, int(wait_s * 1000)) if wait_s > 0 else None


def _event(position: str, fields: dict[str, Any]) -> Event:
    version, time_s = int(fields["version"]), float(fields["time_s"])
    return Event(fields["kind"], fields["name"], version, time_s, position)
