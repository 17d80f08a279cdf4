"""The synchronous client: one method for each thing that a server does.

The methods are where their service is: `encoder`, `scan`, `steering`, `collection`,
`search`, `compare`, `dictionary`. Here is that of gRPC's own health service.
"""

from __future__ import annotations

from google.protobuf import wrappers_pb2

from ribolex.client.ask import Ask, blocking
from ribolex.client.collection import CollectionCalls
from ribolex.client.compare import CompareCalls
from ribolex.client.connection import DEFAULT_ADDRESS
from ribolex.client.dictionary import DictionaryCalls
from ribolex.client.encoder import EncoderCalls
from ribolex.client.scan import ScanCalls
from ribolex.client.search import SearchCalls
from ribolex.client.steering import SteeringCalls

__all__ = ["DEFAULT_ADDRESS", "Client"]

_SERVING = 1
"""Of HealthCheckResponse.ServingStatus."""


class Client(
    EncoderCalls,
    ScanCalls,
    SteeringCalls,
    CollectionCalls,
    SearchCalls,
    CompareCalls,
    DictionaryCalls,
):
    """A connection to one server, with all that can be asked over it.

    Thread-safe; connects when first used. Every method blocks, and beside the errors
    named with it may raise NotReadyError, TimedOutError, OverloadedError and
    ServerError.
    """

    @blocking
    def is_serving(self, service: str = "") -> Ask[bool]:
        """Returns whether the server takes calls, by gRPC's health service.

        Args:
            service: a service's full name; "" for the whole server.

        Raises:
            NotFoundError: there is no such service.
        """
        # The messages of grpc.health.v1 have one field each, a string and an enum:
        # on the wire they are these, and no package that ships them is needed.
        request = wrappers_pb2.StringValue(value=service)
        check = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=wrappers_pb2.StringValue.SerializeToString,
            response_deserializer=wrappers_pb2.Int32Value.FromString,
        )
        return Ask(check, request, lambda answer: bool(answer.value == _SERVING))
