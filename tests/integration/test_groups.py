"""CompareGroups over a real socket: stored RNAs, names, RNAs sent along."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
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
from ribolex.client.groups_view import Names
from ribolex.client.volcano import write_volcano


def rnas(kind: str, letters: str, n: int = 14, n_families: int = 7) -> list[Rna]:
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
    assert (first.first.n_rnas, first.first.n_units) == (14, 7)
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
    for unit, n_units in (("rna", 14), ("family", 7), ("clan", 7)):
        found = client.compare(*pair, unit=unit)  # type: ignore[arg-type]
        assert (found.unit, found.first.n_units) == (unit, n_units)
    few = [Group(rnas=rnas(kind, "ACGU", 8, 2)) for kind in "ab"]
    assert client.compare(*few).unit == "rna"
    clans = [
        Rna(one.name, one.sequence, metadata={**one.metadata, "clan": "CL1"})
        for one in RICH[:7]
    ]
    found = client.compare(
        Group(rnas=[*clans, *RICH[7:]]), Group(rnas=POOR), unit="clan"
    )
    assert found.first.n_units == 1 + 7


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
