"""A connection to one server, and how a call over it is made.

Knows the channel and its stubs; nothing of what any method asks for. What failures
mean is told by `status`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, TypeVar

import grpc

from ribolex.client.credentials import Credentials
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
_Response = TypeVar("_Response")


class Connection:
    """A connection to one server; thread-safe, connects when first used.

    Every method blocks, and beside the errors named with it may raise NotReadyError,
    TimedOutError, OverloadedError and ServerError.
    """

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
        if secure is None:
            self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, secure, options=_OPTIONS)
        self._encoder = EncoderServiceStub(self._channel)
        self._collections = CollectionServiceStub(self._channel)
        self._dictionaries = DictionaryServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        self._channel.close()

    def _call(self, method: Callable[..., _Response], request: object) -> _Response:
        with translated(self.address):
            return method(request, timeout=self.timeout_s, metadata=self._metadata)
