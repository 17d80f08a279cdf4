"""Hostile calls of every method: always an allowed status, and a server after it.

`RIBOLEX_FUZZ_EXAMPLES=20000 pytest tests/integration/test_fuzz.py -s` runs long and
prints how often each method answered with each code.
"""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import serving

from ribolex.server.settings import ServerSettings
from ribolex.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    dictionary_pb2,
    encoder_pb2,
)

N_EXAMPLES = int(os.environ.get("RIBOLEX_FUZZ_EXAMPLES", "15"))
IS_LONG = "RIBOLEX_FUZZ_EXAMPLES" in os.environ
WAIT_S = 20.0

METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for module in (encoder_pb2, collection_pb2, dictionary_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
ALLOWED = {
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED", "CANCELLED", "DEADLINE_EXCEEDED", "ABORTED",
}  # fmt: skip
"""INTERNAL and UNKNOWN are faults of ours, UNAVAILABLE is a server that is gone."""

_TYPES = FieldDescriptor
_ints = {_TYPES.CPPTYPE_INT32: 32, _TYPES.CPPTYPE_INT64: 64}
_NAMES = st.sampled_from(["", "tiny", "mine", "other", "mine2", "../x", "a" * 65, "é"])
_LETTERS = st.text("ACGUTNacgu-.X ", max_size=40) | st.just("ACGU" * 60)
TEXTS = _NAMES | _LETTERS | st.text(max_size=20) | st.just("\0\n")
PACKED = st.binary(max_size=16) | st.sampled_from(
    [
        b"\0\0\0\0\1\0\0\0",
        b"\1\0\0\0",
        b"\0\0\xc0\x7f",
        b"\0\0\x80\x3f",
        b"\3\0",
        b"\xff" * 8,
    ]
)


GOOD: dict[str, st.SearchStrategy[str]] = {
    "sequence": st.text("ACGU", min_size=1, max_size=30),
    "sequences": st.text("ACGU", min_size=1, max_size=30),
    "collection": st.just("mine"),
    "name": st.sampled_from(["tiny", "mine", "one"]),
    "rna": st.just("one"),
    "structure": st.just(""),
    "page_token": st.just(""),
}
"""What gets past the first check, by the name of the field."""


def sound(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    """Gives what a field is made for: what is hostile elsewhere then gets further."""
    kind = field.cpp_type
    if kind == _TYPES.CPPTYPE_STRING and field.type != _TYPES.TYPE_BYTES:
        return GOOD.get(field.name, st.text("abc", max_size=3))
    if kind == _TYPES.CPPTYPE_ENUM:
        return st.integers(0, 2)
    if kind in (_TYPES.CPPTYPE_MESSAGE, _TYPES.CPPTYPE_STRING):
        return values(field, depth)
    if kind in (_TYPES.CPPTYPE_FLOAT, _TYPES.CPPTYPE_DOUBLE):
        return st.floats(0.125, 2.0, width=32)
    return st.integers(0, 2) if kind != _TYPES.CPPTYPE_BOOL else st.booleans()


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    """Gives what a field may hold, and what nobody would put there."""
    kind = field.cpp_type
    if kind == _TYPES.CPPTYPE_MESSAGE:
        assert field.message_type is not None
        return messages(field.message_type, depth + 1)
    if kind == _TYPES.CPPTYPE_STRING:
        return PACKED if field.type == _TYPES.TYPE_BYTES else TEXTS
    if kind == _TYPES.CPPTYPE_BOOL:
        return st.booleans()
    if kind in (_TYPES.CPPTYPE_FLOAT, _TYPES.CPPTYPE_DOUBLE):
        return st.floats(width=32)
    if kind == _TYPES.CPPTYPE_ENUM:
        return st.integers(0, 4) | st.sampled_from([-1, 99, 2**31 - 1, -(2**31)])
    is_signed = kind in _ints
    bits = 64 if kind in (_TYPES.CPPTYPE_INT64, _TYPES.CPPTYPE_UINT64) else 32
    top = 2 ** (bits - is_signed) - 1
    low = -top - 1 if is_signed else 0
    return st.integers(0, 4) | st.sampled_from([low, top, 1000, 1001, 95, 96])


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 0) -> Message:
    """Gives a message whose structure is sound and whose values may be anything."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if depth > 4 or draw(st.integers(0, 3)) == 0:
            continue
        is_hostile = draw(st.integers(0, 9)) == 0
        value = values(field, depth) if is_hostile else sound(field, depth)
        inner = field.message_type
        target: Any = getattr(message, field.name)
        if inner is not None and inner.GetOptions().map_entry:
            for _ in range(draw(st.integers(0, 3))):
                target[draw(TEXTS)] = draw(TEXTS)
        elif field.is_repeated:
            n_most = 18 if depth < 2 and is_hostile else 3
            found = draw(st.lists(value, max_size=n_most))
            # Twice the same is the same id twice.
            target.extend(found + found[:1])
        elif inner is not None:
            target.CopyFrom(draw(value))
        else:
            setattr(message, field.name, draw(value))
    return message


@pytest.fixture(scope="module")
def channel(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: dict[str, Any]
) -> Iterator[grpc.Channel]:
    data: Path = tmp_path_factory.mktemp("fuzzed")
    # Its versions are activated and retired.
    registry = shutil.copytree(tiny_settings["registry"], data / "registry")
    changed = tiny_settings | {"registry": str(registry), "data": data / "data"}
    changed["steering"] = True
    with serving(ServerSettings(**changed)) as address:
        options = (("grpc.max_receive_message_length", -1),)
        with grpc.insecure_channel(address, options) as channel:
            yield channel


@pytest.fixture(scope="module")
def counts() -> Iterator[Counter[tuple[str, str]]]:
    found: Counter[tuple[str, str]] = Counter()
    yield found
    lines = [f"{n:8d} {code:20s} {method}" for (method, code), n in found.items()]
    sys.stdout.write("\n".join(["", f"{found.total()} calls", *sorted(lines), ""]))


def call(
    channel: Any, name: str, requests: list[bytes], *, early: bool, as_unary: bool
) -> str:
    """Calls a method with bytes; gives the code. Never waits for ever."""
    method = METHODS[name]
    streamed = method.client_streaming and not as_unary
    side = "stream" if streamed else "unary"
    other = "stream" if method.server_streaming else "unary"
    request: Any = iter(requests) if streamed else b"".join(requests)
    begin = getattr(channel, f"{side}_{other}")(name)
    try:
        if not method.server_streaming:
            begin(request, timeout=WAIT_S)
            return "OK"
        # One who watches is told more until he leaves.
        is_endless = method.name == "Watch"
        answers = begin(request, timeout=0.05 if is_endless else WAIT_S)
        for _ in answers:
            if early:
                answers.cancel()
        return "OK"
    except grpc.RpcError as error:
        failed: Any = error
        return str(failed.code().name)


def is_alive(channel: Any) -> bool:
    """Tells whether a good call is answered well."""
    request = encoder_pb2.EncodeRequest(sequences=["ACGU"])
    method = "/ribolex.v1.EncoderService/Encode"
    raw = channel.unary_unary(method)(request.SerializeToString(), timeout=WAIT_S)
    (result,) = encoder_pb2.EncodeResponse.FromString(raw).results
    return bool(result.encoded.n_nucleotides == 4)


def fill(channel: grpc.Channel) -> None:
    """Has a collection there in which something can be found."""
    stub = collection_pb2_grpc.CollectionServiceStub(channel)
    with suppress(grpc.RpcError):
        create = collection_pb2.CreateCollectionRequest(name="mine")
        stub.CreateCollection(create)
    rnas = [collection_pb2.RnaRecord(name="one", sequence="GGGAAACCC")]
    upsert = collection_pb2.UpsertRnasRequest(collection="mine", rnas=rnas)
    stub.UpsertRnas(iter([upsert]))


FUZZED = settings(
    max_examples=N_EXAMPLES,
    deadline=None,
    derandomize=not IS_LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if IS_LONG else 300)]


@pytest.mark.parametrize("name", METHODS)
def test_raw_bytes_get_a_status(
    channel: grpc.Channel, counts: Counter[tuple[str, str]], name: str
) -> None:
    @FUZZED
    @given(st.lists(st.binary(max_size=200), max_size=3), st.booleans(), st.booleans())
    def fuzz(requests: list[bytes], early: bool, as_unary: bool) -> None:
        code = call(channel, name, requests, early=early, as_unary=as_unary)
        counts[name, code] += 1
        assert code in ALLOWED

    fill(channel)
    fuzz()
    assert is_alive(channel)


@pytest.mark.parametrize("name", METHODS)
def test_sound_messages_with_hostile_values_get_a_status(
    channel: grpc.Channel, counts: Counter[tuple[str, str]], name: str
) -> None:
    requests_of = st.lists(messages(METHODS[name].input_type), min_size=1, max_size=3)

    @FUZZED
    @given(requests_of, st.booleans())
    def fuzz(requests: list[Message], early: bool) -> None:
        raws = [request.SerializeToString() for request in requests]
        if not METHODS[name].client_streaming:
            raws = raws[:1]
        code = call(channel, name, raws, early=early, as_unary=False)
        counts[name, code] += 1
        assert code in ALLOWED

    fill(channel)
    fuzz()
    assert is_alive(channel)
