"""Two RNAs aligned on request: read, encoded, aligned and told."""

from __future__ import annotations

from ribolex.errors import InvalidRequestError
from ribolex.server.index.search import cannot_align
from ribolex.server.services.search import Caller
from ribolex.v1 import collection_pb2


async def align(
    caller: Caller, request: collection_pb2.AlignRequest
) -> collection_pb2.AlignResponse:
    """Returns the answer to one request.

    Raises:
        RibolexError: what Align fails with.
    """
    _check(request)
    backend, ref = caller.backend, request.dictionary
    if request.collection:
        facts = (await backend.collections.summary(request.collection)).facts
        found = await backend.dictionaries.get(facts.dictionary, facts.version)
    else:
        found = await backend.dictionaries.fitting(ref.name, ref.version)
    raise cannot_align(found.dictionary.ref)


def _check(request: collection_pb2.AlignRequest) -> None:
    for side in ("query", "target"):
        kind = request.WhichOneof(side)
        if kind is None:
            raise InvalidRequestError(side, "expected a sequence or an RNA")
        if kind.endswith("_rna") and not request.collection:
            raise InvalidRequestError(
                "collection", f"is empty, expected that of {kind}"
            )
    if request.collection and request.HasField("dictionary"):
        raise InvalidRequestError(
            "dictionary", "given beside a collection, expected one of the two"
        )
