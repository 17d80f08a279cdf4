"""Versions change under a running server: followed, checked, refused, rolled back."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.conftest import OwnServer, random_dictionary
from tests.integration.conftest import Stubs, connect, failure_of
from tests.integration.test_observability import get, scrape
from tests.swapping import swap_under_load
from tests.valkey import running_valkey
from typer.testing import CliRunner

from ribolex.client import (
    AsyncClient,
    Client,
    DictionaryInUseError,
    StaleWriteError,
)
from ribolex.client.commands import versions
from ribolex.dictionary import Codes, Panel, load_dictionary, write_dictionary
from ribolex.dictionary.artefact import WEIGHTS_FILE
from ribolex.lm import LanguageModel
from ribolex.registry import FolderRegistry, Registry, open_registry
from ribolex.registry import folder as folder_registry
from ribolex.registry.cli import register
from ribolex.server.convert.codes import decode_codes
from ribolex.server.engine.encoding import EncodeTask, Recipe
from ribolex.server.engine.task import compute
from ribolex.v1 import codes_pb2, collection_pb2, encoder_pb2
from ribolex.v1 import dictionary_pb2 as pb

Publish = Callable[..., int]


def ref(version: int, name: str = "tiny") -> codes_pb2.DictionaryRef:
    return codes_pb2.DictionaryRef(name=name, version=version)


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "registry")


@pytest.fixture
def publish(tmp_path: Path, lm: LanguageModel, registry: FolderRegistry) -> Publish:
    """Gives a function that publishes a version and returns its number."""
    numbers = itertools.count()

    def make(
        to: Registry = registry, *, digest: str = lm.digest, is_panel_right: bool = True
    ) -> int:
        seed = next(numbers)
        parts = random_dictionary(seed, lm, digest)
        if not is_panel_right:
            codes = parts["panel"].codes
            other = Codes(
                codes.indptr, codes.indices ^ 1, codes.values, codes.n_features
            )
            parts["panel"] = Panel(("one",), ("ACGU",), other)
        staged = tmp_path / f"staged-{seed}"
        write_dictionary(staged, name="tiny", **parts)
        return int(to.publish(staged).rpartition("@")[2])

    return make


@pytest.fixture
def stubs_of(own_server: OwnServer, registry: FolderRegistry) -> Callable[..., Any]:
    """Gives a context manager: a server on the test's own registry."""

    def start(**changes: Any) -> Any:
        return own_server(registry=changes.pop("registry", str(registry)), **changes)

    return start


def version_now(stubs: Stubs) -> int:
    request = encoder_pb2.EncodeRequest(sequences=["ACGU"])
    return stubs.encoder.Encode(request).dictionary.version


