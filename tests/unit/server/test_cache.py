"""The cache: what comes out is what went in, bounded, and never in the way."""

import asyncio
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from tests.valkey import Valkey, running_valkey

from ribolex.dictionary import Codes, Dictionary, SequenceCode
from ribolex.errors import InvalidRequestError
from ribolex.lm import LanguageModel
from ribolex.server.cache import remote
from ribolex.server.cache.breaker import Breaker
from ribolex.server.cache.memory import MemoryCache
from ribolex.server.cache.packing import pack, unpack
from ribolex.server.cache.remote import RemoteCache
from ribolex.server.cache.results import ResultCache
from ribolex.server.engine.encoding import EncodeTask, Encoding, Recipe
from ribolex.server.engine.front import Engine, Order
from ribolex.server.engine.queue import Limits
from ribolex.server.engine.task import compute
from ribolex.server.metrics import Metrics

KEY = b"k" * 64
TEXTS = ["GGGAAACCCU", "ACGU", "A", "GGGAAACCCU"]


def same_array(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def same(one: Encoding, other: Encoding | None) -> bool:
    """Tells whether two encodings are equal to the bit, types included."""
    if other is None or (one.pooled is None) != (other.pooled is None):
        return False
    arrays = ["indptr", "indices", "values"]
    pairs = [(getattr(one.codes, a), getattr(other.codes, a)) for a in arrays]
    if one.pooled is not None and other.pooled is not None:
        pairs += list(zip(one.pooled, other.pooled, strict=True))
    return (
        all(same_array(*pair) for pair in pairs)
        and one.codes.n_features == other.codes.n_features
        and np.float64(one.fvu).tobytes() == np.float64(other.fvu).tobytes()
    )


@st.composite
def encodings(draw: st.DrawFn) -> Encoding:
    n_features = draw(st.sampled_from([3, 96, 0xFFFF, 0x10000, 0x10001, 200_000]))
    rows = draw(
        st.lists(st.sets(st.integers(0, n_features - 1), max_size=3), max_size=5)
    )
    indices = np.array([f for row in rows for f in sorted(row)], np.uint32)
    # Any bits at all: there may be processes that flush the smallest numbers to zero.
    bits = st.integers(0, 2**32 - 1)
    n = len(indices)
    drawn = draw(st.lists(bits, min_size=n, max_size=n))
    values = np.array(drawn, np.uint32).view(np.float32)
    indptr = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    pooled = SequenceCode(np.unique(indices), np.ones(len(set(indices)), np.float32))
    return Encoding(
        Codes(indptr, indices, values, n_features),
        draw(st.sampled_from([None, pooled])),
        draw(st.sampled_from([0.0, 0.1, 1 / 3, 1e9, float("inf"), float("nan")])),
    )


@given(encodings())
def test_an_encoding_comes_back_to_the_bit(encoding: Encoding) -> None:
    assert same(encoding, unpack(KEY, pack(KEY, encoding)))


@given(encodings(), st.data())
def test_what_was_changed_or_is_foreign_is_a_miss(
    encoding: Encoding, data: st.DataObject
) -> None:
    packed = pack(KEY, encoding)
    place = data.draw(st.integers(0, len(packed) - 1))
    flipped = bytearray(packed)
    flipped[place] ^= data.draw(st.integers(1, 255))
    assert unpack(KEY, bytes(flipped)) is None
    assert unpack(KEY, packed[:place]) is None
    assert unpack(KEY, packed + b"\0") is None
    assert unpack(b"other", packed) is None
    assert unpack(KEY, data.draw(st.binary(max_size=80))) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3000)), max_size=40))
def test_memory_is_bounded_and_the_oldest_go_first(
    puts: list[tuple[int, int]],
) -> None:
    cache = MemoryCache(16_384)
    order: list[bytes] = []
    for name, size in puts:
        key = b"%d" % name
        cache.put({key: bytes(size)})
        order = [each for each in order if each != key]
        if len(key) + size + 200 <= 16_384 // 8:
            order.append(key)
        assert cache.n_bytes <= 16_384
    kept = [key for key in order if cache.get([key])]
    assert kept == order[len(order) - len(kept) :]
    assert len(cache) == len(kept)
    for key in kept:
        cache.drop(key)
    assert cache.n_bytes == 0


