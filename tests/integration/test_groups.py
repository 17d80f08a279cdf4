"""CompareGroups over a real socket: stored RNAs, names, RNAs sent along."""

import uuid
from collections.abc import Iterator
from io import StringIO
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

import pytest
from rich.console import Console
from tests.conftest import OwnServer

from ribolex.client import (
    AsyncClient,
    Client,
    Group,
    InvalidRequestError,
    NotFoundError,
    Rna,
    RnaNotFoundError,
    TimedOutError,
)
from ribolex.client.groups import GroupComparison
from ribolex.client.groups_view import Names, print_comparison
from ribolex.client.volcano import write_volcano


def rnas(kind: str, letters: str, n: int = 14, n_families: int = 10) -> list[Rna]:
    random = Random(kind)
    return [
        Rna(
            f"{kind}{i}",
            "".join(random.choices(letters, k=random.randint(30, 50))),
            metadata={"type": kind, "family": f"{kind}{i % n_families}"},
        )
        for i in range(n)
    ]


RICH, POOR = rnas("rich", "GGGGCCCCAU"), rnas("poor", "AAAAUUUUGC")


@pytest.fixture(scope="module")
def client(running_server: str) -> Iterator[Client]:
    with Client(running_server) as found:
        yield found


@pytest.fixture(scope="module")
def stored(client: Client) -> Iterator[str]:
    name = f"groups-{uuid.uuid4().hex}"
    client.create_collection(name)
    client.upsert(name, [*RICH, *POOR])
    yield name
    client.delete_collection(name)


def test_conditions_names_and_rnas_give_the_same(client: Client, stored: str) -> None:
    kinds: list[tuple[Group, Group]] = [
        (Group(where={"type": "rich"}), Group(where={"type": "poor"})),
        (
            Group(names=sorted(one.name for one in RICH)),
            Group(names=sorted(one.name for one in POOR)),
        ),
        (
            Group(rnas=sorted(RICH, key=lambda one: one.name)),
            Group(rnas=sorted(POOR, key=lambda one: one.name)),
        ),
    ]
    found = [client.compare(*pair, collection=stored) for pair in kinds]
    first = found[0]
    assert first.unit == "clan"
    assert (first.first.n_rnas, first.first.n_units) == (14, 10)
    assert first.n_significant > 0
    assert first.n_beyond_composition <= first.n_significant <= first.n_tested
    q_values = [one.q_value for one in first]
    assert q_values == sorted(q_values)
    for other in found[1:]:
        assert other.first.mean_nucleotides == first.first.mean_nucleotides
        for one, two in zip(first, other, strict=True):
            assert one.feature == two.feature
            assert two.effect == pytest.approx(one.effect, abs=1e-3)
            assert two.shuffled_effect == pytest.approx(one.shuffled_effect, abs=1e-3)


def test_letters_alone_explain_what_differs_in_letters_alone(
    client: Client, stored: str
) -> None:
    found = client.compare(Group(rnas=RICH), Group(rnas=POOR), max_features=1000)
    sure = [one for one in found if one.q_value <= 0.05]
    assert len(sure) == found.n_significant > 3
    assert sum(one.is_composition_only for one in sure) > len(sure) / 2
    without = client.compare(Group(rnas=RICH), Group(rnas=POOR), with_shuffled=False)
    assert all(one.shuffled_effect is None for one in without)
    assert without.n_beyond_composition == without.n_significant


def test_random_halves_of_one_set_do_not_differ(client: Client) -> None:
    mixed = rnas("mixed", "ACGU", 40, 40)
    found = client.compare(
        Group(rnas=mixed[::2]), Group(rnas=mixed[1::2]), max_features=1000
    )
    assert found.n_tested > 20
    assert found.n_significant == 0
    assert sum(one.p_value < 0.05 for one in found) < 0.2 * len(found)


def test_larger_groups_are_drawn_from(client: Client, stored: str) -> None:
    pair = Group(where={"type": "rich"}), Group(where={"type": "poor"})
    asked: dict[str, Any] = {"collection": stored, "max_rnas": 6, "max_features": 5}
    found = client.compare(*pair, **asked, seed=1)
    assert (found.first.n_found, found.first.n_rnas) == (14, 6)
    assert len(found) == 5
    assert client.compare(*pair, **asked, seed=1).features == found.features
    assert client.compare(*pair, **asked, seed=2).features != found.features


def test_units_are_as_asked(client: Client) -> None:
    pair = Group(rnas=RICH), Group(rnas=POOR)
    for unit, n_units in (("rna", 14), ("family", 10), ("clan", 10)):
        found = client.compare(*pair, unit=unit)  # type: ignore[arg-type]
        assert (found.unit, found.first.n_units) == (unit, n_units)
    few = [Group(rnas=rnas(kind, "ACGU", 18, 9)) for kind in "ab"]
    assert client.compare(*few).unit == "rna"
    clans = [
        Rna(one.name, one.sequence, metadata={**one.metadata, "clan": "CL1"})
        for one in RICH[:7]
    ]
    found = client.compare(
        Group(rnas=[*clans, *RICH[7:]]), Group(rnas=POOR), unit="clan"
    )
    assert found.first.n_units == 1 + 7


