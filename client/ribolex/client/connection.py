"""A connection to one server, and how a call over it is made.

Knows the channel and its stubs; nothing of what any method asks for. What failures
mean is told by `status`.
"""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any, ClassVar, Self, TypeVar

import grpc
import grpc.aio

from ribolex.client.ask import Ask
from ribolex.client.credentials import Credentials
from ribolex.client.errors import CancelledError
from ribolex.client.status import translated
from ribolex.v1.collection_pb2_grpc import CollectionServiceStub
from ribolex.v1.dictionary_pb2_grpc import DictionaryServiceStub
from ribolex.v1.encoder_pb2_grpc import EncoderServiceStub

DEFAULT_ADDRESS = "127.0.0.1:50051"
PAGE_SIZE = 1000
"""Members of a list that are fetched at once: the most that a server gives."""

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
_NONE = Credentials()
_Result = TypeVar("_Result")


class _Link:
    """What both connections have: the channel and the stubs on it."""

    _library: ClassVar[ModuleType]

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = 60.0,
        credentials: Credentials = _NONE,
    ) -> None:
        """Prepares the connection.

        Args:
            address: host and port of the server.
            timeout_s: longest wait for an answer, and for each one of a stream.
            credentials: certificates and token; without them the connection is
                unencrypted and anonymous.

        Raises:
            InvalidRequestError: the credentials contradict each other, or the token
                would go to another machine unencrypted.
            OSError: a file of the credentials cannot be read.
        """
        self.address = address
        self.timeout_s = timeout_s
        self._metadata = credentials.for_call(address)
        secure = credentials.for_channel()
        self._channel: Any
        if secure is None:
            self._channel = self._library.insecure_channel(address, options=_OPTIONS)
        else:
            self._channel = self._library.secure_channel(
                address, secure, options=_OPTIONS
            )
        self._encoder = EncoderServiceStub(self._channel)
        self._collections = CollectionServiceStub(self._channel)
        self._dictionaries = DictionaryServiceStub(self._channel)


class Connection(_Link):
    """A connection to one server; thread-safe, connects when first used.

    Every method blocks, and beside the errors named with it may raise NotReadyError,
    TimedOutError, OverloadedError and ServerError.
    """

    _library: ClassVar[ModuleType] = grpc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        self._channel.close()

    def _ask(self, ask: Ask[_Result]) -> _Result:
        with translated(self.address):
            answer = ask.method(
                ask.request, timeout=self.timeout_s, metadata=self._metadata
            )
            return ask.read(answer)


class AsyncConnection(_Link):
    """A connection to one server, for one event loop; to be made within it.

    Connects when first used. Cancelling whoever awaits a method ends the call on the
    server, too. Beside the errors named with it every method may raise NotReadyError,
    TimedOutError, OverloadedError and ServerError.
    """

    _library: ClassVar[ModuleType] = grpc.aio

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        await self._channel.close()

    async def _ask(self, ask: Ask[_Result]) -> _Result:
        with translated(self.address):
            call = ask.method(
                ask.request, timeout=self.timeout_s, metadata=self._metadata
            )
            try:
                if ask.is_streamed:
                    return ask.read([message async for message in call])
                return ask.read(await call)
            except asyncio.CancelledError as error:
                raise closed_or(error) from error
            finally:
                call.cancel()  # does nothing once it has ended


def closed_or(error: asyncio.CancelledError) -> BaseException:
    """Returns the cancellation of this task; or the error of a call that was ended.

    gRPC tells both alike: the other is a connection that was closed underneath.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return error
    return CancelledError("the connection was closed before the answer")