def test_the_breaker_opens_rests_and_tries_one_at_a_time() -> None:
    now_s = [0.0]
    breaker = Breaker(3, 5.0, lambda: now_s[0])
    for _ in range(3):
        assert breaker.may_try()
        breaker.fail()
    assert breaker.is_open
    assert not breaker.may_try()
    now_s[0] = 5.0
    assert [breaker.may_try() for _ in range(3)] == [True, False, False]
    breaker.fail()
    now_s[0] = 9.9
    assert not breaker.may_try()
    now_s[0] = 10.0
    assert breaker.may_try()
    breaker.succeed()
    assert not breaker.is_open
    assert all(breaker.may_try() for _ in range(3))


def results(
    memory: MemoryCache | None = None,
    remote: RemoteCache | None = None,
    model: str = "0" * 64,
    by: str = "cpu float32",
) -> ResultCache:
    return ResultCache(model, by, memory, remote, Metrics())


def test_keys_differ_by_all_that_an_outcome_depends_on(dictionary: Dictionary) -> None:
    def task(
        text: str = "ACGU", of: Dictionary = dictionary, **recipe: object
    ) -> EncodeTask:
        told = {"k": 6, "pooling": "max", "rows": True, **recipe}
        return EncodeTask(text, of, Recipe(**told))  # type: ignore[arg-type]

    base = results()
    tasks = [
        task(),
        task("ACGA"),
        task("ACG"),
        task(k=5),
        task(pooling="mean"),
        task(pooling=None),
        task(rows=False),
        task(of=replace(dictionary, content_id="1" * 64)),
    ]
    keys = [base.key_of(each) for each in tasks]
    keys += [
        results(model="1" * 64).key_of(task()),
        results(by="cuda float32").key_of(task()),
        results(by="cpu bfloat16").key_of(task()),
    ]
    assert len(set(keys)) == len(keys)
    assert base.key_of(task()) == keys[0]
    assert not any(b"ACG" in key for key in keys)


@pytest.mark.parametrize(
    "recipe", [Recipe(6, "max"), Recipe(2, "mean", rows=False), Recipe(6, None)]
)
async def test_a_kept_answer_is_the_computed_one(
    lm: LanguageModel, dictionary: Dictionary, recipe: Recipe
) -> None:
    cache = results(MemoryCache(1 << 20))
    engine = Engine(lm, Limits(10_000, 16, 512), max_nucleotides=100, cache=cache)
    order = Order(TEXTS, lambda text: EncodeTask(text, dictionary, recipe))
    try:
        first = await engine.compute(order)
        again = await engine.compute(order)
        mixed = await engine.compute(
            replace(order, sequences=["X", "ACGU", "CCC", "GGGAAACCCU"])
        )
        without = await engine.compute(replace(order, is_kept=False))
    finally:
        await engine.close()
    assert [first.n_cached, again.n_cached, mixed.n_cached, without.n_cached] == [
        0, 4, 2, 0,
    ]  # fmt: skip
    assert again.batches == {}
    assert again.queue_s == 0
    for one, other in zip(first.outcomes, again.outcomes, strict=True):
        assert isinstance(one, Encoding)
        assert isinstance(other, Encoding)
        assert same(one, other)
        assert len(one.codes.indices) > 0 or not recipe.rows
    assert isinstance(mixed.outcomes[0], InvalidRequestError)
    assert isinstance(mixed.outcomes[3], Encoding)
    assert same(mixed.outcomes[3], first.outcomes[0])  # type: ignore[arg-type]
    assert len(mixed.outcomes[2].codes) == 3  # type: ignore[union-attr]


