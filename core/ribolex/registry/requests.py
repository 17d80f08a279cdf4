"""Requests for a new version of a dictionary, kept until somebody has dealt with them.

They lie beside the registry: files in its folder, or a stream of its Redis. Knows
nothing of who trains, or how.
"""

import json
import logging
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ribolex.disk import write_whole
from ribolex.errors import InvalidRequestError
from ribolex.registry.connection import Connection
from ribolex.registry.protocol import is_name

log = logging.getLogger(__name__)

STREAM = "ribolex:requests"
"""Stream of a Redis: name, time_s."""
FOLDER = ".requests"
"""Folder of a folder registry; no dictionary can be called that."""

_MAX_REQUESTS = 1000
"""A stream is cut to about so many, so that nobody can fill a Redis with them."""
_BLOCK_S = 1.0
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """That somebody wants a dictionary trained anew."""

    id: str
    name: str
    time_s: float
    """When, as a UTC timestamp."""


class Requests(Protocol):
    """Requests of all names. Thread-safe; any method may raise NotReadyError."""

    def ask(self, name: str) -> TrainRequest:
        """Leaves a request, which outlives this process.

        Raises:
            InvalidRequestError: that cannot be the name of a dictionary.
        """

    def wait(self, names: Collection[str], timeout_s: float) -> Sequence[TrainRequest]:
        """Returns what is asked for of some names, oldest first.

        Args:
            names: requests for others stay for others.
            timeout_s: longest wait for the first; then the answer is empty.
        """

    def settle(self, request: TrainRequest) -> None:
        """Removes a request that was dealt with; nothing happens if it is gone."""


class FolderRequests:
    """A file a request, in the folder of a registry."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def ask(self, name: str) -> TrainRequest:
        """Leaves a request."""
        _check(name)
        self._folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        request = TrainRequest(f"{int(now * 1e6):020d}-{uuid.uuid4().hex}", name, now)
        said = json.dumps({"name": name, "time_s": now})
        write_whole(self._file(request), said.encode())
        return request

    def wait(self, names: Collection[str], timeout_s: float) -> Sequence[TrainRequest]:
        """Returns what is asked for of some names."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = [each for each in self._all() if each.name in names]
            left_s = deadline - time.monotonic()
            if found or left_s <= 0:
                return found
            time.sleep(min(_LOOK_S, left_s))

    def settle(self, request: TrainRequest) -> None:
        """Removes a request."""
        self._file(request).unlink(missing_ok=True)

    def _file(self, request: TrainRequest) -> Path:
        return self._folder / f"{request.id}.json"

    def _all(self) -> list[TrainRequest]:
        found = []
        for file in sorted(self._folder.glob("[!.]*.json")):
            try:
                fields = json.loads(file.read_bytes())
                name, time_s = str(fields["name"]), float(fields["time_s"])
            except FileNotFoundError:
                continue  # another has settled it
            except (OSError, ValueError, KeyError, TypeError):
                log.warning("%s is no request, left alone", file)
                continue
            found.append(TrainRequest(file.stem, name, time_s))
        return found


class RedisRequests:
    """The entries of a stream, each deleted once it is dealt with."""

    def __init__(self, url: str) -> None:
        self._connection = Connection(url)

    def ask(self, name: str) -> TrainRequest:
        """Leaves a request."""
        _check(name)
        now = time.time()
        fields: Any = {"name": name, "time_s": repr(now)}
        with self._connection.reached() as redis:
            found = redis.xadd(STREAM, fields, maxlen=_MAX_REQUESTS, approximate=True)
        return TrainRequest(str(found), name, now)

    def wait(self, names: Collection[str], timeout_s: float) -> Sequence[TrainRequest]:
        """Returns what is asked for of some names."""
        deadline = time.monotonic() + timeout_s
        position = "0-0"
        while True:
            left_s = deadline - time.monotonic()
            block_ms = max(1, int(1000 * min(left_s, _BLOCK_S)))
            with self._connection.reached() as redis:
                answer = redis.xread({STREAM: position}, block=block_ms)
            lines = answer[0][1] if answer else []
            found = [each for line in lines if (each := _read(*line)) is not None]
            found = [each for each in found if each.name in names]
            if found or time.monotonic() >= deadline:
                return found
            if lines:
                position = lines[-1][0]

    def settle(self, request: TrainRequest) -> None:
        """Removes a request."""
        with self._connection.reached() as redis:
            redis.xdel(STREAM, request.id)


def _read(position: str, fields: dict[str, str]) -> TrainRequest | None:
    try:
        return TrainRequest(position, fields["name"], float(fields["time_s"]))
    except (KeyError, ValueError):
        log.warning("%s of stream %s is no request, left alone", position, STREAM)
        return None


def _check(name: str) -> None:
    if not is_name(name):
        raise InvalidRequestError("name", f"{name!r} is no dictionary name")
