"""Features in another version of their dictionary, over a real socket."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from tests.conftest import random_dictionary, serving
from tests.integration.conftest import connect
from tests.integration.test_cli import Run, run
from tests.integration.test_collections import refused

from ribolex import client as rc
from ribolex.client import AsyncClient, Client
from ribolex.dictionary import write_dictionary
from ribolex.lm import LanguageModel
from ribolex.registry import FolderRegistry
from ribolex.server.settings import ServerSettings
from ribolex.v1 import codes_pb2
from ribolex.v1 import dictionary_pb2 as pb

__all__ = ["run"]  # a fixture

REVERSED = np.arange(96, dtype=np.int32)[::-1]
SHIFTED = np.arange(96, dtype=np.int32) - 1
"""Feature 0 is new, and none goes on 95."""


@dataclass
class Versions:
    """A server, and the registry that it follows."""

    registry: FolderRegistry
    address: str


@pytest.fixture(scope="module")
def versions(
    tiny_settings: dict[str, Any],
    lm: LanguageModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Versions]:
    """Gives tiny@1 to 5: 2 and 4 go on 1, 3 on 2, 5 is of another model; also lost@."""
    folder = tmp_path_factory.mktemp("mapping")
    registry = FolderRegistry(folder / "registry")
    for name in ("tiny", "lost"):
        ids = [""]
        for version, ancestor, step, sure, digest in (
            (1, 0, REVERSED, 0.0, lm.digest),
            (2, 1, SHIFTED, 0.9, lm.digest),
            (3, 2, REVERSED, 0.8, lm.digest),
            (4, 1, REVERSED, 0.5, lm.digest),
            (5, 3, REVERSED, 0.8, "0" * 64),
        ):
            parts = random_dictionary(version, lm, digest)
            parts["identity"] = replace(parts["identity"], ancestor=ids[ancestor])
            if ancestor:
                confidence = np.where(step >= 0, sure, 0).astype(np.float32)
                parts["features"] = replace(
                    parts["features"], ancestor=step, ancestor_confidence=confidence
                )
            staged = folder / f"{name}-{version}"
            write_dictionary(staged, name=name, **parts)
            ids.append(registry.get(registry.publish(staged)).content_id)
        registry.set_current(name, 1)
    fields = {**tiny_settings, "registry": str(registry), "data": folder / "data"}
    with serving(ServerSettings(**fields)) as address:
        yield Versions(registry, address)


@pytest.fixture
def client(versions: Versions) -> Iterator[Client]:
    with Client(versions.address, timeout_s=30) as client:
        yield client


Told = list[tuple[int, int | None, float]]


def told(found: rc.MappedFeatures) -> Told:
    return [(one.feature, one.counterpart, round(one.confidence, 4)) for one in found]


def test_confidences_are_multiplied_backwards_and_forwards(client: Client) -> None:
    back = client.map_features([95, 10, 94], source="tiny@3", target="tiny@1")
    assert told(back) == [(95, None, 0), (10, 84, 0.72), (94, 0, 0.72)]
    assert [one.label for one in back] == [
        "",
        "feature 84 of seed 1",
        "feature 0 of seed 1",
    ]
    assert [str(one) for one in back.path] == ["tiny@3", "tiny@2", "tiny@1"]
    forth = client.map_features([84, 95], source="tiny@1", target="tiny@3")
    assert told(forth) == [(84, 10, 0.72), (95, None, 0)]
    over = client.map_features([1], source="tiny@2", target="tiny@4")
    assert told(over) == [(1, 95, 0.45)]
    assert [str(one) for one in over.path] == ["tiny@2", "tiny@1", "tiny@4"]
    same = client.map_features([7, 7], source="tiny", target="tiny@1")
    assert told(same) == [(7, 7, 1.0), (7, 7, 1.0)]
    with pytest.raises(rc.InvalidRequestError, match="4294967296 is no id"):
        client.map_features([2**32])


async def test_all_features_are_mapped_to_what_is_current_if_nothing_is_said(
    client: Client, versions: Versions
) -> None:
    found = client.map_features(source="tiny@2")
    assert str(found.target) == "tiny@1"
    assert [one.counterpart for one in found] == [None, *range(95)]
    assert client.map_features(target="tiny@2")[3].counterpart == 4
    async with AsyncClient(versions.address) as other:
        assert await other.map_features(source="tiny@2") == found


@pytest.mark.parametrize(
    ("source", "target", "features", "code", "message"),
    [
        (2, ("other", 1), [1], "INVALID_ARGUMENT", "target: 'other' found, expected a"),
        (
            1,
            ("", 1),
            [1] * 97,
            "INVALID_ARGUMENT",
            "features: 97 ids, expected at most",
        ),
        (
            1,
            ("", 2),
            [96],
            "NOT_FOUND",
            "there is no feature 96 in dictionary 'tiny@1'",
        ),
        (1, ("", 9), [1], "NOT_FOUND", "there is no dictionary 'tiny@9'"),
        (
            3,
            ("", 5),
            [1],
            "FAILED_PRECONDITION",
            "dictionary 'tiny@5' is of another language model: lm_digest is 0000",
        ),
    ],
)
def test_what_cannot_be_mapped_is_refused(
    versions: Versions,
    source: int,
    target: tuple[str, int],
    features: list[int],
    code: str,
    message: str,
) -> None:
    request = pb.MapFeaturesRequest(
        source=codes_pb2.DictionaryRef(name="tiny", version=source),
        target=codes_pb2.DictionaryRef(name=target[0], version=target[1]),
        features=features,
    )
    stubs = connect(versions.address)
    with stubs.channel:
        failure = refused(stubs.dictionaries.MapFeatures, request)
    assert failure.code.name == code
    assert failure.message.startswith(message)


def test_a_way_over_what_was_retired_or_purged_is_refused(
    client: Client, versions: Versions
) -> None:
    client.retire("lost@2")
    broken = r"'lost@3': lineage is broken at lost@2, which was retired"
    with pytest.raises(rc.IncompatibleDictionaryError, match=broken):
        client.map_features([1], source="lost@3", target="lost@1")
    with pytest.raises(rc.DictionaryNotFoundError, match="'lost@2' was retired"):
        client.map_features([1], source="lost@3", target="lost@2")
    # What a feature was is still told: others may have written its old number down.
    before = client.feature(9, dictionary="lost@3").ancestor
    assert before is not None
    assert (str(before.dictionary), before.feature) == ("lost@2", 86)
    assert before.confidence == pytest.approx(0.8)
    versions.registry.purge("lost@2")
    with pytest.raises(rc.IncompatibleDictionaryError, match="not here any more"):
        client.map_features([1], source="lost@1", target="lost@3")
    assert (
        client.map_features([1], source="lost@4", target="lost@1")[0].counterpart == 94
    )


def test_the_shell_tells_what_features_are_and_were(
    run: Run,
    versions: Versions,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("RIBOLEX_SERVER", versions.address)
    asked = ("feature", "map", "94", "95", "--from", "tiny@3", "--to", "tiny@1")
    assert run(*asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "tiny@3 tiny@1 sure label",
        "f94 f0 72% feature 0 of seed 1",
        "f95 none -",
        "1 of 2 have a counterpart; by way of tiny@3 - tiny@2 - tiny@1",
    ]
    assert run(*asked, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == ["tiny@3", "tiny@2", "tiny@1"]
    assert [one["counterpart"] for one in found["features"]] == [0, None]
    assert run("feature", "map", "--from", "tiny@2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 98
    assert max(map(len, lines)) <= 80
    assert run("feature", "map", "1", "--from", "tiny@3", "--to", "tiny@5") == 1
    assert "lm_digest" in capsys.readouterr().err
    assert run("feature", "show", "94", "--dictionary", "tiny@2") == 0
    assert "  was f93 in tiny@1, sure to 90%\n" in capsys.readouterr().out
    for number in ("0", "94"):
        assert run("feature", "show", number, "--dictionary", "tiny@2", "--json") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["ancestor"] is None
    assert second["ancestor"]["feature"] == 93
    assert run("feature", "show", "94") == 0
    assert "was f" not in capsys.readouterr().out
