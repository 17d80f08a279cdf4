"""Who calls: requests built beforehand, answers kept as bytes, from one event loop.

So that a server's share of the machine is its own: building and reading messages is
not part of what is timed. Knows the contract; nothing of what is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2

from ribolex.server.convert.codes import decode_codes
from ribolex.v1 import codes_pb2, dictionary_pb2, encoder_pb2

_ENCODER = "/ribolex.v1.EncoderService/"
_ACTIVATE = "/ribolex.v1.DictionaryService/Activate"
_LIMIT_S = 600.0
"""No call may wait longer: what does has been lost."""
_SAME = 0.99
"""Cosine of two codes of one sequence: a feature at the edge of the k strongest may
be another by rounding."""


class SequenceCode(NamedTuple):
    """Features and values of one sequence."""

    features: np.ndarray
    values: np.ndarray

    def is_like(self, other: SequenceCode) -> bool:
        """Tells whether both are codes of one sequence with one dictionary."""
        _, mine, theirs = np.intersect1d(
            self.features, other.features, return_indices=True
        )
        dot = float(self.values[mine] @ other.values[theirs])
        norms = np.linalg.norm(self.values) * np.linalg.norm(other.values)
        return dot >= _SAME * float(norms)


@dataclass(frozen=True, slots=True)
class Load:
    """One request, as it goes out."""

    sequences: tuple[str, ...]
    message: bytes
    """To Encode."""
    streamed: bytes
    """To EncodeStream."""

    @classmethod
    def of(cls, sequences: Sequence[str]) -> Load:
        """Gives the request for sequence codes of sequences."""
        request = encoder_pb2.EncodeRequest(sequences=sequences)
        streamed = encoder_pb2.EncodeStreamRequest(request=request)
        return cls(
            tuple(sequences), request.SerializeToString(), streamed.SerializeToString()
        )

    @property
    def n_nucleotides(self) -> int:
        """Tells how much it asks for."""
        return sum(map(len, self.sequences))


class Outcome(NamedTuple):
    """What became of one call."""

    load: Load
    code: grpc.StatusCode
    answer: bytes
    """Empty unless the code is OK."""
    retry_s: float | None
    """What RetryInfo says, if there is one."""
    call_id: str
    wait_s: float


class Caller:
    """One connection."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._encode: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        self._encode = channel.unary_unary(f"{_ENCODER}Encode")
        self._stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes]
        self._stream = channel.stream_stream(f"{_ENCODER}EncodeStream")
        self._activate: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        self._activate = channel.unary_unary(_ACTIVATE)

    async def encode(self, load: Load, call_id: str = "") -> Outcome:
        """Gives what one call became."""
        begun_s = time.perf_counter()
        code, answer, retry_s = grpc.StatusCode.OK, b"", None
        metadata = (("x-request-id", call_id),) if call_id else None
        try:
            answer = await self._encode(
                load.message, timeout=_LIMIT_S, metadata=metadata
            )
        except grpc.aio.AioRpcError as error:
            code, retry_s = error.code(), _retry_s(error)
        wait_s = time.perf_counter() - begun_s
        return Outcome(load, code, answer, retry_s, call_id, wait_s)

    async def calls(self, loads: Iterable[Load], in_flight: int) -> list[Outcome]:
        """Gives what calls became, so many of them at a time."""
        room = asyncio.Semaphore(in_flight)

        async def one(load: Load) -> Outcome:
            async with room:
                return await self.encode(load)

        return list(await asyncio.gather(*map(one, loads)))

    async def stream(
        self, loads: Iterable[Load], call_id: str = ""
    ) -> AsyncIterator[bytes]:
        """Yields the answers to one stream; raises what ends it early."""

        async def requests() -> AsyncIterator[bytes]:
            for load in loads:
                yield load.streamed

        metadata = (("x-request-id", call_id),) if call_id else None
        call = self._stream(requests(), timeout=_LIMIT_S, metadata=metadata)
        async for answer in call:
            yield answer

    async def activate(self, name: str, version: int) -> grpc.StatusCode:
        """Makes a version current, and waits until the server uses it."""
        ref = codes_pb2.DictionaryRef(name=name, version=version)
        request = dictionary_pb2.ActivateRequest(dictionary=ref)
        try:
            await self._activate(request.SerializeToString(), timeout=_LIMIT_S)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Caller]:
    """Connects while the block runs."""
    options = [
        ("grpc.max_receive_message_length", 64 << 20),
        # A connection of its own, not the one of an earlier block.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(address, options) as channel:
        yield Caller(channel)


class Answer(NamedTuple):
    """What a server said."""

    dictionary: str
    """"name@version"."""
    codes: list[SequenceCode]


def read(response: bytes) -> Answer:
    """Gives the codes in the answer to an Encode."""
    return _read(encoder_pb2.EncodeResponse.FromString(response))


def read_streamed(response: bytes) -> Answer:
    """Gives the codes in one answer of a stream."""
    return _read(encoder_pb2.EncodeStreamResponse.FromString(response).response)


def _read(response: encoder_pb2.EncodeResponse) -> Answer:
    codes = [
        SequenceCode(*decode_codes(one.encoded.sequence_code, "code").row(0))
        for one in response.results
    ]
    ref = response.dictionary
    return Answer(f"{ref.name}@{ref.version}", codes)


def _retry_s(error: grpc.aio.AioRpcError) -> float | None:
    packed = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    if not isinstance(packed, bytes):
        return None
    for detail in status_pb2.Status.FromString(packed).details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToMilliseconds()) / 1000
    return None
