"""The way from one version of a dictionary to another, along their ancestors.

Works on what a registry lists. Knows nothing of features.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ribolex.dictionary import Dictionary
from ribolex.errors import IncompatibleDictionaryError
from ribolex.registry.protocol import Entry

Version = Entry | Dictionary


class Route(NamedTuple):
    """How two versions hang together: both go back to one ancestor.

    Either side is empty if that version is the ancestor itself.
    """

    back: tuple[str, ...]
    """The source and its ancestors, "name@version", as far as the shared one, which
    is not among them."""
    forth: tuple[str, ...]
    """The same of the target, the target first."""
    shared: str
    """The shared ancestor; "" if it was purged."""

    @property
    def path(self) -> tuple[str, ...]:
        """All versions on the way, from the source to the target."""
        shared = (self.shared,) if self.shared else ()
        return (*self.back, *shared, *reversed(self.forth))


def find_route(listed: Iterable[Entry], source: Version, target: Version) -> Route:
    """Returns the way from one version to another of the same name.

    The shared ancestor's own lineage is not on the way, so that it may be retired or
    purged; source and target are taken to be neither.

    Args:
        listed: what the registry lists, other names included.
        source: where it begins.
        target: where it ends; older, newer or on another branch.

    Raises:
        IncompatibleDictionaryError: a version on the way is retired or purged, or
            there is none.
    """
    known: dict[str, Version] = {
        one.content_id: one for one in listed if one.name == source.name
    }
    known |= {source.content_id: source, target.content_id: target}
    back, forth = _line(source, known), _line(target, known)
    shared = next((one for one in back if one in forth), None)
    if shared is None:
        raise _apart(source, target, back, forth, known)
    back, forth = back[: back.index(shared)], forth[: forth.index(shared)]
    for one, line in ((source, back), (target, forth)):
        for place in map(known.__getitem__, line[1:]):
            if isinstance(place, Entry) and place.is_retired:
                raise _broken(one, f"{place.ref}, which was retired")
    return Route(
        tuple(known[one].ref for one in back),
        tuple(known[one].ref for one in forth),
        known[shared].ref if shared in known else "",
    )


def find_ancestor(listed: Iterable[Entry], version: Version) -> str:
    """Returns the version that another one's lineage goes back to; "" if none is."""
    sought = version.identity.ancestor
    return next(
        (
            one.ref
            for one in listed
            if one.name == version.name and one.content_id == sought
        ),
        "",
    )


def _line(version: Version, known: Mapping[str, Version]) -> list[str]:
    """Returns the content ids of a version and its ancestors.

    The last one may be of a version that is not known.
    """
    line = [version.content_id]
    while line[-1] in known:
        ancestor = known[line[-1]].identity.ancestor
        if not ancestor or ancestor in line:
            break
        line.append(ancestor)
    return line


def _apart(
    source: Version,
    target: Version,
    back: Sequence[str],
    forth: Sequence[str],
    known: Mapping[str, Version],
) -> IncompatibleDictionaryError:
    for one, line in ((source, back), (target, forth)):
        if line[-1] not in known:
            what = f"a version that is not here any more (content {line[-1][:12]})"
            return _broken(one, what)
    return IncompatibleDictionaryError(
        source.ref, "lineage", f"apart from {target.ref}'s", "an ancestor in common"
    )


def _broken(version: Version, where: str) -> IncompatibleDictionaryError:
    expected = "every version on the way"
    return IncompatibleDictionaryError(
        version.ref, "lineage", f"broken at {where}", expected
    )
