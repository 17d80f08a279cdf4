"""A server with a cache: answers stay the same, whatever becomes of the cache."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import OwnServer
from tests.integration.conftest import connect
from tests.integration.test_observability import scrape
from tests.valkey import running_valkey

from ribolex.client import Client
from ribolex.v1 import codes_pb2, encoder_pb2

BOTH = [codes_pb2.LEVEL_NUCLEOTIDE, codes_pb2.LEVEL_SEQUENCE]


def request(*sequences: str, **options: object) -> encoder_pb2.EncodeRequest:
    told = encoder_pb2.EncodeOptions(**options)  # type: ignore[arg-type]
    return encoder_pb2.EncodeRequest(sequences=sequences, options=told)


def test_an_answer_says_what_of_it_was_kept_and_is_the_same(
    own_server: OwnServer, http_port: int
) -> None:
    with own_server(cache_mib=64, http_port=http_port) as address:
        stubs = connect(address)
        asked = [
            request("GGGAAACCC", "acgt", "X"),
            request("GGGAAACCC", "acgt", "X", levels=BOTH),
            request("GGGAAACCC", "acgt", "X", k=2),
            request("GGGAAACCC", "acgt", "X", pooling=codes_pb2.POOLING_MEAN),
        ]
        first = [stubs.encoder.Encode(each) for each in asked]
        again = [stubs.encoder.Encode(each) for each in asked]
        half = request("GGGAAACCC", "CCC", value_type=codes_pb2.VALUE_TYPE_FLOAT16)
        assert stubs.encoder.Encode(half).timing.n_cached == 1
        found = scrape(http_port)
        stubs.channel.close()
    assert [one.timing.n_cached for one in first] == [0] * 4
    assert [one.timing.n_cached for one in again] == [2] * 4
    for one, other in zip(first, again, strict=True):
        assert one.results == other.results
        assert other.timing.compute_s == 0
    assert len({one.SerializeToString() for one in (each.results[0] for each in first)})
    lookups = "ribolex_cache_lookups_total"
    assert found[f'{lookups}{{result="hit",store="memory"}}'] == 9
    assert found[f'{lookups}{{result="miss",store="memory"}}'] == 9
    assert found["ribolex_cache_entries"] == 9
    assert 0 < found["ribolex_cache_bytes"] < 1 << 20


def test_without_room_nothing_is_kept(own_server: OwnServer) -> None:
    with own_server(cache_mib=0) as address, Client(address) as client:
        assert client.encode(["ACGU"]).timing.n_cached == 0
        assert client.encode(["ACGU"]).timing.n_cached == 0


@pytest.mark.slow
def test_a_cache_killed_under_load_fails_nobody(
    own_server: OwnServer, http_port: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("ACGU"), size=30)) for _ in range(40)]
    failed: list[Exception] = []
    answered = [0]
    done = threading.Event()
    with (
        running_valkey() as valkey,
        own_server(cache_mib=0, cache=valkey.url, http_port=http_port) as address,
        Client(address) as client,
    ):
        truth = {text: client.encode([text]).sequence_codes for text in texts}

        def keep_calling() -> None:
            while not done.is_set():
                text = texts[answered[0] % len(texts)]
                try:
                    found = client.encode([text]).sequence_codes
                    expected = truth[text]
                    assert found is not None
                    assert expected is not None
                    assert np.array_equal(found.indices, expected.indices)
                    assert np.allclose(found.values, expected.values, atol=1e-4)
                except Exception as error:
                    failed.append(error)
                    return
                answered[0] += 1

        callers = [threading.Thread(target=keep_calling) for _ in range(3)]
        for caller in callers:
            caller.start()

        def wait_up(expected: int) -> None:
            deadline_s = time.monotonic() + 90
            while scrape(http_port)["ribolex_cache_up"] != expected:
                assert time.monotonic() < deadline_s
                time.sleep(0.05)

        hits = 'ribolex_cache_lookups_total{result="hit",store="remote"}'
        deadline_s = time.monotonic() + 90
        while not scrape(http_port).get(hits, 0):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        valkey.kill()
        wait_up(0)
        before = answered[0]
        while answered[0] < before + 20 and not failed:
            time.sleep(0.01)
        valkey.start()
        wait_up(1)
        done.set()
        for caller in callers:
            caller.join()
    assert failed == []
    assert answered[0] > 20