def wait_for(what: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 90
    while not what():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def changes(stubs: Stubs, n: int, **request: Any) -> Iterator[tuple[str, int, str]]:
    """Gives the first changes that a watcher is told."""
    call = stubs.dictionaries.Watch(pb.WatchRequest(**request), timeout=90)
    for change in itertools.islice(call, n):
        kind = pb.DictionaryChange.Name(change.change)
        yield (
            kind.removeprefix("DICTIONARY_CHANGE_").lower(),
            change.dictionary.version,
            change.reason,
        )
    call.cancel()


def test_the_server_follows_its_registry(
    stubs_of: Callable[..., Any], publish: Publish, registry: FolderRegistry
) -> None:
    registry.set_current("tiny", publish())
    with stubs_of() as address:
        stubs = connect(address)
        told = changes(stubs, 3)
        assert next(told)[:2] == ("serving", 1)
        publish()
        assert version_now(stubs) == 1  # published is not current
        registry.set_current("tiny", 2, 1)
        assert [each[:2] for each in told] == [("loaded", 2), ("activated", 2)]
        assert version_now(stubs) == 2
        listed = stubs.dictionaries.ListDictionaries(pb.ListDictionariesRequest())
        assert [each.is_default for each in listed.dictionaries] == [True, False]
        pinned = encoder_pb2.EncodeOptions(dictionary=ref(1))
        request = encoder_pb2.EncodeRequest(sequences=["ACGU"], options=pinned)
        assert stubs.encoder.Encode(request).dictionary.version == 1
        stubs.channel.close()


def break_weights(registry: FolderRegistry, version: int) -> None:
    file = Path(str(registry)) / "tiny" / str(version) / WEIGHTS_FILE
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_what_cannot_be_served_is_refused_and_the_old_one_serves_on(
    stubs_of: Callable[..., Any],
    publish: Publish,
    registry: FolderRegistry,
    http_port: int,
) -> None:
    registry.set_current("tiny", publish())
    with stubs_of(http_port=http_port) as address:
        stubs = connect(address)
        told = changes(stubs, 6)
        assert next(told)[:2] == ("serving", 1)
        broken = [publish(), publish(digest="0" * 64), publish(is_panel_right=False)]
        break_weights(registry, broken[0])
        before = 1
        for version, words, reason in zip(
            broken,
            ["SHA-256", "lm_digest", "panel is reproduced to"],
            ["corrupt", "incompatible", "panel"],
            strict=True,
        ):
            registry.set_current("tiny", version, before)
            kind, refused, why = next(told)
            assert (kind, refused) == ("refused", version)
            assert words in why
            assert version_now(stubs) == 1
            status, text = get(http_port, "/readyz")
            assert (status, text) == (200, f"ready\ntiny@{version} is refused: {why}\n")
            key = f'ribolex_dictionary_swap_failures_total{{reason="{reason}"}}'
            assert scrape(http_port)[key] == 1
            before = version
        health = health_pb2_grpc.HealthStub(stubs.channel)
        answer = health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        good = publish()
        registry.set_current("tiny", good, before)
        assert [each[:2] for each in told] == [("loaded", good), ("activated", good)]
        assert get(http_port, "/readyz") == (200, "ready\n")
        found = scrape(http_port)
        infos = [key for key in found if key.startswith("ribolex_dictionary_info")]
        assert len(infos) == 2
        assert any('state="serving",version="5"' in key for key in infos)
        assert found["ribolex_dictionary_swap_seconds_count"] == 1
        assert found["ribolex_dictionaries"] == 2
        stubs.channel.close()


def test_activation_is_compared_and_set(
    stubs_of: Callable[..., Any], publish: Publish, registry: FolderRegistry
) -> None:
    registry.set_current("tiny", publish())
    bad = [publish(), publish(is_panel_right=False)]
    break_weights(registry, bad[0])
    good = publish()
    with stubs_of() as address:
        stubs = connect(address)

        def activate(version: int, **more: Any) -> pb.ActivateResponse:
            request = pb.ActivateRequest(dictionary=ref(version), **more)
            return stubs.dictionaries.Activate(request, timeout=90)

        for version, more, code in [
            (bad[0], {}, "DATA_LOSS"),
            (bad[1], {}, "FAILED_PRECONDITION"),
            (9, {}, "NOT_FOUND"),
            (0, {}, "INVALID_ARGUMENT"),
            (good, {"expected_version": 2}, "ABORTED"),
            (good, {"expected_version": 0}, "ABORTED"),
        ]:
            with pytest.raises(grpc.RpcError) as caught:
                activate(version, **more)
            assert failure_of(caught.value).code.name == code
            assert (registry.current("tiny"), version_now(stubs)) == (1, 1)
        answer = activate(good, expected_version=1)
        assert (answer.dictionary.version, answer.before.version) == (good, 1)
        assert (registry.current("tiny"), version_now(stubs)) == (good, good)
        assert activate(good).before.version == good
        stubs.channel.close()


def test_rollback_leads_to_the_version_before_also_after_a_restart(
    stubs_of: Callable[..., Any], publish: Publish, registry: FolderRegistry
) -> None:
    registry.set_current("tiny", publish())
    publish()
    with stubs_of() as address:
        stubs = connect(address)
        with pytest.raises(grpc.RpcError) as caught:
            stubs.dictionaries.Rollback(pb.RollbackRequest())
        assert failure_of(caught.value).code is grpc.StatusCode.NOT_FOUND
        stubs.dictionaries.Activate(pb.ActivateRequest(dictionary=ref(2)))
        assert [each[:2] for each in changes(stubs, 2)] == [("serving", 2), ("kept", 1)]
        answer = stubs.dictionaries.Rollback(pb.RollbackRequest())
        assert (answer.dictionary.version, answer.before.version) == (1, 2)
        assert version_now(stubs) == registry.current("tiny") == 1
        stubs.channel.close()
    with stubs_of() as address:
        stubs = connect(address)
        answer = stubs.dictionaries.Rollback(pb.RollbackRequest(name="tiny"))
        assert (answer.dictionary.version, answer.before.version) == (2, 1)
        assert version_now(stubs) == 2
        stubs.channel.close()


def test_only_what_nobody_needs_is_retired(
    stubs_of: Callable[..., Any], publish: Publish, registry: FolderRegistry
) -> None:
    registry.set_current("tiny", publish())
    publish(), publish()
    with stubs_of() as address:
        stubs = connect(address)
        create = collection_pb2.CreateCollectionRequest(name="old", dictionary=ref(2))
        stubs.collections.CreateCollection(create)

        def retire(version: int) -> str:
            try:
                stubs.dictionaries.Retire(pb.RetireRequest(dictionary=ref(version)))
            except grpc.RpcError as error:
                return failure_of(error).reason
            return "OK"

        told = changes(stubs, 2)
        next(told)
        assert [retire(1), retire(2)] == ["DICTIONARY_IN_USE"] * 2
        assert [retire(3), retire(9)] == ["OK", "DICTIONARY_NOT_FOUND"]
        assert next(told)[:2] == ("retired", 3)
        options = encoder_pb2.EncodeOptions(dictionary=ref(3))
        request = encoder_pb2.EncodeRequest(sequences=["ACGU"], options=options)
        with pytest.raises(grpc.RpcError) as caught:
            stubs.encoder.Encode(request)
        assert failure_of(caught.value).code is grpc.StatusCode.NOT_FOUND
        stubs.channel.close()


def test_a_collection_is_searched_with_its_own_version_after_a_swap(
    stubs_of: Callable[..., Any], publish: Publish, registry: FolderRegistry
) -> None:
    registry.set_current("tiny", publish())
    versions = [publish() for _ in range(6)]
    with stubs_of() as address:
        stubs = connect(address)
        stubs.collections.CreateCollection(
            collection_pb2.CreateCollectionRequest(name="mine")
        )
        rnas = [collection_pb2.RnaRecord(name="one", sequence="GGAAACCGU")]
        upsert = collection_pb2.UpsertRnasRequest(collection="mine", rnas=rnas)
        stubs.collections.UpsertRnas(iter([upsert]))
        for version in versions:
            stubs.dictionaries.Activate(pb.ActivateRequest(dictionary=ref(version)))
        search = collection_pb2.SearchSimilarRequest(
            collection="mine", sequence="GGAAACCGU"
        )
        found = stubs.collections.SearchSimilar(search)
        assert found.dictionary.version == 1
        assert found.hits[0].score == pytest.approx(1, abs=1e-5)
        assert version_now(stubs) == versions[-1]
        stubs.channel.close()


def test_watchers_are_told_that_the_server_drains(
    stubs_of: Callable[..., Any], publish: Publish, registry: FolderRegistry
) -> None:
    registry.set_current("tiny", publish())
    with stubs_of() as address:
        stubs = connect(address)
        call = stubs.dictionaries.Watch(pb.WatchRequest())
        next(call)
        other = stubs.dictionaries.Watch(pb.WatchRequest(name="other"))
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert failure_of(caught.value).code is grpc.StatusCode.UNAVAILABLE
    assert other.code() is grpc.StatusCode.UNAVAILABLE
    stubs.channel.close()


def test_a_swap_in_progress_does_not_keep_the_server_from_ending(
    stubs_of: Callable[..., Any],
    publish: Publish,
    registry: FolderRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.set_current("tiny", publish())
    publish()
    others = set(threading.enumerate())  # servers of other tests
    begun, go_on = threading.Event(), threading.Event()

    def slow(path: Path) -> Any:
        begun.set()
        go_on.wait(40)
        return load_dictionary(path)

    with stubs_of() as address:
        monkeypatch.setattr(folder_registry, "load_dictionary", slow)
        registry.set_current("tiny", 2, 1)
        assert begun.wait(40)
        stubs = connect(address)
        assert version_now(stubs) == 1
        stubs.channel.close()
        threading.Timer(0.5, go_on.set).start()
    left = set(threading.enumerate()) - others
    assert not [thread for thread in left if thread.name == "ribolex-compute"]


@pytest.mark.slow
def test_a_registry_that_is_away_changes_nothing_until_it_is_back(
    own_server: OwnServer, publish: Publish, tmp_path: Path, http_port: int
) -> None:
    with running_valkey() as valkey:
        url = f"{valkey.url}?artefacts={tmp_path / 'artefacts'}"
        registry = open_registry(url)
        registry.set_current("tiny", publish(registry))
        with own_server(registry=url, http_port=http_port) as address:
            stubs = connect(address)
            publish(registry)
            wait_for(lambda: scrape(http_port)["ribolex_registry_up"] == 1)
            valkey.kill()
            wait_for(lambda: scrape(http_port)["ribolex_registry_up"] == 0)
            assert version_now(stubs) == 1
            assert "the registry is away" in get(http_port, "/readyz")[1]
            activate = pb.ActivateRequest(dictionary=ref(2))
            with pytest.raises(grpc.RpcError) as caught:
                stubs.dictionaries.Activate(activate)
            assert failure_of(caught.value).code is grpc.StatusCode.UNAVAILABLE
            valkey.start()
            open_registry(url).set_current("tiny", 2, 1)
            wait_for(lambda: version_now(stubs) == 2)
            assert scrape(http_port)["ribolex_registry_up"] == 1
            assert get(http_port, "/readyz") == (200, "ready\n")
            stubs.channel.close()


@pytest.mark.slow
def test_twenty_swaps_under_load_fail_nobody_and_mix_nothing(
    stubs_of: Callable[..., Any],
    publish: Publish,
    registry: FolderRegistry,
    lm: LanguageModel,
) -> None:
    registry.set_current("tiny", publish())
    random = np.random.default_rng(0)
    batches = [
        [
            "".join(random.choice(list("ACGU"), size=n))
            for n in random.integers(4, 90, 4)
        ]
        for _ in range(12)
    ]
    truth: dict[int, dict[str, tuple[Any, Any]]] = {}
    texts = [text for batch in batches for text in batch]

    def learn(version: int) -> None:
        dictionary = registry.get(f"tiny@{version}")
        recipe = Recipe(dictionary.sae.k, "max")
        tasks = [EncodeTask(text, dictionary, recipe) for text in texts]
        done = compute(lm, tasks)
        truth[version] = {
            text: (one.pooled.indices, one.pooled.values)
            for text, one in zip(texts, done, strict=True)
            if one.pooled is not None
        }

    def is_right(
        version: int, sequence: str, found: encoder_pb2.EncodedSequence
    ) -> bool:
        indices, values = truth[version][sequence]
        mine = decode_codes(found.sequence_code, "code").row(0)
        return bool(
            np.array_equal(mine.indices, indices)
            and np.allclose(mine.values, values, atol=1e-4)
        )

    learn(1)
    with stubs_of(max_client_calls=64) as address:
        stubs = connect(address)

        def swap(number: int) -> None:
            version = publish()
            learn(version)
            if number % 2:
                stubs.dictionaries.Activate(pb.ActivateRequest(dictionary=ref(version)))
                return
            registry.set_current("tiny", version, version - 1)
            wait_for(lambda: version_now(stubs) == version)

        found = swap_under_load(
            stubs.channel,
            batches,
            is_right,
            (lambda n=n: swap(n) for n in range(20)),  # type: ignore[misc]
            n_callers=3,
        )
        stubs.channel.close()
    assert found.failed == []
    assert found.n_wrong == 0
    assert found.n_swaps == 20
    assert found.n_calls > 20
    assert set(found.versions) > {1, 21} or len(set(found.versions)) > 10


async def test_clients_activate_watch_roll_back_and_retire(
    stubs_of: Callable[..., Any], publish: Publish, registry: FolderRegistry
) -> None:
    registry.set_current("tiny", publish())
    for _ in range(3):
        publish()
    with stubs_of() as address, Client(address) as client:
        told = client.watch("tiny")
        assert (next(told).kind, str(client.activate("tiny@2").before)) == (
            "serving",
            "tiny@1",
        )
        assert [next(told).kind for _ in range(2)] == ["loaded", "activated"]
        with pytest.raises(StaleWriteError):
            client.activate("tiny@3", expected=1)
        with pytest.raises(DictionaryInUseError):
            client.retire("tiny@2")
        assert str(client.roll_back().dictionary) == "tiny@1"
        assert str(client.retire("tiny@3")) == "tiny@3"
        assert str(next(told).dictionary) == "tiny@1"
        retired = next(told)
        assert (retired.kind, str(retired.dictionary)) == ("retired", "tiny@3")
        del told
        async with AsyncClient(address) as other:
            changes = other.watch()
            assert (await anext(changes)).kind == "serving"
            assert str((await other.activate("tiny@4", expected=1)).dictionary)
            kinds = [(await anext(changes)).kind for _ in range(3)]
            assert kinds == ["kept", "loaded", "activated"]
            await changes.aclose()  # type: ignore[attr-defined]
            with pytest.raises(DictionaryInUseError):
                await other.retire("tiny@4")


def test_commands_ask_a_server(
    stubs_of: Callable[..., Any],
    publish: Publish,
    registry: FolderRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RIBOLEX_REGISTRY", raising=False)
    registry.set_current("tiny", publish())
    for _ in range(2):
        publish()
    app = typer.Typer()
    versions.register(group := typer.Typer())
    app.add_typer(group, name="dictionaries")
    register(app)
    with stubs_of() as address:

        def run(*arguments: str) -> str:
            found = CliRunner().invoke(app, ["dictionaries", *arguments])
            assert found.exit_code == 0, found.output
            return found.stdout

        at = ("--server", address)
        assert (
            run("activate", "tiny@2", *at) == "tiny@2 is current, before it: tiny@1\n"
        )
        assert run("rollback", *at) == "tiny@1 is current, before it: tiny@2\n"
        assert run("retire", "tiny@3", *at) == "tiny@3 is retired\n"
        with Client(address) as client:
            before = str(registry)
            itself = run("activate", "tiny@2", "--registry", before)
            assert itself == "tiny@2 is current, before it: tiny@1\n"
            wait_for(lambda: str(client.encode(["ACGU"]).dictionary) == "tiny@2")
        both = ["dictionaries", "retire", "tiny@1", *at, "--registry", before]
        assert CliRunner().invoke(app, both).exit_code == 2