def test_what_few_units_cannot_tell_is_said(client: Client) -> None:
    pair = [
        Group(rnas=rnas(kind, letters, 12, 4))
        for kind, letters in (("rich", "GGGGCCCCAU"), ("poor", "AAAAUUUUGC"))
    ]
    found = client.compare(*pair, unit="family")
    assert found.smallest_p == pytest.approx(2 / 70)
    assert found.n_needed == ceil(found.n_tested * 2 / 70 / 0.05)
    assert min(one.p_value for one in found) >= 2 / 70 - 1e-12
    said = print_to_text(found)
    assert "4 observations in a group: its intervals are too narrow" in said
    assert f"q <= 0.05 takes {found.n_needed} features that differ so much" in said
    three = [Group(rnas=group.rnas[:3]) for group in pair]
    assert "nothing can have q <= 0.05" in print_to_text(client.compare(*three))
    many = [Group(rnas=rnas(kind, "ACGU", 20)) for kind in "ab"]
    assert "no p can be" not in print_to_text(client.compare(*many))


def print_to_text(found: GroupComparison) -> str:
    console = Console(file=StringIO(), width=100)
    with console.capture() as captured:
        print_comparison(console, Names("a", "b"), found)
    return captured.get()


async def test_the_asynchronous_client_gets_the_same(
    running_server: str, client: Client
) -> None:
    pair = Group(rnas=RICH), Group(rnas=POOR)
    async with AsyncClient(running_server) as other:
        found = await other.compare(*pair)
    assert found.features == client.compare(*pair).features


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (Group(), Group(rnas=POOR), "first: expected exactly one"),
        (Group(rnas=RICH, names=["x"]), Group(rnas=POOR), "first: expected exactly"),
        (Group(rnas=RICH[:1]), Group(rnas=POOR), "first: 1 RNAs, expected 2"),
        (Group(where={"type": "none"}), Group(rnas=POOR), "first: 0 RNAs, expected 2"),
        (
            Group(where={"type": "rich"}),
            Group(names=["rich1", "poor1"]),
            "second: 1 RNAs are in the first group, too, such as 'rich1'",
        ),
        (
            Group(rnas=RICH),
            Group(rnas=[*POOR, *RICH[3:]]),
            "second: 11 RNAs are in the first group, too, such as 'rich3'",
        ),
        (
            Group(
                rnas=[Rna("rich3", RICH[3].sequence.lower().replace("u", "t")), *POOR]
            ),
            Group(where={"type": "rich"}),
            "second: 1 RNAs are in the first group, too, such as 'rich3'",
        ),
        (
            Group(rnas=[Rna("a", "ACGU"), Rna("b", "ACXU")]),
            Group(rnas=POOR),
            r"first.rnas\[1\].sequence: 'X' at position 3",
        ),
        (
            Group(where=[("", ("x",))]),
            Group(rnas=POOR),
            r"first.where\[0\].key: is empty",
        ),
    ],
)
def test_refusals_name_the_field(
    client: Client, stored: str, first: Group, second: Group, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        client.compare(first, second, collection=stored)


def test_rnas_sent_in_both_groups_are_refused_though_few_are_drawn(
    client: Client,
) -> None:
    many = rnas("many", "ACGU", 40)
    second = Group(rnas=many[20:])
    with pytest.raises(InvalidRequestError, match="such as 'many20'"):
        client.compare(Group(rnas=many[:21]), second, max_rnas=2)
    namesake = Rna("many20", many[0].sequence)
    assert client.compare(Group(rnas=[*many[:20], namesake]), second).n_tested > 0


def test_what_is_not_there_is_not_found(client: Client, stored: str) -> None:
    names = Group(names=["rich1", "nobody"])
    with pytest.raises(RnaNotFoundError):
        client.compare(names, Group(rnas=POOR), collection=stored)
    with pytest.raises(NotFoundError):
        client.compare(names, Group(rnas=POOR), collection="nowhere")
    with pytest.raises(InvalidRequestError, match="collection: is empty"):
        client.compare(names, Group(rnas=POOR))
    with pytest.raises(InvalidRequestError, match="expected none with a collection"):
        client.compare(names, Group(rnas=POOR), collection=stored, dictionary="tiny")


def test_too_much_to_read_is_refused_and_time_is_kept(own_server: OwnServer) -> None:
    pair = Group(rnas=RICH), Group(rnas=POOR)
    with own_server(max_scan_tokens=1500) as address, Client(address) as client:
        assert client.compare(*pair, with_shuffled=False).n_tested > 0
        with pytest.raises(InvalidRequestError, match="max-scan-tokens"):
            client.compare(*pair)
    with own_server() as address, Client(address, timeout_s=0.03) as client:
        many = rnas("many", "ACGU", 300, 300)
        with pytest.raises(TimedOutError):
            client.compare(Group(rnas=many[:150]), Group(rnas=many[150:]))


def test_the_volcano_is_a_picture(tmp_path: Path, client: Client) -> None:
    path = tmp_path / "volcano.svg"
    found = client.compare(Group(rnas=RICH), Group(rnas=POOR), max_features=1000)
    write_volcano(path, Names("rich", "poor"), found)
    first = path.read_bytes()
    assert len(first) > 5000
    write_volcano(path, Names("rich", "poor"), found)
    assert path.read_bytes() == first
