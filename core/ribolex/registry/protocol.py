"""What a registry is: names, versions, a current pointer, and what happened to them.

Knows nothing of where any of it is kept.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from ribolex.dictionary import Dictionary, Identity, Manifest
from ribolex.errors import (
    CorruptArtefactError,
    DictionaryNotFoundError,
    InvalidRequestError,
)

EventKind = Literal["published", "current", "retired"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class Ref(NamedTuple):
    """A dictionary's name and, if one was said, version."""

    name: str
    version: int | None


def parse_ref(text: str) -> Ref:
    """Returns the parts of "name" or "name@version".

    Raises:
        InvalidRequestError: the text is neither.
    """
    name, at, version = text.partition("@")
    if not is_name(name) or (at and not is_version(version)):
        raise InvalidRequestError(
            "dictionary", f"{text!r} is neither a name nor name@version"
        )
    return Ref(name, int(version) if at else None)


class PinnedRef(NamedTuple):
    """A dictionary's name and version."""

    name: str
    version: int


def parse_pinned(text: str) -> PinnedRef:
    """Returns the parts of "name@version".

    Raises:
        InvalidRequestError: the text is something else, a name alone included.
    """
    name, version = parse_ref(text)
    if version is None:
        raise InvalidRequestError("dictionary", f"{text!r} names no version")
    return PinnedRef(name, version)


def is_name(text: str) -> bool:
    """Returns whether a dictionary in a registry can be called that."""
    return _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Returns whether a text is a version as registries write it."""
    return _VERSION.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Entry:
    """One published version whose files were not purged."""

    name: str
    version: int
    content_id: str
    identity: Identity
    is_current: bool
    is_retired: bool = False

    @classmethod
    def of(cls, manifest: Manifest, current: int | None, is_retired: bool) -> "Entry":
        """Returns the entry of a version with that manifest."""
        return cls(
            manifest.name,
            manifest.version,
            manifest.content_id,
            manifest.identity,
            manifest.version == current,
            is_retired,
        )

    @property
    def ref(self) -> str:
        """The name that pins this version: "name@version"."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that became so: a version was published, made current, or retired."""

    kind: EventKind
    name: str
    version: int
    time_s: float
    """When, as a UTC timestamp; 0 where that is not known."""
    position: str
    """Where to go on once this and all before it in the same answer are dealt with."""

    @property
    def ref(self) -> str:
        """The version: "name@version"."""
        return f"{self.name}@{self.version}"


@runtime_checkable
class Registry(Protocol):
    """Published dictionaries: immutable versions, and one current pointer a name.

    Thread-safe, shared by processes; every call blocks and sees the present. str()
    of one says where it is and gives no password away. Any method may raise
    NotReadyError: what the registry is kept in does not answer.
    """

    def publish(self, staged: Path) -> str:
        """Takes a copy of a dictionary under the next version of its name.

        It does not become current. The staged folder stays as it is. A reader sees
        the version whole or not at all.

        Returns:
            "name@version".

        Raises:
            CorruptArtefactError: the staged folder is not a sound dictionary.
            DictionaryExistsError: the same content was published under this name.
            InvalidRequestError: the name cannot be one in a registry.
            StaleWriteError: another publisher took over meanwhile; nothing was
                published.
        """

    def get(self, ref: str) -> Dictionary:
        """Returns a dictionary after checking it; a name alone is its current version.

        Raises:
            DictionaryNotFoundError: there is no such name, version or current version,
                or it is retired.
            CorruptArtefactError: its files are not what was published.
            InvalidRequestError: the text is no ref.
        """

    def list(self) -> Sequence[Entry]:
        """Returns all versions: names in order, the newest of each first.

        Only manifests are read. A version whose manifest is corrupt is left out and
        logged; `get` says what is wrong with it.
        """

    def current(self, name: str) -> int | None:
        """Returns the current version of a name, or None if none was set.

        Raises:
            CorruptArtefactError: the pointer is unreadable.
            InvalidRequestError: the text is no name.
        """

    def set_current(self, name: str, version: int, expected: int | None = None) -> None:
        """Moves the current pointer if it is still where the caller saw it.

        Args:
            name: a dictionary's name.
            version: a published version of it.
            expected: the current version that the caller has seen; None for none.

        Raises:
            DictionaryNotFoundError: there is no such version, or it is retired.
            StaleWriteError: the pointer is elsewhere.
        """

    def retire(self, ref: str) -> None:
        """Withdraws a version for good: nobody gets it or makes it current any more.

        Nothing happens to one that is retired already.

        Args:
            ref: "name@version".

        Raises:
            DictionaryNotFoundError: there is no such version.
            DictionaryInUseError: it is current.
            InvalidRequestError: the text is no such ref.
        """

    def purge(self, ref: str) -> None:
        """Removes the files of a retired version; its number is not used again.

        Args:
            ref: "name@version".

        Raises:
            DictionaryNotFoundError: there never was such a version.
            InvalidRequestError: it is not retired, or the text is no such ref.
        """

    def events(self, after: str | None, timeout_s: float) -> Sequence[Event]:
        """Returns what happened since a position, as soon as anything has.

        To follow a registry, begin with None and go on from the position of the last
        event got. An event may come twice; of several moves of a pointer it may be
        only the last that comes. What is so in the end always comes.

        Args:
            after: a position; None, or one that this registry does not know (any
                more), for all that is so now.
            timeout_s: longest wait; then the answer is empty.
        """

    def history(self) -> Sequence[Event]:
        """Returns what is on record of the past, oldest first."""

    def reconcile(self) -> Sequence[str]:
        """Mends what crashes and losses left behind; returns a line on each repair.

        Every version that is whole in the store comes back; a current pointer to one
        that is not there is taken away. To run at any time, by anyone.
        """


def retired_error(ref: str) -> DictionaryNotFoundError:
    """Returns the error of asking for a version that was retired."""
    return DictionaryNotFoundError(ref, f"dictionary {ref!r} was retired")


def check_place(
    found: Manifest | Dictionary, name: str, version: int, where: Path | str
) -> None:
    """Does nothing if a dictionary says that it is that name and version.

    Raises:
        CorruptArtefactError: it is another, moved to `where` by hand.
    """
    if (found.name, found.version) != (name, version):
        raise CorruptArtefactError(
            where, f"says {found.name}@{found.version}, expected {name}@{version}"
        )