def test_codes_without_rows_have_the_same_pooled_code(
    lm: LanguageModel, dictionary: Dictionary
) -> None:
    recipes = (Recipe(6, "max"), Recipe(6, "max", rows=False))
    full, bare = compute(lm, [EncodeTask("GGGAAA", dictionary, r) for r in recipes])
    assert len(bare.codes) == len(full.codes) == 6
    assert len(bare.codes.indices) == 0
    assert same(replace(bare, codes=full.codes), full)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy may take longer than a request would wait."""
    monkeypatch.setattr(remote, "LIMIT_S", 5.0)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as found:
        yield found


async def settled(cache: RemoteCache) -> None:
    """Waits for what nobody waits for."""
    while cache._n_pending:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def patient_get(cache: RemoteCache, key: bytes) -> dict[bytes, bytes]:
    """Asks again while a busy machine is too slow."""
    for _ in range(200):
        if found := await cache.get([key]):
            return found
        await asyncio.sleep(0.02)
    return {}


@pytest.mark.usefixtures("patient")
async def test_servers_share_what_one_computed(
    valkey: Valkey, lm: LanguageModel, dictionary: Dictionary
) -> None:
    errors: list[str] = []
    tasks = [EncodeTask(text, dictionary, Recipe(6, "max")) for text in TEXTS]
    done = compute(lm, tasks)
    remotes = [RemoteCache(valkey.url, 100, errors.append) for _ in range(2)]
    first, second = (results(MemoryCache(1 << 20), remote) for remote in remotes)
    await first.keep(tasks, done)
    await settled(remotes[0])
    found: dict[int, Encoding] = {}
    for _ in range(200):
        if found := await second.fetch(tasks):
            break
    assert all(same(one, found[i]) for i, one in enumerate(done))
    with Redis.from_url(valkey.url) as redis:
        keys = redis.keys("*")
        assert len(keys) == 3
        assert all(0 < redis.pttl(key) <= 100_000 for key in keys)
        assert b"ribolex:code:" + first.key_of(tasks[0]) in keys
        # Damaged, foreign and misplaced values are misses.
        values = [redis.get(key) for key in keys]
        redis.set(keys[0], values[1])
        redis.set(keys[1], b"foreign")
        redis.delete(keys[2])
        redis.rpush(keys[2], "not even a string")
    third = results(None, remotes[0])
    assert await third.fetch(tasks) == {}
    assert remotes[0].is_up
    for cache in (first, second):
        await cache.close()


@pytest.mark.usefixtures("patient")
async def test_a_cache_that_is_away_is_left_alone_until_it_is_back(
    valkey: Valkey,
) -> None:
    errors: list[str] = []
    clock = [lambda: 0.0]
    breaker = Breaker(3, 0.2, lambda: clock[0]())
    cache = RemoteCache(valkey.url, 100, errors.append, breaker)
    cache.put({b"a": b"1", b"large": bytes(100_000)})
    await settled(cache)
    assert await patient_get(cache, b"a") == {b"a": b"1"}
    valkey.kill()
    errors.clear()
    while cache.is_up:
        assert await cache.get([b"a"]) == {}
    assert set(errors) <= {"connection", "timeout"}
    errors.clear()
    assert await cache.get([b"a"]) == {}
    assert errors == ["open"]
    valkey.start()
    clock[0] = time.monotonic
    assert await patient_get(cache, b"a") == {b"a": b"1"}
    assert cache.is_up
    assert await cache.get([b"large"]) == {}
    await cache.close()


async def test_a_server_that_never_answers_is_not_waited_for() -> None:
    errors: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        cache = RemoteCache(url, 100, errors.append, Breaker(5, 60.0))
        async with asyncio.timeout(20):
            for _ in range(20):
                assert await cache.get([b"a"]) == {}
                cache.put({b"a": b"1"})
            await settled(cache)
        assert not cache.is_up
        assert {"timeout", "open"} <= set(errors) <= {"timeout", "connection", "open"}
        await cache.close()


async def test_only_so_much_is_asked_at_once(valkey: Valkey) -> None:
    errors: list[str] = []
    cache = RemoteCache(valkey.url, 100, errors.append, Breaker(10_000))
    valkey.pause()
    try:
        found = await asyncio.gather(*(cache.get([b"a"]) for _ in range(200)))
    finally:
        valkey.go_on()
    assert found == [{}] * 200
    assert errors.count("busy") == 200 - 64
    await cache.close()


def test_a_url_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(InvalidRequestError, match="is no URL") as caught:
        RemoteCache("http://user:secret@host", 1, print)
    assert "secret" not in str(caught.value)
