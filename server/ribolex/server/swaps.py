"""Which version is served: by the registry's word, or by a caller's; one at a time.

Another version is loaded beside the one in use, its files are checked, its fit with
the model and its panel, and then one reference is exchanged; or it is refused, and
nothing has changed. Knows nothing of messages.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from ribolex.errors import (
    CorruptArtefactError,
    DictionaryInUseError,
    DictionaryNotFoundError,
    IncompatibleDictionaryError,
    NotReadyError,
    OverloadedError,
    RibolexError,
    StaleWriteError,
)
from ribolex.registry import Event
from ribolex.server.dictionaries import Dictionaries
from ribolex.server.follower import Follower
from ribolex.server.logs import log_fault
from ribolex.server.metrics import Metrics
from ribolex.server.panel import PANEL
from ribolex.server.shelf import Shelved
from ribolex.server.watching import Change, ChangeKind, Watchers

_LOG = logging.getLogger(__name__)

REASONS = ("corrupt", "incompatible", "panel", "not_found", "not_ready", "fault")
"""Why a version is refused, as metrics say it."""
_PASSING = ("not_ready", "fault")


Told = TypeVar("Told")


class Moved(NamedTuple):
    """A version was made current."""

    name: str
    version: int
    before: int | None
    """The version that was current until then."""


class _Refused(NamedTuple):
    ref: str
    kind: str
    text: str


class Swaps:
    """Follows the registry from `start` to `close`. For one event loop.

    Attributes:
        watchers: Told of every change.
        follower: Of the registry.
    """

    def __init__(
        self,
        dictionaries: Dictionaries,
        metrics: Metrics,
        *,
        reconcile_s: float = 30.0,
    ) -> None:
        self._dictionaries = dictionaries
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._wanted: int | None = None
        self._refused: _Refused | None = None
        self._retired: set[str] | None = None
        self._task: asyncio.Task[None] | None = None
        self.watchers = Watchers()
        self.follower = Follower(
            dictionaries.registry,
            dictionaries.served_name,
            lambda events: self._tell(self._hear, events),
            lambda version: self._tell(self._want, version),
            reconcile_s,
        )

    def start(self) -> None:
        """Begins to follow."""
        self._task = asyncio.create_task(self._run())
        self.follower.start()

    async def close(self) -> None:
        """Ends a swap in progress, and following; what is served stays as it is."""
        self.follower.end()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def notes(self) -> list[str]:
        """Returns what is not as it should be, though calls are answered."""
        found = []
        if self.follower.away:
            found.append(f"the registry is away: {self.follower.away}")
        if self._refused is not None:
            found.append(f"{self._refused.ref} is refused: {self._refused.text}")
        return found

    def state(self) -> list[Change]:
        """Returns what is so now, as changes."""
        kinds: Sequence[tuple[ChangeKind, Shelved | None]] = [
            ("serving", self._dictionaries.serving),
            ("kept", self._dictionaries.previous),
        ]
        return [_change(kind, one) for kind, one in kinds if one is not None]

    async def activate(
        self, name: str, version: int, expected: int | None = None
    ) -> Moved:
        """Makes a version current, checked before and in use here when this returns.

        Args:
            name: a dictionary's name.
            version: of it.
            expected: the version that must be current; 0 for none, None for any.

        Raises:
            StaleWriteError: another one is, or became so meanwhile.
            RibolexError: it cannot be used; nothing has changed.
        """
        async with self._turn:
            registry = self._dictionaries.registry
            before = await asyncio.to_thread(registry.current, name)
            if expected is not None and (expected or None) != before:
                raise StaleWriteError(name, expected or None, before)
            with self._timed(f"{name}@{version}"):
                found = await self._ready(name, version)
                if before != version:
                    await asyncio.to_thread(registry.set_current, name, version, before)
                self._use(found)
        return Moved(name, version, before)

    async def roll_back(self, name: str = "") -> Moved:
        """Activates the version that was current before the current one.

        Args:
            name: a dictionary's name; empty for the one that is served.

        Raises:
            DictionaryNotFoundError: there is none.
            RibolexError: as `activate`.
        """
        name = name or self._dictionaries.default.partition("@")[0]
        now = await asyncio.to_thread(self._dictionaries.registry.current, name)
        if now is None:
            raise DictionaryNotFoundError(name)
        previous, serving = self._dictionaries.previous, self._dictionaries.serving
        if (
            previous is not None
            and serving is not None
            and (name, now) == (serving.dictionary.name, serving.dictionary.version)
        ):
            target = previous.dictionary.version
        else:
            target = await asyncio.to_thread(self._before, name, now)
        return await self.activate(name, target, now)

    async def retire(self, name: str, version: int, bound: Collection[str]) -> None:
        """Withdraws a version for good.

        Args:
            name: a dictionary's name.
            version: of it.
            bound: versions that collections are indexed under.

        Raises:
            DictionaryNotFoundError: there is no such version.
            DictionaryInUseError: it is current, the default here, or bound.
        """
        ref = f"{name}@{version}"
        if ref in bound:
            raise DictionaryInUseError(ref, "a collection is indexed under it")
        serving = self._dictionaries.serving
        if ref == self._dictionaries.default or (serving and serving.ref == ref):
            raise DictionaryInUseError(ref, "this server serves it")
        await asyncio.to_thread(self._dictionaries.registry.retire, ref)
        self._note_retired(name, version)

    def _before(self, name: str, now: int) -> int:
        """Returns the version that was current before one, by the record."""
        registry = self._dictionaries.registry
        gone = {e.version for e in registry.list() if e.name == name and e.is_retired}
        for event in reversed(registry.history()):
            is_other = event.kind == "current" and event.name == name
            if is_other and event.version != now and event.version not in gone:
                return event.version
        message = f"no version of {name!r} was current before {name}@{now}"
        raise DictionaryNotFoundError(name, message)

    async def _run(self) -> None:
        """Serves what the registry wants, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._wanted is None:
                continue
            try:
                await self._follow(self._dictionaries.served_name, self._wanted)
            except Exception as error:  # told by _timed; the one in use serves on
                _LOG.debug("not swapped: %s", type(error).__name__)

    async def _follow(self, name: str, version: int) -> None:
        async with self._turn:
            serving, ref = self._dictionaries.serving, f"{name}@{version}"
            if self._wanted != version:
                return  # the pointer moved on while another swap was in progress
            registry = self._dictionaries.registry
            if await asyncio.to_thread(registry.current, name) != version:
                return  # told of before, it comes after what was done here since
            if serving is not None and serving.ref == ref:
                self._refused = None
                return
            refused = self._refused
            if refused and refused.ref == ref and refused.kind not in _PASSING:
                return
            with self._timed(ref):
                self._use(await self._ready(name, version))

    async def _ready(self, name: str, version: int) -> Shelved:
        """Returns a version that was loaded and checked, beside the one in use."""
        found = await self._dictionaries.fitting(name, version)
        if found not in (self._dictionaries.serving, self._dictionaries.previous):
            self.watchers.tell(_change("loaded", found))
        return found

    def _use(self, found: Shelved) -> None:
        """Exchanges the reference, if it is this name that is served."""
        name, version = found.dictionary.name, found.dictionary.version
        self._dictionaries.currents[name] = version
        if name != self._dictionaries.served_name:
            return
        self._wanted, self._refused = version, None
        if found is self._dictionaries.serving:
            return
        self._dictionaries.exchange(found)
        _LOG.info("dictionary %s is served", found.ref)
        self.watchers.tell(_change("activated", found))

    @contextmanager
    def _timed(self, ref: str) -> Iterator[None]:
        """Measures a swap; one that fails is told, counted, and its memory freed."""
        begun_s = time.monotonic()
        try:
            yield
        except StaleWriteError:
            self._dictionaries.let_go(ref)
            raise
        except Exception as error:
            self._refuse(ref, error)
            raise
        self._metrics.swap_seconds.observe(time.monotonic() - begun_s)

    def _refuse(self, ref: str, error: Exception) -> None:
        kind = _kind(error)
        text = str(error) if isinstance(error, RibolexError) else "a fault of ours"
        if kind == "fault":
            log_fault(_LOG, "a swap failed", error, dictionary=ref)
        else:
            _LOG.error("dictionary %s is refused, serving on: %s", ref, text)
        self._metrics.swap_failures.labels(kind).inc()
        self._dictionaries.let_go(ref)
        name, _, version = ref.rpartition("@")
        if (name, int(version)) == (self._dictionaries.served_name, self._wanted):
            self._refused = _Refused(ref, kind, text)
        self.watchers.tell(Change("refused", name, int(version), reason=text))

    def _hear(self, events: Sequence[Event]) -> None:
        is_first = self._retired is None
        if self._retired is None:
            self._retired = set()
        for event in events:
            if event.kind == "current":
                self._dictionaries.currents[event.name] = event.version
                if event.name == self._dictionaries.served_name:
                    self._want(event.version)
            elif event.kind == "retired" and is_first:
                self._retired.add(event.ref)
            elif event.kind == "retired":
                self._note_retired(event.name, event.version)

    def _note_retired(self, name: str, version: int) -> None:
        ref = f"{name}@{version}"
        self._dictionaries.forget(ref)
        if self._retired is not None and ref not in self._retired:
            self._retired.add(ref)
            self.watchers.tell(Change("retired", name, version))

    def _want(self, version: int) -> None:
        self._wanted = version
        self._wake.set()

    def _tell(self, what: Callable[[Told], None], told: Told) -> None:
        """Has something called on the event loop, unless that is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what, told)


def _change(kind: ChangeKind, shelved: Shelved) -> Change:
    one = shelved.dictionary
    return Change(kind, one.name, one.version, one.content_id)


def _kind(error: Exception) -> str:
    """Returns why a version is refused, one of REASONS."""
    if isinstance(error, IncompatibleDictionaryError):
        return "panel" if error.what == PANEL else "incompatible"
    if isinstance(error, CorruptArtefactError):
        return "corrupt"
    if isinstance(error, DictionaryNotFoundError):
        return "not_found"
    return (
        "not_ready" if isinstance(error, NotReadyError | OverloadedError) else "fault"
    )
