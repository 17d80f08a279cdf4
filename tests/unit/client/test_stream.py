"""Two-way streams: in order, never too far ahead, and never waiting for ever."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.client.errors import ServerError, TimedOutError
from ribolex.client.stream import answers_in_order, in_batches

Behaviour = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


@contextmanager
def _stream(behaviour: Behaviour) -> Iterator[Any]:
    """Gives the stub's method of a real server that behaves so."""
    handler: grpc.RpcMethodHandler[bytes, bytes] = (
        grpc.stream_stream_rpc_method_handler(behaviour)
    )
    service = grpc.method_handlers_generic_handler("s", {"M": handler})
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, handlers=[service])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel.stream_stream("/s/M")
        server.stop(None).wait()


def _echo(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield from requests


def _silent(
    requests: Iterator[bytes], context: grpc.ServicerContext
) -> Iterator[bytes]:
    for _ in requests:
        while context.is_active():
            time.sleep(0.01)
    yield b""


@pytest.mark.parametrize("n_requests", [0, 1, 3, 4, 50])
def test_answers_come_in_order(n_requests: int) -> None:
    sent = [str(n).encode() for n in range(n_requests)]
    with _stream(_echo) as method:
        answers = answers_in_order(method, sent, 3, 20.0)
        assert list(answers) == [[one] for one in sent]


def test_requests_are_drawn_only_so_far_ahead() -> None:
    drawn: list[int] = []

    def requests() -> Iterator[bytes]:
        for n in range(20):
            drawn.append(n)
            yield str(n).encode()

    with _stream(_echo) as method:
        answers = answers_in_order(method, requests(), 3, 20.0)
        for n_taken in range(1, 10):
            next(answers)
            assert len(drawn) <= n_taken + 3


def test_requests_are_drawn_in_the_callers_thread() -> None:
    threads = []

    def requests() -> Iterator[bytes]:
        threads.append(threading.get_ident())
        yield b""

    with _stream(_echo) as method:
        list(answers_in_order(method, requests(), 3, 20.0))
    assert threads == [threading.get_ident()]


def test_error_of_the_requests_comes_out() -> None:
    def requests() -> Iterator[bytes]:
        yield from [b"a", b"b"]
        raise ValueError("the file broke off")

    with _stream(_echo) as method, pytest.raises(ValueError, match="broke off"):
        list(answers_in_order(method, requests(), 1, 20.0))


def test_leaving_early_ends_the_call() -> None:
    is_over = threading.Event()

    def behaviour(
        requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        context.add_callback(is_over.set)
        yield from requests

    with _stream(behaviour) as method:
        endless = (b"" for _ in itertools.count())
        answers = answers_in_order(method, endless, 3, 20.0)
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert is_over.wait(10)


def test_answer_that_does_not_come_is_an_error() -> None:
    with _stream(_silent) as method, pytest.raises(TimedOutError, match=r"0\.2 s"):
        list(answers_in_order(method, [b""], 3, 0.2))


def test_stream_that_ends_too_soon_is_an_error() -> None:
    too_soon = pytest.raises(ServerError, match="ended the stream")
    with _stream(lambda requests, context: iter([b"a"])) as method, too_soon:
        list(answers_in_order(method, [b"a", b"b"], 3, 20.0))


def test_more_answers_than_requests_are_an_error() -> None:
    too_many = pytest.raises(ServerError, match="more answers")
    with _stream(lambda requests, context: iter([b"a"] * 3)) as method, too_many:
        list(answers_in_order(method, [b"a", b"b"], 3, 20.0))


def test_an_answer_may_go_on() -> None:
    with _stream(_echo) as method:
        answers = answers_in_order(
            method, [b"a", b"b"], 1, 20.0, goes_on=lambda message: message == b"+"
        )
        assert list(answers) == [[b"a"], [b"b"]]
    parts = [b"+", b"+", b"a", b"b", b"+", b"c"]
    with _stream(lambda requests, context: iter(parts)) as method:
        answers = answers_in_order(
            method, [b""] * 3, 3, 20.0, goes_on=lambda message: message == b"+"
        )
        assert list(answers) == [[b"+", b"+", b"a"], [b"b"], [b"+", b"c"]]


@given(
    sizes=st.lists(st.integers(0, 30)),
    max_members=st.integers(1, 5),
    max_size=st.integers(1, 40),
)
def test_batches_keep_all_and_stay_in_bounds(
    sizes: list[int], max_members: int, max_size: int
) -> None:
    batches = list(in_batches(sizes, lambda n: n, max_members, max_size))
    assert list(itertools.chain(*batches)) == sizes
    for batch in batches:
        assert 1 <= len(batch) <= max_members
        assert len(batch) == 1 or sum(batch) <= max_size
