"""The way from version to version: older, newer, over branches, and where it ends."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.unit.dictionary.conftest import make_parts

from ribolex.dictionary import Identity
from ribolex.errors import IncompatibleDictionaryError
from ribolex.registry import Entry
from ribolex.registry.lineage import find_ancestor, find_route

IDENTITY = make_parts()["identity"]


def entry(version: int, ancestor: int = 0, *, is_retired: bool = False) -> Entry:
    assert isinstance(IDENTITY, Identity)
    identity = replace(IDENTITY, ancestor=f"id-{ancestor}" if ancestor else "")
    return Entry("demo", version, f"id-{version}", identity, False, is_retired)


LISTED = [entry(5), entry(4, 1), entry(3, 2), entry(2, 1), entry(1)]


def without(version: int) -> list[Entry]:
    return [one for one in LISTED if one.version != version]


def retired(version: int) -> list[Entry]:
    return [replace(one, is_retired=one.version == version) for one in LISTED]


def path(listed: Sequence[Entry], source: int, target: int) -> tuple[str, ...]:
    known = {one.version: one for one in LISTED}
    found = find_route(listed, known[source], known[target])
    return tuple(ref.removeprefix("demo@") for ref in found.path)


def test_one_goes_back_forth_and_over_branches() -> None:
    assert path(LISTED, 3, 1) == ("3", "2", "1")
    assert path(LISTED, 1, 3) == ("1", "2", "3")
    assert path(LISTED, 3, 4) == ("3", "2", "1", "4")
    assert path(LISTED, 2, 2) == ("2",)


def test_steps_are_read_of_all_but_the_shared_ancestor() -> None:
    found = find_route(LISTED, LISTED[2], LISTED[1])
    assert found == (("demo@3", "demo@2"), ("demo@4",), "demo@1")
    # It is only what both lead to: whether it can be had does not matter.
    assert path(retired(1), 2, 4) == ("2", "1", "4")
    assert path(without(1), 2, 4) == ("2", "4")


@pytest.mark.parametrize(("source", "target"), [(3, 1), (1, 3), (3, 4), (4, 3)])
def test_what_was_retired_or_purged_on_the_way_breaks_it(
    source: int, target: int
) -> None:
    with pytest.raises(
        IncompatibleDictionaryError,
        match="'demo@3': lineage is broken at demo@2, which was retired",
    ):
        path(retired(2), source, target)
    with pytest.raises(
        IncompatibleDictionaryError,
        match=r"'demo@3': lineage is broken at a version .* \(content id-2\)",
    ):
        path(without(2), source, target)


def test_what_shares_no_ancestor_cannot_be_mapped() -> None:
    with pytest.raises(
        IncompatibleDictionaryError, match="lineage is apart from demo@5's"
    ):
        path(LISTED, 3, 5)


def test_other_names_do_not_count() -> None:
    others = [replace(one, name="else") for one in LISTED]
    with pytest.raises(IncompatibleDictionaryError, match="broken"):
        path(others, 3, 1)
    assert find_ancestor([*others, *LISTED], LISTED[2]) == "demo@2"
    assert find_ancestor(others, LISTED[2]) == ""
    assert find_ancestor(LISTED, LISTED[0]) == ""
