"""What messages bring is counted wherever it is, and bounded."""

import pytest
from google.protobuf.message import Message

from ribolex.errors import InvalidRequestError, TooManyCallsError
from ribolex.server.convert.load import Load, load_of
from ribolex.server.limits import CallLimits
from ribolex.v1 import collection_pb2 as collections
from ribolex.v1 import encoder_pb2 as encoder

ENCODE = encoder.EncodeRequest(sequences=["ACGU", "GG"])


@pytest.mark.parametrize(
    ("message", "load"),
    [
        (ENCODE, Load("sequences", 2, 6)),
        (encoder.EmbedRequest(sequences=["A"]), Load("sequences", 1, 1)),
        (
            encoder.EncodeStreamRequest(request=ENCODE),
            Load("request.sequences", 2, 6),
        ),
        (encoder.EncodeStreamRequest(), Load("sequences", 0, 0)),
        (
            collections.UpsertRnasRequest(
                rnas=[collections.RnaRecord(sequence="ACG"), collections.RnaRecord()]
            ),
            Load("rnas.sequence", 1, 3),
        ),
        (collections.SearchSimilarRequest(sequence="ACG"), Load("sequence", 1, 3)),
        (collections.SearchSimilarRequest(rna="ACG"), Load("sequences", 0, 0)),
    ],
)
def test_sequences_are_counted_wherever_they_are(message: Message, load: Load) -> None:
    assert load_of(message) == load


def test_a_message_with_too_many_letters_is_refused() -> None:
    limits = CallLimits(max_calls=1, max_nucleotides=5)
    limits.check(Load("sequences", 1, 5))
    with pytest.raises(
        InvalidRequestError, match="6 nucleotides .* at most 5"
    ) as caught:
        limits.check(load_of(encoder.EncodeStreamRequest(request=ENCODE)))
    assert caught.value.field == "request.sequences"


def test_calls_are_counted_by_client_and_given_back() -> None:
    limits = CallLimits(max_calls=2, max_nucleotides=1)
    refused = pytest.raises(TooManyCallsError, match="'ann' would have 3 open")
    with limits.call("ann"), limits.call("ann"), limits.call("ben"), refused:
        limits.call("ann").__enter__()
    with limits.call("ann"), limits.call("ann"):
        pass
