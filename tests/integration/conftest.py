"""Stubs on a real socket, and a look into the details of a failure."""

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel, load_lm
from ribolex.registry import FolderRegistry
from ribolex.v1.collection_pb2_grpc import CollectionServiceStub
from ribolex.v1.dictionary_pb2_grpc import DictionaryServiceStub
from ribolex.v1.encoder_pb2_grpc import EncoderServiceStub


@dataclass(frozen=True)
class Stubs:
    """The three services of one server."""

    channel: grpc.Channel
    encoder: EncoderServiceStub
    collections: CollectionServiceStub
    dictionaries: DictionaryServiceStub


@dataclass(frozen=True)
class Failure:
    """What a caller can read from a failed call."""

    code: grpc.StatusCode
    message: str
    reason: str
    fields: list[str]
    retry_s: float | None


def connect(address: str) -> Stubs:
    options = (("grpc.max_receive_message_length", -1),)
    channel = grpc.insecure_channel(address, options)
    return Stubs(
        channel,
        EncoderServiceStub(channel),
        CollectionServiceStub(channel),
        DictionaryServiceStub(channel),
    )


@pytest.fixture
def stubs(running_server: str) -> Iterator[Stubs]:
    found = connect(running_server)
    with found.channel:
        yield found


def failure_of(error: grpc.RpcError) -> Failure:
    assert isinstance(error, grpc.Call)
    status: Any = rpc_status.from_call(error)
    reason, fields, retry_s = "", [], None
    for packed in status.details if status else ():
        for kind in ("ErrorInfo", "BadRequest", "RetryInfo"):
            detail: Any = getattr(error_details_pb2, kind)()
            if not packed.Unpack(detail):
                continue
            if kind == "ErrorInfo":
                reason = detail.reason
            elif kind == "BadRequest":
                fields = [each.field for each in detail.field_violations]
            else:
                retry_s = detail.retry_delay.ToMilliseconds() / 1000
    return Failure(error.code(), error.details() or "", reason, fields, retry_s)


def eventually(holds: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


@pytest.fixture
def http_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def lm(tiny_model: Any) -> LanguageModel:
    return load_lm(tiny_model)


@pytest.fixture(scope="session")
def dictionary(tiny_registry: Any) -> Dictionary:
    return FolderRegistry(tiny_registry).get("tiny@1")
