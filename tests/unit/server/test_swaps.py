"""Swaps from within: memory given back, one at a time, what counts as a reason."""

import asyncio
import gc
import weakref

import pytest
from tests.conftest import random_dictionary

from ribolex.dictionary import Dictionary, write_dictionary
from ribolex.errors import DictionaryInUseError, NotReadyError, StaleWriteError
from ribolex.lm import LanguageModel
from ribolex.registry import FolderRegistry
from ribolex.server.dictionaries import Dictionaries
from ribolex.server.metrics import Metrics
from ribolex.server.swaps import Swaps

N_VERSIONS = 6


@pytest.fixture(scope="module")
def versions(
    tmp_path_factory: pytest.TempPathFactory, lm: LanguageModel
) -> FolderRegistry:
    """Gives a registry with tiny@1 to tiny@6, the first of them current."""
    folder = tmp_path_factory.mktemp("versions")
    registry = FolderRegistry(folder / "registry")
    for seed in range(N_VERSIONS):
        staged = folder / str(seed)
        write_dictionary(staged, name="tiny", **random_dictionary(seed, lm, lm.digest))
        registry.publish(staged)
    return registry


@pytest.fixture
async def dictionaries(versions: FolderRegistry, lm: LanguageModel) -> Dictionaries:
    async def vet(dictionary: Dictionary) -> None:
        await asyncio.sleep(0)

    versions.set_current("tiny", 1, versions.current("tiny"))
    found = Dictionaries(versions, lm, "tiny", "cpu", vet)
    await found.start()
    return found


async def test_fifty_swaps_leave_two_versions_in_memory(
    dictionaries: Dictionaries,
) -> None:
    swaps, alive = Swaps(dictionaries, Metrics()), weakref.WeakSet[object]()
    for number in range(50):
        await swaps.activate("tiny", 2 + number % (N_VERSIONS - 1))
        assert dictionaries.serving is not None
        alive.add(dictionaries.serving)
    gc.collect()
    assert len(alive) == 2
    assert dictionaries.n_loaded == 2


async def test_a_version_in_use_lives_until_its_last_request_is_done(
    dictionaries: Dictionaries,
) -> None:
    swaps = Swaps(dictionaries, Metrics())
    begun_with = await dictionaries.fitting()
    for version in (2, 3, 4):
        await swaps.activate("tiny", version)
    assert begun_with.ref == "tiny@1"
    kept = weakref.ref(begun_with)
    del begun_with
    gc.collect()
    assert kept() is None


async def test_versions_of_collections_stay_and_others_come_and_go(
    dictionaries: Dictionaries,
) -> None:
    dictionaries.bind(lambda: {"tiny@2"})
    bound = await dictionaries.get("tiny", 2)
    swaps = Swaps(dictionaries, Metrics())
    for version in (2, 3, 4, 5):
        await swaps.activate("tiny", version)
    assert await dictionaries.get("tiny", 2) is bound
    assert dictionaries.n_loaded == 3
    with pytest.raises(DictionaryInUseError, match="a collection"):
        await swaps.retire("tiny", 2, {"tiny@2"})
    with pytest.raises(DictionaryInUseError, match="this server"):
        await swaps.retire("tiny", 5, {"tiny@2"})


async def test_of_two_activations_at_once_one_is_stale(
    dictionaries: Dictionaries,
) -> None:
    swaps = Swaps(dictionaries, Metrics())
    done = await asyncio.gather(
        *(swaps.activate("tiny", version, 1) for version in (2, 3)),
        return_exceptions=True,
    )
    assert sorted(isinstance(one, StaleWriteError) for one in done) == [False, True]
    assert dictionaries.serving is not None
    current = dictionaries.registry.current("tiny")
    assert dictionaries.serving.dictionary.version == current


async def test_what_was_read_before_an_activation_does_not_undo_it(
    dictionaries: Dictionaries,
) -> None:
    swaps = Swaps(dictionaries, Metrics())
    read_before = dictionaries.registry.events(None, 0)
    with swaps.watchers.watching() as watcher:
        swaps.start()
        await swaps.activate("tiny", 2)
        swaps.follower._on_events(read_before)
        await asyncio.sleep(0.3)
        await swaps.activate("tiny", 3)
        served = [await anext(watcher) for _ in range(4)]
        await swaps.close()
    assert [one.version for one in served] == [2, 2, 3, 3]


async def test_a_passing_fault_is_tried_again_and_a_lasting_one_is_not(
    dictionaries: Dictionaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    swaps = Swaps(dictionaries, metrics, reconcile_s=0.05)
    get, tries = dictionaries.registry.get, []

    def away_once(ref: str) -> Dictionary:
        tries.append(ref)
        if len(tries) == 1:
            raise NotReadyError("the store is away")
        return get(ref)

    monkeypatch.setattr(dictionaries.registry, "get", away_once)
    with swaps.watchers.watching() as watcher:
        swaps.start()
        dictionaries.registry.set_current("tiny", 2, 1)
        kinds = [(await anext(watcher)).kind for _ in range(3)]
        assert kinds == ["refused", "loaded", "activated"]
        await swaps.close()
    assert tries == ["tiny@2"] * 2
    assert swaps.notes() == []
    exposed = metrics.exposed().decode()
    assert 'swap_failures_total{reason="not_ready"} 1.0' in exposed


async def test_requests_need_no_registry_once_all_is_loaded(
    dictionaries: Dictionaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dictionaries.fitting("tiny", 3)

    def away(*_: object) -> None:
        raise NotReadyError("it is away")

    for method in ("get", "current", "list"):
        monkeypatch.setattr(dictionaries.registry, method, away)
    asked = [("", 0), ("tiny", 0), ("tiny", 1), ("tiny", 3)]
    found = [await dictionaries.fitting(*one) for one in asked]
    assert [one.dictionary.version for one in found] == [1, 1, 1, 3]
    with pytest.raises(NotReadyError):
        await dictionaries.fitting("tiny", 4)


async def test_a_version_that_fails_its_check_is_not_kept(
    versions: FolderRegistry, lm: LanguageModel
) -> None:
    checks: list[str] = []

    async def vet(dictionary: Dictionary) -> None:
        checks.append(dictionary.ref)
        if dictionary.version == 2:
            raise NotReadyError("no room")

    versions.set_current("tiny", 1, versions.current("tiny"))
    found = Dictionaries(versions, lm, "tiny", "cpu", vet)
    await found.start()
    with pytest.raises(NotReadyError):
        await found.fitting("tiny", 2)
    assert found.n_loaded == 1
    await found.fitting("tiny", 3)
    await found.fitting("tiny", 3)
    assert checks == ["tiny@1", "tiny@2", "tiny@3"]
